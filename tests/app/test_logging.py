"""Every choice of Hydra's groups for logging works, and no secret is in what is logged."""

import json
import os
import subprocess
import sys

import pytest

# Logging cannot be configured twice in a process that goes on to other tests: a choice may close or disable what is
# there. So each choice has a process of its own, forked when everything is imported.
LOGGING = """
import json, logging, os, sys
from hydra.core.utils import configure_log
from omegaconf import open_dict
from mnist_exp.app.compose import compose

for number, override in enumerate(json.loads(sys.argv[1])):
    if os.fork() == 0:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{name}{number}", os.O_CREAT | os.O_WRONLY), stream)
        config = compose(["data=digits", *override])
        with open_dict(config):
            config.hydra.runtime.output_dir = f"job{number}"
        os.mkdir(f"job{number}")
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        logging.getLogger("hydra.core").warning("at http://me:pass1@host")
        configure_log(config.hydra.job_logging, config.hydra.verbose)
        log = logging.getLogger("mnist_exp.runs.run")
        log.info("info of hunter2")
        try:
            raise ValueError("error of hunter2")
        except ValueError:
            log.exception("failed")
        sys.exit()
    os.wait()
"""

JOB = ["file", "default", "stdout", "none", "disabled"]
HYDRA = ["warnings", "default", "none", "disabled", "hydra_debug"]
CHOICES = [*([f"hydra/job_logging={each}"] for each in JOB), *([f"hydra/hydra_logging={each}"] for each in HYDRA)]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What each choice wrote, by file: ``out`` and ``err`` are the streams, ``run`` is the log of the job."""
    folder = tmp_path_factory.mktemp("logging")
    subprocess.run(
        [sys.executable, "-c", LOGGING, json.dumps(CHOICES)],
        cwd=folder,
        env={**os.environ, "MLFLOW_TRACKING_TOKEN": "hunter2"},
        check=True,
    )
    written = {}
    for number, (choice,) in enumerate(CHOICES):
        files = {"out": f"out{number}", "err": f"err{number}", "run": f"job{number}/mnist_exp.log"}
        written[choice] = {
            name: (folder / file).read_text() if (folder / file).exists() else "" for name, file in files.items()
        }
    return written


@pytest.mark.parametrize(
    ("choice", "where"),
    [
        ("hydra/job_logging=file", {"run"}),
        ("hydra/job_logging=default", {"run", "out"}),
        ("hydra/job_logging=stdout", {"out"}),
        ("hydra/job_logging=none", set()),
        ("hydra/job_logging=disabled", set()),
    ],
)
def test_a_run_logs_where_it_was_told_to(logged: dict[str, dict[str, str]], choice: str, where: set[str]) -> None:
    assert {name for name, text in logged[choice].items() if "info of ***" in text} == where


@pytest.mark.parametrize("choice", [choice for (choice,) in CHOICES])
def test_in_whatever_is_logged_there_is_no_secret(logged: dict[str, dict[str, str]], choice: str) -> None:
    texts = "".join(logged[choice].values())
    assert "ValueError: error of ***" in texts, "an error is never lost"
    assert not [secret for secret in ("hunter2", "pass1") if secret in texts]


def test_hydras_own_messages_go_to_the_terminal(logged: dict[str, dict[str, str]]) -> None:
    assert "[HYDRA] at http://***@host" in logged["hydra/hydra_logging=warnings"]["out"]


def test_without_any_configuration_there_is_no_secret_either() -> None:
    code = "import logging, mnist_exp.base.text\nlogging.getLogger('x').error('at http://me:pass1@host')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "at http://***@host\n"
