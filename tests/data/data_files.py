"""Writes data sets in the formats that they come in."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from mnist_exp.config.schema import DataConfig
from mnist_exp.data import files
from mnist_exp.data.files import Arrays


def config(**changes: Any) -> DataConfig:
    defaults = {"name": "auto", "path": None, "normalize": True, "limit": None}
    return DataConfig(**{**defaults, "validation": 0.2, "stratify": False, "split_seed": 17, **changes})


def write_npz(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def write_idx(folder: Path, arrays: Arrays, *, zipped: bool = False, dotted: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    stems = {"x_train": "train-images", "y_train": "train-labels", "x_test": "t10k-images", "y_test": "t10k-labels"}
    for name, array in arrays.items():
        kind = "idx3" if array.ndim == 3 else "idx1"
        file = folder / f"{stems[name]}{'.' if dotted else '-'}{kind}-ubyte{'.gz' if zipped else ''}"
        content = files.idx_bytes(array)
        file.write_bytes(gzip.compress(content) if zipped else content)
    return folder
