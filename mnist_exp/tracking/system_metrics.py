"""Watching the machine that a run runs on: MLflow's system metrics, told to a tracker as everything else is."""

import os
import threading

from mnist_exp.base.errors import StoreError
from mnist_exp.tracking.protocols import Measurement, Tracker

_INTERVAL_S = 2.0


class Watch:
    """Measures processor, memory, disk and network every other second, from a thread, until it is stopped.

    ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`` sets another interval, in seconds.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._interval_s = float(os.environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL") or _INTERVAL_S)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="system metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Measure no more."""
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
                return  # the run ends, or the disk is full, which it will learn by itself
            step += 1
