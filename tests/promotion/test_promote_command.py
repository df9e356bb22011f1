"""``mnist-exp promote`` as it is typed: what it prints, and its exit codes."""

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import run_here

from mnist_exp.commands import cli
from mnist_exp.review import champion
from promotion.conftest import Shared, Store, record_runs

# The command

MnistExp = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mnist_exp(
    store: Store,
    journals_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> MnistExp:
    """``mnist-exp promote ARGUMENTS`` in this process: exit code, output, errors."""
    run_here(monkeypatch, tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # a command keeps its handlers as long as its process lives
    for variable in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{variable}_NAME", "Eve")
        monkeypatch.setenv(f"GIT_{variable}_EMAIL", "eve@example.org")

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main(["promote", *arguments, "--uri", store.backend.uri])
        return code, *capsys.readouterr()

    return call


def test_the_command_says_what_was_registered_why_and_how_to_load_it(store: Store, mnist_exp: MnistExp) -> None:
    store.promote("narrow")
    sweep = store.decided("wide").sweep.run_id
    code, out, err = mnist_exp(sweep[:8])
    assert (code, err) == (0, "")
    assert "digits version 2 is champion: model.units=10" in out
    assert "replicate 3, the median of 8 replicates (rank 5), not the luckiest" in out
    assert "version 1 (model.units=4, promoted by cleo)" in out
    assert "+0.1000 [" in out
    assert 'mlflow.pyfunc.load_model("models:/digits@champion")' in out
    assert store.versions()[0].tags["by"] == "Eve <eve@example.org>"
    (*_, last) = store.review("wide").record.events
    assert (last.kind, last.version, last.by) == ("promote", "digits/2", "Eve <eve@example.org>")


def test_what_is_refused_is_one_line_and_exit_code_2(store: Store, mnist_exp: MnistExp) -> None:
    sweep = store.review("wide").sweep.run_id
    code, out, err = mnist_exp(sweep[:8])
    assert (code, out) == (2, "")
    assert err.startswith("error: the sweep 'wide'")
    assert err.count("\n") == 1
    assert mnist_exp(sweep[:8], "--despite", "a demo")[0] == 0


def test_json_has_the_figures(store: Store, mnist_exp: MnistExp) -> None:
    store.promote("narrow")
    code, out, _ = mnist_exp(store.decided("wide").sweep.run_id, "--format", "json")
    found = json.loads(out)
    assert code == 0
    assert (found["version"], found["former"], found["replicate"]) == (2, 1, "replicate 3")
    assert found["against"]["difference"] == pytest.approx(0.1)
    assert found["overrode"] == []


def test_the_list_is_the_history(store: Store, mnist_exp: MnistExp) -> None:
    store.promote("narrow")
    store.promote("worse", despite="a [bold]demo[/]\x1b[31m")
    champion.rollback(store.backend, "digits", by="dan", reason="it is worse")
    code, out, _ = mnist_exp("--list")
    assert code == 0
    rows = [line for line in out.splitlines() if "model.units=" in line]
    assert [row.split()[0] for row in rows] == ["3", "2", "1"]
    assert "champion; rollback to 1: it is worse" in rows[0]
    assert r"despite: a [bold]demo[/]\x1b[31m" in rows[1]
    code, out, _ = mnist_exp("--list", "digits", "--format", "json")
    assert [(each["version"], each["is_champion"]) for each in json.loads(out)] == [(3, True), (2, False), (1, False)]


def test_the_command_takes_back_with_a_reason(store: Store, mnist_exp: MnistExp) -> None:
    store.promote("narrow")
    store.promote("wide")
    code, out, err = mnist_exp("--rollback", "-m", "too slow")
    assert (code, err) == (0, "")
    assert "digits version 3 is champion: model.units=4" in out
    assert "that of version 1, replicate 3" in out
    assert "version 2 (model.units=10, promoted by cleo)" in out
    assert store.versions()[0].tags["reason"] == "too slow"
    assert store.versions()[0].tags["by"] == "Eve <eve@example.org>"


def test_of_several_registered_models_one_must_be_named(store: Store, shared: Shared, mnist_exp: MnistExp) -> None:
    assert "nothing was promoted in this store yet" in mnist_exp("--list")[2]
    record_runs(store.backend, "of mine", {4: 0.8}, model=shared.model, dataset="mine")
    store.promote("narrow")
    store.promote("of mine")
    assert "name one of digits, mine" in mnist_exp("--list")[2]
    assert mnist_exp("--list", "mine")[0] == 0
    assert "nothing was promoted to 'other'" in mnist_exp("--list", "other")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--list", "--despite", "x"), "--despite goes with a sweep"),
        (("-m", "x"), "-m goes with --rollback"),
        (("--rollback", "-m", ""), "-m must be a reason of 1 to 500 characters"),
        (("ab12", "--despite", ""), "--despite must be a reason of 1 to 500 characters"),
    ],
)
def test_options_that_do_not_fit_together(mnist_exp: MnistExp, arguments: Sequence[str], message: str) -> None:
    code, _, err = mnist_exp(*arguments)
    assert code == 2
    assert message in err
