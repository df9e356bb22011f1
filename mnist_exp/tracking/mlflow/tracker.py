"""The tracker that keeps a run in MLflow, through a client with an explicit run id.

MLflow's fluent functions are not used: they start a run wherever none is active, and close one as FINISHED when a
process ends, however it ended.
"""

import getpass
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput as RunInput
from mlflow.entities import InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from mnist_exp.base.text import redact, shortened
from mnist_exp.tracking.mlflow import model_artifact
from mnist_exp.tracking.mlflow.store import storing
from mnist_exp.tracking.protocols import (
    Content,
    DatasetInput,
    Measurement,
    ModelFolder,
    ParamValue,
    Status,
    as_override,
)
from mnist_exp.tracking.spool.entries import VANISHED

# Limits of MLflow: longer values are refused, and so are larger batches.
_MAX_NAME, _MAX_PARAM, _MAX_TAG, _BATCH, _METRIC_BATCH = 250, 6000, 8000, 100, 1000


class MlflowTracker:
    """An open run in MLflow. Implements :class:`~mnist_exp.tracking.protocols.Tracker`."""

    def __init__(self, client: MlflowClient, uri: str, run_id: str) -> None:
        self._client = client
        self._uri = uri
        self._run_id = run_id

    @classmethod
    def open(
        cls,
        client: MlflowClient,
        uri: str,
        experiment_id: str,
        name: str,
        *,
        parent: str | None = None,
        began_ms: int | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> "MlflowTracker":
        """Start a run called ``name``, as a child of run ``parent`` where given."""
        own = {"mlflow.user": _user(), "mlflow.source.type": "LOCAL", "mlflow.source.name": "mnist_exp"}
        if parent is not None:
            own |= {"mlflow.parentRunId": parent, "sweep": parent}
        own |= tags or {}
        with storing(uri):
            run = client.create_run(experiment_id, began_ms, own, run_name=shortened(redact(name), _MAX_NAME))
        return cls(client, uri, str(run.info.run_id))

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return self._run_id

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Log params, as their text on a command line; what is too long for MLflow is whole in a file."""
        fitting = self._fitting({key: as_override(value) for key, value in params.items()}, _MAX_PARAM, "params")
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

    def log_dataset(self, dataset: DatasetInput, context: str) -> None:
        """Log the data set as an MLflow input, under the digest of its content."""
        entity = MlflowDataset(
            name=dataset.name,
            digest=dataset.digest[:32],  # MLflow keeps 36 characters
            source_type="local",
            source=json.dumps({"uri": dataset.source}),
            profile=json.dumps({"images": dict(dataset.images), "sha256": dataset.digest}),
        )
        tags = [InputTag("mlflow.data.context", context)]
        with storing(self._uri):
            self._client.log_inputs(self._run_id, [RunInput(entity, tags)])

    def log_model(self, model: ModelFolder) -> None:
        """Log the model as the run's one output, under an id that MLflow gives it."""
        with storing(self._uri), tempfile.TemporaryDirectory() as scratch:
            run = self._client.get_run(self._run_id)
            if run.outputs is not None and run.outputs.model_outputs:
                return  # an earlier attempt got this far
            folder = Path(scratch) / "model"
            if callable(model):
                folder.mkdir()
                model(folder)
            else:
                shutil.copytree(model, folder)
            model_id = self._model_id(run.info.experiment_id)
            model_artifact.identify(folder, self._run_id, model_id)
            self._client.log_model_artifacts(model_id, str(folder))
            self._client.finalize_logged_model(model_id, "READY")
            self._log_output(model_id)

    def close(self, status: Status, time_ms: int | None = None) -> None:
        """End the run with ``status``."""
        with storing(self._uri):
            if status is not Status.KILLED and self._taken_for_vanished():
                self._delete_tag("failure")
            self._client.set_terminated(self._run_id, status.value, end_time=time_ms)

    def resume(self) -> None:
        """Make the run a running one again, and forget why it had ended."""
        with storing(self._uri):
            self._client.update_run(self._run_id, status="RUNNING")
            for tag in ("failure", "failure.message"):
                self._delete_tag(tag)
            self._beat()

    def alive(self) -> None:
        """Renew the tag ``heartbeat``; a run that was taken for vanished, as its host was cut off for long, goes on."""
        with storing(self._uri):
            if self._taken_for_vanished():
                self._client.update_run(self._run_id, status="RUNNING")
                self._delete_tag("failure")
            self._beat()

    def _beat(self) -> None:
        self._client.log_batch(self._run_id, tags=[RunTag(*each) for each in heartbeat().items()])

    def _taken_for_vanished(self) -> bool:
        """Whether another host took a long silence for its end."""
        return bool(self._client.get_run(self._run_id).data.tags.get("failure") == VANISHED)

    def _delete_tag(self, tag: str) -> None:
        """Delete a tag; MLflow refuses where there is none, as for the second of two requests that a network makes."""
        try:
            self._client.delete_tag(self._run_id, tag)
        except MlflowException:
            if tag in self._client.get_run(self._run_id).data.tags:
                raise

    def _model_id(self, experiment_id: str) -> str:
        """The id of the run's model, which an earlier attempt may have asked for."""
        of_this_run = f"source_run_id = '{self._run_id}'"
        if not (found := self._client.search_logged_models([experiment_id], of_this_run)):
            self._client.create_logged_model(experiment_id, "model", self._run_id)
            found = self._client.search_logged_models([experiment_id], of_this_run)
        first, *twins = sorted(str(model.model_id) for model in found)
        for twin in twins:  # a network may deliver a request twice
            self._client.delete_logged_model(twin)
        return first

    def _log_output(self, model_id: str) -> None:
        """Make a model the run's output; MLflow refuses the second of two requests for it, which a network may make."""
        try:
            self._client.log_outputs(self._run_id, [LoggedModelOutput(model_id, step=0)])
        except MlflowException:
            outputs = self._client.get_run(self._run_id).outputs
            if outputs is None or model_id not in [each.model_id for each in outputs.model_outputs]:
                raise


def heartbeat() -> dict[str, str]:
    """By what others see that a run is alive: now, in seconds since 1970."""
    return {"heartbeat": str(int(time.time()))}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
