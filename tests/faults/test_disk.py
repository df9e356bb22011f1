"""A disk that is full, or takes nothing: found before training starts, or the run ends as what it is, FAILED."""

import errno
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Checkout

from faults import ledger
from faults.ledger import KeptRun
from faults.program import Program
from mnist_exp.tracking import queries
from mnist_exp.tracking.mlflow.backend import open_backend
from mnist_exp.tracking.mlflow.client import connect
from mnist_exp.tracking.spool import journal as journals

pytestmark = pytest.mark.slow

LONG_RUN = ("data=digits", "training.epochs=5000", "seed=1")
"""Would take a minute, if the disk let it."""

Mount = Callable[[Path, str], Path]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Makes a folder a small disk of its own, which keeps what was in the folder."""
    mounted: list[Path] = []

    def make(folder: Path, size: str) -> Path:
        before = folder.with_name(f"{folder.name} before")
        if folder.exists():
            folder.rename(before)
        folder.mkdir()
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False, capture_output=True
        )
        if made.returncode:
            pytest.skip(f"needs a small disk, and may not mount one: {made.stderr.decode().strip()}")
        mounted.append(folder)
        if before.exists():
            shutil.copytree(before, folder, dirs_exist_ok=True)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a database in it may be open here


def fill(disk: Path) -> Path:
    """Take all room there is; the file that has it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017  whatever else goes wrong is no full disk
    return ballast


def only_run(uri: str) -> KeptRun:
    client = connect(uri)
    (run,) = queries.everything(open_backend(client.tracking_uri))
    return ledger.read_run(client, run)


def assert_kept_up_to_the_failure(run: KeptRun, program: Program) -> None:
    """The run is FAILED for its reason, and every epoch up to the one that found the disk full is there once."""
    assert (run.record.status, run.record.tags["failure"]) == ("FAILED", "StoreError")
    assert re.search("No space left on device|no room for a whole line", run.record.tags["failure.message"])
    last = max(run.points["loss"])
    assert last >= max(program.epochs_seen().values(), default=1)
    for name in ledger.EPOCH_METRICS:
        assert {step: len(points) for step, points in run.points[name].items()} == dict.fromkeys(range(1, last + 1), 1)


class TestBeforeTraining:
    @pytest.fixture(params=["full", "read-only", "a file in its place"])
    def reason(self, request: pytest.FixtureRequest, checkout: Checkout) -> str:
        """What the system says of the folder of journals, which cannot be used."""
        folder = checkout.root / "mlruns" / "journal"
        if request.param == "a file in its place":
            folder.touch()
            return "File exists"
        request.getfixturevalue("mount")(folder, "2m")
        if request.param == "full":
            fill(folder)
            return "No space left on device"
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        return "Read-only file system"

    def test_a_folder_that_takes_no_journals_is_one_clear_line_and_nothing_starts(
        self, checkout: Checkout, reason: str
    ) -> None:
        outcome = checkout.run("data=digits", "training.epochs=2")
        assert (outcome.code, outcome.out) == (2, "")
        folder = checkout.root / "mlruns" / "journal"
        assert outcome.err == f"error: {folder} must take a journal of every run. It does not: {reason}\n"
        assert queries.everything(open_backend(checkout.uri)) == []
        assert not (checkout.root / "outputs").exists()


class TestDuringTraining:
    def test_where_only_the_journals_disk_is_full_the_store_is_told(self, checkout: Checkout, mount: Mount) -> None:
        disk = mount(checkout.root / "mlruns" / "journal", "2m")
        with Program(checkout, *LONG_RUN) as program:
            program.wait_for("epoch 1/")
            fill(disk)
            assert program.end() == 1, program.said
        assert_kept_up_to_the_failure(only_run(checkout.uri), program)
        assert journals.folders(disk) == []

    def test_where_the_stores_is_full_too_the_journal_says_so_until_there_is_room_again(
        self, checkout: Checkout, mount: Mount
    ) -> None:
        disk = mount(checkout.root / "mlruns" / "journal", "2m")
        stores = mount(checkout.root / "store", "8m")
        shutil.copy(checkout.root / "mlruns" / "mlflow.db", stores)
        with Program(checkout, *LONG_RUN, f"tracking.uri=sqlite:///{stores / 'mlflow.db'}") as program:
            program.wait_for("epoch 1/")
            ballast = [fill(stores), fill(disk)]
            assert program.end() == 1, program.said
        assert "wait to be sent" in program.said
        (folder,) = journals.folders(disk)
        ended = journals.read(folder).ended
        assert ended is not None, program.said
        assert ended.content["status"] == "FAILED"

        for file in ballast:
            file.unlink()
        sync = checkout.run("sync", program="mnist_exp.commands.cli")
        assert sync.code == 0, sync.out + sync.err
        assert_kept_up_to_the_failure(only_run(f"sqlite:///{stores / 'mlflow.db'}"), program)
        assert journals.folders(disk) == []
