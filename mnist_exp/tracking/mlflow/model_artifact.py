"""Models in MLflow's Keras flavour: saved before there is a store to keep them, named and described when there is."""

import math
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras
    from mlflow.entities import Metric, Run

# What MLflow refuses in the name of a model, besides control characters.
_NOT_IN_NAMES = re.compile(r"""[/:.%"'\x00-\x1f]+""")
_LONGEST_NAME = 250

# An image of another scale, 0..1 or standardised, has no pixel above this once it is cut to whole numbers.
_DARK = 3


def save(model: "keras.Model", example: NDArray[np.uint8], folder: Path) -> None:
    """Save a compiled model as an MLflow model, which refuses images that are not raw pixels.

    Args:
        model: uint8 [N, height, width] to float32 [N, classes].
        example: uint8 [n, height, width], images to try it on; saved with it.
        folder: an empty folder.
    """
    import mlflow.keras
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *model.input_shape[1:]))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *model.output_shape[1:]))]),
    )
    mlflow.keras.save_model(
        _refusing_other_scales(model) if example.max(initial=0) > _DARK else model,
        str(folder),
        signature=signature,
        input_example=example,
        # Named, because inferring them loads the model in another process and takes 17 s.
        pip_requirements=[f"{name}=={version(name)}" for name in ("tensorflow", "keras", "numpy")],
    )


def _refusing_other_scales(model: "keras.Model") -> "keras.Model":
    """Return the model with a check: it raises an error for a batch without a pixel above ``_DARK``.

    MLflow's server casts the numbers of a request to the type in the signature, so pixels 0..1 arrive as zeros, and the
    model would answer with the probabilities of a blank image. A model is loaded without running code of its own, so
    the check is a layer of Keras that is made to raise errors: a lookup without a place for unknown values.
    """
    import keras

    (pixels,) = model.inputs
    brightest = keras.ops.reshape(keras.ops.cast(keras.ops.max(pixels), "int64"), (1, 1))
    known = keras.layers.IntegerLookup(
        vocabulary=list(range(_DARK + 1, 256)), num_oov_indices=0, name="pixels_must_be_0_to_255"
    )
    nothing = 0 * keras.ops.cast(known(brightest), model.outputs[0].dtype)
    checked = keras.Model(model.inputs, model.outputs[0] + nothing, name=model.name)
    if model.compiled:
        settings = keras.saving.deserialize_keras_object(model.get_compile_config())
        checked.compile(**{**settings, "optimizer": model.optimizer})
    return checked


def identify(folder: Path, run_id: str, model_id: str) -> None:
    """Write into a saved model the ids of its run and of itself."""
    from mlflow.models import Model

    saved = Model.load(str(folder))
    saved.run_id, saved.model_id = run_id, model_id
    saved.save(str(folder / "MLmodel"))


def name_of(run: "Run") -> str:
    """Return the name of a run's model: the run's own, with ``_`` for what MLflow refuses in it."""
    return _NOT_IN_NAMES.sub("_", run.info.run_name or "").strip("_ ")[:_LONGEST_NAME] or "model"


def scores_of(run: "Run", model_id: str) -> "list[Metric]":
    """Return the scores of a run's model on the test images, to be logged with ``log_batch`` as those of the model.

    They are the run's metrics ``test/...`` with their own time and step: the run has them already, and to log them
    again adds them to the model only.

    Args:
        run: read from the store after these metrics were logged.
        model_id: MLflow's id of the model.
    """
    from mlflow.entities import Metric

    inputs = run.inputs.dataset_inputs if run.inputs else []
    data = (inputs[0].dataset.name, inputs[0].dataset.digest) if inputs else (None, None)
    return [
        Metric(each.key, each.value, each.timestamp, each.step, model_id, *data)
        for each in run.data.to_proto().metrics
        if each.key.startswith("test/") and not math.isnan(each.value)  # MLflow keeps NaN of a model as 0
    ]
