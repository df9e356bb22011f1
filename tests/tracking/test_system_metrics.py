"""The load of the machine, written to a run's tracker."""

import threading

import pytest

from mnist_exp.base.errors import ConfigError
from mnist_exp.tracking.memory import MemoryTracker
from mnist_exp.tracking.mlflow.system_metrics import SystemMetricsMonitor, interval_s
from mnist_exp.tracking.protocols import Measurement, Status


def test_the_load_is_measured_until_the_monitor_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    measured_twice = threading.Event()

    class Telling(MemoryTracker):
        def log_metrics(self, *measurements: Measurement) -> None:
            super().log_metrics(*measurements)
            if measurements[0].step == 1:
                measured_twice.set()

    monitor = SystemMetricsMonitor(tracker := Telling())
    assert measured_twice.wait(60)
    monitor.stop()
    measured = dict(tracker.metrics["system/cpu_utilization_percentage"])
    assert list(measured) == list(range(len(measured)))
    assert {"system/system_memory_usage_megabytes", "system/network_receive_megabytes"} <= set(tracker.metrics)
    assert not [thread for thread in threading.enumerate() if thread.name == "system metrics"]


def test_a_run_that_ends_meanwhile_ends_the_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    tracker = MemoryTracker()
    tracker.close(Status.FINISHED)
    monitor = SystemMetricsMonitor(tracker)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "system metrics"]
    thread.join(60)
    assert not thread.is_alive()
    monitor.stop()


@pytest.mark.parametrize("text", ["abc", "0", "-1", "nan", "inf", "1e300", "0.01"])
def test_an_interval_that_is_no_number_of_seconds_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", text)
    with pytest.raises(ConfigError, match=f"must be a number of seconds, at least 0.1. Received: '{text}'"):
        interval_s()


@pytest.mark.parametrize(("text", "seconds"), [("", 2.0), ("0.5", 0.5), ("30", 30.0)])
def test_the_environment_sets_the_interval(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", text)
    assert interval_s() == seconds
