"""The command line: one clear line for a mistake, exit code 2, and nothing started."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Checkout, Command

from mnist_exp.app import compose

MISTAKES = {
    "model.unitz=3": "model.unitz is not a key. Did you mean model.units? Received: 'model.unitz=3'",
    "+model.unitz=3": "model.unitz is not a key. Did you mean model.units? Received: 3",
    "modle=mlp": "modle is not a key. Did you mean model? Received: 'modle=mlp'",
    "model=rnn": "model must be one of cnn, mlp. Received: 'rnn'",
    "experiment=model_9": "experiment must be one of model_1, model_2, model_3, model_4, model_5, model_6, "
    "variance. Received: 'model_9'",
    "optimizer.lr=0": "optimizer.lr must be greater than 0. Received: 0",
    "model.units=4,10": "'model.units=4,10' holds several values: "
    "sweep over them with python -m mnist_exp -m model.units=4,10",
    "units": "'units' is no override of the form key=value: Error parsing override 'units'",
    "tracking.uri=./mlruns": "tracking.uri must be a database or a server, such as sqlite:///runs.db or "
    "http://host:5000. Received: './mlruns'",
    "tracking.uri=sqlite://": "tracking.uri must name a file, such as sqlite:///runs.db. Received: 'sqlite://'",
    "tracking.uri=": "tracking.uri must have at least 1 character. Received: ''",
    "model=null": "Config group override must be a string or a list. Got NoneType",
    "hydra.job.chdir=true": "hydra.job.chdir must be false, paths being relative to where you are. Received: True",
    "model.units=${nothing}": "Interpolation key 'nothing' not found full_key: model.units object_type=dict",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_starts_nothing(command: Command, tmp_path: Path, mistake: str) -> None:
    assert command("data=digits", mistake) == (2, f"error: {MISTAKES[mistake]}\n")
    assert list(tmp_path.iterdir()) == []


def test_data_that_cannot_be_had_is_known_before_anything_starts(command: Command, tmp_path: Path) -> None:
    code, said = command("data.path=/nowhere.npz", f"tracking.uri=sqlite:///{tmp_path / 'store' / 'mlflow.db'}")
    assert (code, said.count("\n")) == (2, 1)
    assert "data.path must be an .npz file or a folder of IDX files. Received: '/nowhere.npz'" in said
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (["model.units=4,-4"], "model.units must be greater than 0. Received: -4"),
        (["model.units=4,10", "optimizer.lr=0.1,fast"], "optimizer.lr must be a valid number. Received: 'fast'"),
        (["model.unitz=4,10"], "model.unitz is not a key. Did you mean model.units? Received: 'model.unitz=4,10'"),
        (
            ["tracking.uri=sqlite:///a.db,sqlite:///b.db"],
            "tracking.uri must be the same for all jobs of a sweep. Received: ['sqlite:///a.db', 'sqlite:///b.db']",
        ),
        (["model=mlp,rnn"], "model must be one of cnn, mlp. Received: 'rnn'"),
    ],
)
def test_a_sweep_is_checked_whole_before_its_first_job(
    command: Command, tmp_path: Path, sweep: list[str], said: str
) -> None:
    assert command("-m", "data=digits", *sweep) == (2, f"error: {said}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sweep", [(), ("-m",)], ids=["run", "sweep"])
def test_a_folder_that_cannot_be_written_to_is_known_before_anything_starts(
    command: Command, tmp_path: Path, sweep: tuple[str, ...]
) -> None:
    (tmp_path / "outputs").touch()
    (tmp_path / "multirun").touch()
    code, said = command(*sweep, "data=digits", "seed=1", f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}")
    assert (code, said.count("\n")) == (2, 1)
    assert "outputs must be a folder that can be written to" in said
    assert not (tmp_path / "mlflow.db").exists()


def test_an_experiment_file_that_cannot_be_read_is_left_out_with_a_warning(command: Command, tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "broken.yaml").write_text("model: [\n")
    code, said = command("--cfg", "job")
    assert code == 0
    assert "broken.yaml is left out, it cannot be read" in said


def test_an_experiment_of_ones_own_is_a_file_in_experiments(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "wide.yaml").write_text("model: {units: 77}\n")
    assert compose.to_run_config(compose.compose(["experiment=wide"])).model.units == 77


PROGRAM = "import runpy; runpy.run_module('mnist_exp', run_name='__main__')"
COMMANDS = "from mnist_exp.commands.cli import main; main()"
LIGHT = """
import sys
sys.argv = ["mnist_exp", *{arguments}]
try:
    {start}
except SystemExit:
    pass
heavy = {{"tensorflow", "keras", "mlflow", "sklearn", "scipy", "matplotlib"}} & set(sys.modules)
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""


@pytest.mark.parametrize(
    ("start", "arguments"),
    [
        (PROGRAM, ["--help"]),
        (PROGRAM, ["model=cnn", "-h"]),
        (PROGRAM, ["--cfg", "job"]),
        (PROGRAM, ["model.units=-4"]),
        (PROGRAM, ["-m", "model.unitz=4,10"]),
        (COMMANDS, ["--help"]),
        (COMMANDS, ["completion", "bash"]),
    ],
)
def test_help_and_config_errors_import_nothing_heavy(checkout: Checkout, start: str, arguments: list[str]) -> None:
    code = LIGHT.format(start=start, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
