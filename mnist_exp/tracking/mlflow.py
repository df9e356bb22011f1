"""The tracker that keeps a run in MLflow, through a client with an explicit run id.

MLflow's fluent functions are not used: they start a run wherever none is active, and close one as FINISHED when a
process ends, however it ended.
"""

import getpass
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from numpy.typing import NDArray

from mnist_exp.data.datasets import Dataset
from mnist_exp.redaction import redact
from mnist_exp.text import shortened
from mnist_exp.tracking.store import storing
from mnist_exp.tracking.tracker import Content, Measurement, ParamValue, Status

if TYPE_CHECKING:
    import keras
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

# Limits of MLflow: longer values are refused, and so are larger batches.
_MAX_PARAM, _MAX_TAG, _BATCH, _METRIC_BATCH = 6000, 8000, 100, 1000


class MlflowTracker:
    """An open run in MLflow. Implements :class:`~mnist_exp.tracking.tracker.Tracker`."""

    def __init__(self, client: MlflowClient, uri: str, run_id: str) -> None:
        self._client = client
        self._uri = uri
        self._run_id = run_id
        self._monitor: SystemMetricsMonitor | None = None

    @classmethod
    def open(
        cls,
        client: MlflowClient,
        uri: str,
        experiment_id: str,
        name: str,
        *,
        parent: str | None = None,
        system_metrics: bool = False,
    ) -> "MlflowTracker":
        """Start a run called ``name``, as a child of run ``parent`` where given."""
        tags = {"mlflow.user": _user(), "mlflow.source.type": "LOCAL", "mlflow.source.name": "mnist_exp"}
        if parent is not None:
            tags |= {"mlflow.parentRunId": parent, "sweep": parent}
        with storing(uri):
            run = client.create_run(experiment_id, run_name=name[:250], tags=tags)
            tracker = cls(client, uri, run.info.run_id)
            if system_metrics:
                tracker._start_monitor()
        return tracker

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return self._run_id

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Log params, as their text on a command line; what is too long for MLflow is whole in a file."""
        fitting = self._fitting({key: _as_override(value) for key, value in params.items()}, _MAX_PARAM, "params")
        texts = [Param(key, text) for key, text in fitting.items()]
        with storing(self._uri):
            for start in range(0, len(texts), _BATCH):
                self._client.log_batch(self._run_id, params=texts[start : start + _BATCH])

    def log_metrics(self, *measurements: Measurement) -> None:
        """Log metrics, as many as possible in one call."""
        points = [
            Metric(name, value, measured.time_ms, measured.step)
            for measured in measurements
            for name, value in measured.metrics.items()
        ]
        with storing(self._uri):
            for start in range(0, len(points), _METRIC_BATCH):
                self._client.log_batch(self._run_id, metrics=points[start : start + _METRIC_BATCH])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; what is too long for MLflow is whole in a file."""
        fitting = self._fitting(tags, _MAX_TAG, "tags")
        with storing(self._uri):
            self._client.log_batch(self._run_id, tags=[RunTag(key, text) for key, text in fitting.items()])

    def _fitting(self, texts: Mapping[str, str], limit: int, folder: str) -> dict[str, str]:
        """``texts`` without secrets and as MLflow takes them: one that is too long ends with how long it was, a digest
        that keeps it apart from others with the same beginning, and the artifact that has the whole of it.
        """
        fitting = {}
        for key, given in texts.items():
            text = redact(given).replace("\0", "\\0")  # which databases do not keep
            if len(text) > limit:
                path = f"whole/{folder}/{re.sub(r'[^A-Za-z0-9._-]', '_', key)}.txt"
                content = text.encode(errors="backslashreplace")
                self.log_artifact(path, content)
                text = shortened(text, limit, f", sha256 {hashlib.sha256(content).hexdigest()[:8]}, all in {path}")
            fitting[key] = text.encode(errors="backslashreplace").decode()[:limit]
        return fitting

    def log_artifact(self, path: str, content: Content) -> None:
        """Upload a file."""
        data = content if isinstance(content, bytes) else content()
        target = PurePosixPath(path)
        folder = str(target.parent) if target.parent.name else None
        with storing(self._uri), tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / target.name
            local.write_bytes(data)
            self._client.log_artifact(self._run_id, str(local), folder)

    def log_dataset(self, dataset: Dataset, context: str) -> None:
        """Log the data set as an MLflow input, under the digest of its content."""
        images = {"train": len(dataset.train), "test": len(dataset.test)}
        entity = MlflowDataset(
            name=dataset.name,
            digest=dataset.digest[:32],  # MLflow keeps 36 characters
            source_type="local",
            source=json.dumps({"uri": dataset.source}),
            profile=json.dumps({"images": images, "sha256": dataset.digest}),
        )
        tags = [InputTag("mlflow.data.context", context)]
        with storing(self._uri):
            self._client.log_inputs(self._run_id, [DatasetInput(entity, tags)])

    def log_model(self, model: "keras.Model", example: NDArray[np.uint8]) -> None:
        """Log the model in MLflow's Keras flavour: raw pixels in, probabilities out."""
        import mlflow.keras
        from mlflow.models import Model, ModelSignature
        from mlflow.types import Schema, TensorSpec

        signature = ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, 28, 28))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 10))]),
        )
        with storing(self._uri), tempfile.TemporaryDirectory() as scratch:
            experiment_id = self._client.get_run(self._run_id).info.experiment_id
            logged = self._client.create_logged_model(experiment_id, "model", self._run_id)
            folder = Path(scratch) / "model"
            folder.mkdir()
            mlflow.keras.save_model(
                model,
                str(folder),
                mlflow_model=Model(run_id=self._run_id, model_id=logged.model_id),
                signature=signature,
                input_example=example,
                # Named, because inferring them loads the model in another process and takes 17 s.
                pip_requirements=[f"{name}=={version(name)}" for name in ("tensorflow", "keras", "numpy")],
            )
            self._client.log_model_artifacts(logged.model_id, str(folder))
            self._client.finalize_logged_model(logged.model_id, "READY")
            self._client.log_outputs(self._run_id, [LoggedModelOutput(logged.model_id, step=0)])

    def close(self, status: Status) -> None:
        """End the run with ``status``."""
        if self._monitor is not None:
            self._monitor.finish()
        with storing(self._uri):
            self._client.set_terminated(self._run_id, status.value)

    def _start_monitor(self) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor(self._run_id, sampling_interval=2, tracking_uri=self._uri)
        self._monitor.start()


def _as_override(value: ParamValue) -> str:
    """A value as it would be typed on a command line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
