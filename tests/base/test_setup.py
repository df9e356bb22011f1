"""``make setup`` with a Python that the program cannot run on: one line, and no folder is left."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import PROJECT


def project() -> dict[str, str]:
    content: dict[str, dict[str, str]] = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    return content["project"]


def test_the_range_of_pythons_has_a_ceiling_and_includes_this_one() -> None:
    found = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project()["requires-python"])
    assert found is not None
    assert int(found[1]) <= sys.version_info.minor < int(found[2])


@pytest.mark.parametrize("allowed", [">=3.2,<3.9", ">=3.98,<3.99"])
def test_a_python_outside_of_it_is_refused_before_a_folder_is_made(tmp_path: Path, allowed: str) -> None:
    shutil.copy(PROJECT / "Makefile", tmp_path)
    (tmp_path / "constraints.txt").touch()
    text = (PROJECT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(text.replace(project()["requires-python"], allowed))
    done = subprocess.run(
        ["make", "--silent", "setup", f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=False,
    )
    first, above = re.findall(r"3\.\d+", allowed)
    said, of_make = done.stderr.splitlines()
    assert said == (
        f"error: PYTHON must be {first} or later and below {above}: TensorFlow has wheels for no other. "
        f"Received: Python {sys.version.split()[0]}"
    )
    assert of_make.startswith("make: *** ")
    assert not (tmp_path / ".venv").exists()
