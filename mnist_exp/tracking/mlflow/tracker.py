"""The tracker that writes a run to MLflow, through a client with an explicit run id.

MLflow's fluent functions are not used: they start a run if none is active, and their exit hook closes an open run as
FINISHED even after a crash.

A network may deliver a request twice, and a request may be repeated after its answer was lost. Every call here may
therefore be made again: it finds what an earlier attempt wrote, and ignores MLflow's error about it.
"""

import getpass
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput as RunInput
from mlflow.entities import InputTag, LoggedModelOutput, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from mnist_exp.base.text import redact, shortened
from mnist_exp.config.overrides import as_override
from mnist_exp.tracking.mlflow import model_artifact
from mnist_exp.tracking.mlflow.client import store_errors
from mnist_exp.tracking.protocols import (
    MAX_PARAM,
    Content,
    DatasetInput,
    Measurement,
    ModelFolder,
    ParamValue,
    Status,
)
from mnist_exp.tracking.spool.entries import VANISHED

# Limits of MLflow, in characters and items: it rejects longer values and larger batches.
_MAX_NAME, _MAX_TAG, _BATCH, _METRIC_BATCH = 250, 8000, 100, 1000


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
        """Create a run and return its tracker.

        Args:
            client, uri: MLflow's client, and the store that it is connected to.
            experiment_id: MLflow's id of the experiment.
            name: the run's name.
            parent: MLflow's id of its sweep's parent run; None for a single run or a parent run.
            began_ms: when it began, in milliseconds since 1970; None for now.
            tags: further tags to create it with.

        Raises:
            StoreError: the store did not answer, or rejected it.
        """
        own = {"mlflow.user": current_user(), "mlflow.source.type": "LOCAL", "mlflow.source.name": "mnist_exp"}
        if parent is not None:
            own |= {"mlflow.parentRunId": parent, "sweep": parent}
        own |= tags or {}
        with store_errors(uri):
            run = client.create_run(experiment_id, began_ms, own, run_name=shortened(redact(name), _MAX_NAME))
        return cls(client, uri, str(run.info.run_id))

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return self._run_id

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Write params, each as the text of an override; the whole of one that is too long becomes an artifact."""
        fitting = self._fitting({key: as_override(value) for key, value in params.items()}, MAX_PARAM, "params")
        texts = [Param(key, text) for key, text in fitting.items()]
        with store_errors(self._uri):
            for start in range(0, len(texts), _BATCH):
                self._client.log_batch(self._run_id, params=texts[start : start + _BATCH])

    def log_metrics(self, *measurements: Measurement) -> None:
        """Write metrics, in as few requests as MLflow's limit allows."""
        points = [
            Metric(name, value, measured.time_ms, measured.step)
            for measured in measurements
            for name, value in measured.metrics.items()
        ]
        with store_errors(self._uri):
            for start in range(0, len(points), _METRIC_BATCH):
                self._client.log_batch(self._run_id, metrics=points[start : start + _METRIC_BATCH])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Write tags; the whole of one that is too long becomes an artifact."""
        fitting = self._fitting(tags, _MAX_TAG, "tags")
        with store_errors(self._uri):
            self._client.log_batch(self._run_id, tags=[RunTag(key, text) for key, text in fitting.items()])

    def _fitting(self, texts: Mapping[str, str], limit: int, folder: str) -> dict[str, str]:
        """Return ``texts`` without secrets, each within ``limit`` characters.

        A longer text is written to an artifact in ``folder``. Its beginning is returned, followed by its length, the
        path of the artifact, and a digest, by which two texts with the same beginning still differ.
        """
        fitting = {}
        for key, given in texts.items():
            text = redact(given).replace("\0", "\\0")  # databases reject or drop NUL characters
            if len(text) > limit:
                path = f"whole/{folder}/{re.sub(r'[^A-Za-z0-9._-]', '_', key)}.txt"
                content = text.encode(errors="backslashreplace")
                self.log_artifact(path, content)
                text = shortened(text, limit, f", sha256 {hashlib.sha256(content).hexdigest()[:8]}, all in {path}")
            fitting[key] = text.encode(errors="backslashreplace").decode()[:limit]
        return fitting

    def log_artifact(self, path: str, content: Content) -> None:
        """Write a file."""
        data = content if isinstance(content, bytes) else content()
        target = PurePosixPath(path)
        folder = str(target.parent) if target.parent.name else None
        with store_errors(self._uri), tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / target.name
            local.write_bytes(data)
            self._client.log_artifact(self._run_id, str(local), folder)

    def log_dataset(self, dataset: DatasetInput, context: str) -> None:
        """Write the data set as an MLflow input, under the digest of its content."""
        entity = MlflowDataset(
            name=dataset.name,
            digest=dataset.digest[:32],  # MLflow keeps 36 characters
            source_type="local",
            source=json.dumps({"uri": dataset.source}),
            profile=json.dumps({"images": dict(dataset.images), "sha256": dataset.digest}),
        )
        tags = [InputTag("mlflow.data.context", context)]
        with store_errors(self._uri):
            self._client.log_inputs(self._run_id, [RunInput(entity, tags)])

    def log_model(self, model: ModelFolder) -> None:
        """Write the model as a logged model of MLflow, the run's one output."""
        with store_errors(self._uri), tempfile.TemporaryDirectory() as scratch:
            run = self._client.get_run(self._run_id)
            if run.outputs is not None and run.outputs.model_outputs:
                return  # an earlier attempt completed this
            folder = Path(scratch) / "model"
            if callable(model):
                folder.mkdir()
                model(folder)
            else:
                shutil.copytree(model, folder)
            model_id = self._model_id(run)
            model_artifact.identify(folder, self._run_id, model_id)
            self._client.log_model_artifacts(model_id, str(folder))
            self._client.log_batch(self._run_id, metrics=model_artifact.scores_of(run, model_id))
            self._client.finalize_logged_model(model_id, "READY")
            self._log_output(model_id)

    def close(self, status: Status, time_ms: int | None = None) -> None:
        """End the run; one that was closed as its host was declared gone loses that reason, unless it was killed."""
        with store_errors(self._uri):
            if status is not Status.KILLED and self._was_closed_as_vanished():
                self._delete_tag("failure")
            self._client.set_terminated(self._run_id, status.value, end_time=time_ms)

    def resume(self) -> None:
        """Make the run a running one again, and remove the tags that say why it had ended."""
        with store_errors(self._uri):
            self._client.update_run(self._run_id, status="RUNNING")
            for tag in ("failure", "failure.message"):
                self._delete_tag(tag)

    def _was_closed_as_vanished(self) -> bool:
        """Whether somebody declared this host gone, which closed the run."""
        return bool(self._client.get_run(self._run_id).data.tags.get("failure") == VANISHED)

    def _delete_tag(self, tag: str) -> None:
        """Delete a tag if the run has it: MLflow raises if not, as after a request that was delivered twice."""
        try:
            self._client.delete_tag(self._run_id, tag)
        except MlflowException:
            if tag in self._client.get_run(self._run_id).data.tags:
                raise

    def _model_id(self, run: Run) -> str:
        """Get or create the run's logged model; return its id. An earlier attempt may have created it."""
        experiment_id, of_this_run = run.info.experiment_id, f"source_run_id = '{self._run_id}'"
        if not (found := self._client.search_logged_models([experiment_id], of_this_run)):
            name = model_artifact.name_of(run)
            self._client.create_logged_model(experiment_id, name, self._run_id, params=dict(run.data.params))
            found = self._client.search_logged_models([experiment_id], of_this_run)
        kept, *duplicates = sorted(str(model.model_id) for model in found)
        for duplicate in duplicates:  # a request that was delivered twice
            self._client.delete_logged_model(duplicate)
        return kept

    def _log_output(self, model_id: str) -> None:
        """Make a model the run's output, if it is not yet: MLflow raises for a request that was delivered twice."""
        try:
            self._client.log_outputs(self._run_id, [LoggedModelOutput(model_id, step=0)])
        except MlflowException:
            outputs = self._client.get_run(self._run_id).outputs
            if outputs is None or model_id not in [each.model_id for each in outputs.model_outputs]:
                raise


def current_user() -> str:
    """Return the name of the user, which runs have as their tag ``mlflow.user``; ``unknown`` if it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
