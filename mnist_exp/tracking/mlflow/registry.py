"""MLflow's model registry: the versions of a registered model, and the alias of the one in use.

Nothing else calls the registry. A version is the model of one run under a number; MLflow gives each number once, in
order, even if versions are registered at the same time or were deleted. A version and its tags are written in one call,
the alias in another one.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnist_exp.base.errors import Refused, StoreAway, StoreError
from mnist_exp.base.text import redact, shortened
from mnist_exp.tracking.mlflow.client import connect, is_forbidden, store_errors, without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"
"""The alias of the version in use: ``mlflow.pyfunc.load_model("models:/mnist@champion")``."""

_LONGEST = 5000  # characters of a tag and of a description; databases cut or reject longer ones
_PAGE = 1000  # the most that are read at once
_OURS = ("mnist_exp", "promoted")  # tag of the registered models that this program created or adds to
_GONE = "RESOURCE_DOES_NOT_EXIST"
_LINKS = "mlflow.modelVersions"  # tag of a logged model: its versions, which MLflow's UI shows on its page


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        name: of the registered model.
        number: from 1.
        run_id: of the run whose model it is; empty if it was registered without one.
        created_ms: when it was registered, in milliseconds since 1970, by the clock of the store.
        is_champion: whether the alias points to it.
    """

    name: str
    number: int
    run_id: str
    created_ms: int
    tags: Mapping[str, str]
    description: str = ""
    is_champion: bool = False


def registered_name(dataset: str) -> str:
    """Return the name of the registered model for a data set: its own, with ``_`` for what no model URI can have."""
    return re.sub(r"[^\w.-]+", "_", dataset).strip("._") or "model"


def names(uri: str) -> list[str]:
    """Return the names of the registered models that this program promoted to, sorted.

    Raises:
        StoreError: the store cannot be asked.
    """
    client, found, token = connect(uri), list[str](), None
    with store_errors(uri):
        while True:
            page = client.search_registered_models(
                f"tags.{_OURS[0]} = '{_OURS[1]}'", max_results=_PAGE, page_token=token
            )
            found += [str(model.name) for model in page]
            if not (token := page.token):
                return sorted(found)


def versions(uri: str, name: str) -> list[Version]:
    """Return all versions of a registered model, newest first; an empty list if there is no such model.

    The alias is read after the versions: a version that became champion meanwhile is never taken for one that did not.

    Raises:
        StoreError: the store cannot be asked.
    """
    client = connect(uri)
    if re.search(r"""["'/:]""", name):  # no model has such a name, and a filter cannot quote it
        return []
    while True:
        with store_errors(uri):
            found = _versions(client, name)
            champion = _champion(client, name)
        if champion is None or champion in {int(each.version) for each in found}:
            return [_version(each, champion) for each in found]


def register(uri: str, name: str, run_id: str, tags: Mapping[str, str], description: str) -> Version:
    """Register the model of a run as a new version. The registered model is created if there is none.

    Args:
        uri: the store.
        name: of the registered model.
        run_id: of the run.
        tags: of the version. Longer ones than 5,000 characters are shortened, secrets masked; so is the description.
        description: in markdown.

    Raises:
        Refused: there is no such run, it has no complete model, or this user may not write to the registered model.
        StoreError: the store cannot be asked.
    """
    client = connect(uri)
    with _writing(uri, name):
        model = _model_of(client, run_id)
        _prepare(client, name)
        made = client.create_model_version(
            name,
            # Not models:/ID: of a local store, MLflow would look that up in the store of its global settings.
            model.artifact_location,
            run_id,
            {key: _fitting(text) for key, text in tags.items()},
            description=_fitting(description),
            model_id=model.model_id,
        )
        if not uri.startswith("http"):  # a server does it itself
            _link(client, str(model.model_id), made)
        return _version(made, None)


def set_champion(uri: str, name: str, number: int) -> None:
    """Point the alias to a version. Raises Refused if there is no such version."""
    client = connect(uri)
    _twice(uri, name, lambda: client.set_registered_model_alias(name, ALIAS, str(number)))


