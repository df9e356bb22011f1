"""Models in MLflow's Keras flavour: saved before there is a store to keep them, given their ids when there is."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras


def save(model: "keras.Model", example: NDArray[np.uint8], folder: Path) -> None:
    """Save a model, raw pixels in, probabilities out, to an empty folder.

    ``example``, uint8 [n, 28, 28], goes with it as an input to try it on.
    """
    import mlflow.keras
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, 28, 28))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 10))]),
    )
    mlflow.keras.save_model(
        model,
        str(folder),
        signature=signature,
        input_example=example,
        # Named, because inferring them loads the model in another process and takes 17 s.
        pip_requirements=[f"{name}=={version(name)}" for name in ("tensorflow", "keras", "numpy")],
    )


def identify(folder: Path, run_id: str, model_id: str) -> None:
    """Write into a saved model whose it is."""
    from mlflow.models import Model

    saved = Model.load(str(folder))
    saved.run_id, saved.model_id = run_id, model_id
    saved.save(str(folder / "MLmodel"))
