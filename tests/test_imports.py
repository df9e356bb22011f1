"""An interruption waits until an import is done; anywhere else it does not wait."""

import gc
import threading

import pytest

from mnist_exp.imports import importing, interrupt


def test_one_that_comes_during_an_import_is_raised_behind_it() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), importing():  # noqa: PT012
        with importing():
            interrupt()
        done.append("the outer import")
    assert done == ["the outer import"]
    with importing():
        pass  # it is raised once


def test_any_other_is_raised_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_an_import_that_fails_leaves_nothing_behind() -> None:
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_no_garbage_is_collected_meanwhile() -> None:
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_import_in_another_thread_keeps_nothing_from_the_main_one() -> None:
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with importing():
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(60)
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    leave.set()
    thread.join()