def set_tag(uri: str, name: str, number: int, key: str, value: str) -> None:
    """Write a tag of a version. Raises Refused if there is no such version."""
    client = connect(uri)
    _twice(uri, name, lambda: client.set_model_version_tag(name, str(number), key, _fitting(value)))


def delete(uri: str, name: str, number: int) -> None:
    """Delete a version, and the alias if it points to it; does nothing if there is no such version."""
    client = connect(uri)
    from mlflow.exceptions import MlflowException

    with _writing(uri, name):
        try:
            client.delete_model_version(name, str(number))
        except MlflowException as error:
            if error.error_code != _GONE:
                raise


def _versions(client: "MlflowClient", name: str) -> "list[ModelVersion]":
    found, token = list["ModelVersion"](), None
    while True:
        page = client.search_model_versions(
            f"name = '{name}'", max_results=_PAGE, order_by=["version_number DESC"], page_token=token
        )
        found += page
        if not (token := page.token):
            return found


def _champion(client: "MlflowClient", name: str) -> int | None:
    """Return the number of the version that the alias points to; None if there is no alias, or no such model."""
    from mlflow.exceptions import MlflowException

    try:
        number = client.get_registered_model(name).aliases.get(ALIAS)
    except MlflowException as error:
        if error.error_code != _GONE:
            raise
        return None
    return None if number is None else int(number)


def _version(found: "ModelVersion", champion: int | None) -> Version:
    number = int(found.version)
    return Version(
        name=str(found.name),
        number=number,
        run_id=str(found.run_id or ""),
        created_ms=int(found.creation_timestamp),
        tags=dict(found.tags),
        description=str(found.description or ""),
        is_champion=number == champion,
    )


def _model_of(client: "MlflowClient", run_id: str) -> "LoggedModel":
    """Return the logged model of a run; of several, which a request that was delivered twice made, the one it kept."""
    run = client.get_run(run_id)
    found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    ready = sorted((model for model in found if model.status == "READY"), key=lambda model: str(model.model_id))
    if not ready:
        state = f"a model that is {found[0].status}, not READY" if found else "no model"
        raise Refused(f"the run {run.info.run_name!r} ({run_id[:8]}) has {state}: there is nothing to register")
    return ready[0]


def _prepare(client: "MlflowClient", name: str) -> None:
    """Create the registered model if there is none, and mark it as one of ours."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            name,
            dict([_OURS]),
            f"Promoted by `mnist-exp promote`. In use: the alias `{ALIAS}`, models:/{name}@{ALIAS}.",
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        if client.get_registered_model(name).tags.get(_OURS[0]) != _OURS[1]:
            client.set_registered_model_tag(name, *_OURS)


def _link(client: "MlflowClient", model_id: str, made: "ModelVersion") -> None:
    """Add a version to the list that a logged model's page shows."""
    before = client.get_logged_model(model_id).tags.get(_LINKS, "[]")
    links = [*json.loads(before), {"name": made.name, "version": str(made.version)}]
    client.set_logged_model_tags(model_id, {_LINKS: json.dumps(links)})


@contextmanager
def _writing(uri: str, name: str) -> Iterator[None]:
    """Convert errors of the store; a permission that this user lacks becomes Refused."""
    try:
        with store_errors(uri):
            yield
    except StoreError as error:
        if is_forbidden(error):
            place = f"the tracking store {without_credentials(uri)}"
            raise Refused(f"{place} does not let this user promote to {name!r}: that needs EDIT on it") from error
        raise


def _twice(uri: str, name: str, write: Callable[[], object]) -> None:
    """Write, and once more if that fails: of two processes that insert the same row at once, MLflow lets one fail."""
    try:
        with _writing(uri, name):
            write()
    except (StoreAway, Refused):
        raise
    except StoreError:
        with _writing(uri, name):
            write()


def _fitting(text: str) -> str:
    """Return ``text`` without secrets and within MLflow's limit."""
    clean = redact(text).replace("\0", "\\0").encode(errors="backslashreplace").decode()
    return shortened(clean, _LONGEST)
