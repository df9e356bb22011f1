"""The sweep that a command takes if it is given none: on a server that several people use, one's own."""

import re
import time

import pytest

from commands.conftest import MnistExp
from mnist_exp.base.text import time_span
from mnist_exp.commands import store
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.tracker import MlflowTracker
from mnist_exp.tracking.protocols import Backend, Measurement, Status


@pytest.fixture(scope="module")
def backend(uri: str) -> Backend:
    """A store with a sweep of two runs by bob, a later one by ana, and a run by cem, who has no sweep."""
    backend = open_backend(uri)
    experiment = backend.experiment("mnist")
    for user in ("bob", "ana"):
        tags = {"kind": "sweep", "mlflow.user": user, "host": f"{user}s-machine"}
        parent = MlflowTracker.open(backend.client, uri, experiment, f"width of {user}", tags=tags)
        for units in (4, 10):
            child = MlflowTracker.open(backend.client, uri, experiment, f"{units} of {user}", parent=parent.run_id)
            child.log_params({"model.units": units, "seed": 17})
            child.set_tags({"kind": "run", "dataset": "mnist", "dataset.digest": "d", "mlflow.user": user})
            child.log_metrics(Measurement({"val_accuracy": units / 20}, 1), Measurement({"kept/val_accuracy": 0.5}))
            child.close(Status.FINISHED)
        parent.close(Status.FINISHED, int(time.time() - 200) * 1000)
    MlflowTracker.open(backend.client, uri, experiment, "single", tags={"mlflow.user": "cem"}).close(Status.FINISHED)
    return backend


@pytest.fixture
def shared(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The same, as if on a server."""
    monkeypatch.setattr(store, "_is_shared", lambda uri: uri == backend.uri)
    return backend


def test_a_server_is_shared_and_a_project_s_file_is_not() -> None:
    assert store._is_shared("http://host:5000")
    assert store._is_shared("postgresql://host/runs")
    assert not store._is_shared("sqlite:////project/mlruns/mlflow.db")


def test_in_a_project_the_last_sweep_is_the_last_of_all(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOGNAME", "bob")
    last = store.last_sweep(backend)
    assert last is not None
    assert (last.parent.name, last.title) == ("width of ana", "the last sweep")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("user", ["ana", "bob"])
def test_on_a_server_it_is_the_last_of_this_user(
    shared: Backend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], user: str
) -> None:
    monkeypatch.setenv("LOGNAME", user)
    last = store.last_sweep(shared)
    assert last is not None
    assert (last.parent.name, last.title) == (f"width of {user}", "your last sweep")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("user", ["cem", "o'neil"])
def test_without_one_of_ones_own_it_is_somebody_elses_and_a_line_says_whose(
    shared: Backend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], user: str
) -> None:
    monkeypatch.setenv("LOGNAME", user)
    last = store.last_sweep(shared)
    assert last is not None
    assert (last.parent.name, last.title) == ("width of ana", "ana's last sweep")
    line = f"warning: the last sweep is ana's (host anas-machine): {user} has none in this store\n"
    assert capsys.readouterr().err == line


def test_compare_says_which_sweep_it_took(
    shared: Backend, monkeypatch: pytest.MonkeyPatch, mnist_exp: MnistExp
) -> None:
    monkeypatch.setenv("LOGNAME", "bob")
    shown = mnist_exp("compare", "--uri", shared.uri)
    assert (shown.code, shown.err) == (0, "")
    first, *table = shown.out.splitlines()
    assert re.fullmatch(r"comparing your last sweep: width of bob \([0-9a-f]{8}, ended 3 min ago\)", first)
    assert "Ranked by the mean kept val_accuracy" in table[0]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_what_a_program_reads_holds_no_such_line(shared: Backend, mnist_exp: MnistExp, form: str) -> None:
    assert "comparing" not in mnist_exp("compare", "--uri", shared.uri, "--format", form).out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (30, "30 s"), (119, "119 s"), (180, "3 min"), (3 * 3600, "3 h"), (20 * 86400, "20 days")],
)
def test_a_time_span_is_said_in_its_largest_unit(seconds: float, text: str) -> None:
    assert time_span(seconds) == text
