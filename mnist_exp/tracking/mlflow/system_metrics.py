"""The load of the machine that a run runs on: MLflow's system metrics, written to the run's tracker."""

import math
import os
import threading

from mnist_exp.base.errors import ConfigError, StoreError
from mnist_exp.tracking.protocols import Measurement, Tracker

_VARIABLE = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
_INTERVAL_S = 2.0
_SHORTEST_S = 0.1  # measuring takes some milliseconds


def is_wanted(configured: bool) -> bool:
    """Return whether the load is logged: ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING``, else ``tracking.system_metrics``."""
    wanted = os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING")
    return wanted.lower() in ("1", "true") if wanted else configured


def interval_s() -> float:
    """Return the seconds between two measurements: ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL``, by default 2.

    Raises:
        ConfigError: the variable is not a number of at least 0.1.
    """
    text = os.environ.get(_VARIABLE) or str(_INTERVAL_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _SHORTEST_S <= seconds <= threading.TIMEOUT_MAX:
        raise ConfigError.rule(_VARIABLE, f"must be a number of seconds, at least {_SHORTEST_S:g}", text)
    return seconds


class SystemMetricsMonitor:
    """Measures processor, memory, disk and network in a thread, until it is stopped.

    Raises:
        ConfigError: as :func:`interval_s`.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._interval_s = interval_s()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="system metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End measuring."""
        self._stopped.set()
        self._thread.join()

    def _measure(self) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        step = 0
        while not self._stopped.wait(self._interval_s):
            found: dict[str, float] = {}
            for monitor in monitors:
                monitor.collect_metrics()
                found |= monitor.aggregate_metrics()
                monitor.clear_metrics()
            try:
                self._tracker.log_metrics(Measurement({f"system/{name}": value for name, value in found.items()}, step))
            except StoreError:
                return  # the run has ended, or the disk is full, which the run finds out by itself
            step += 1
