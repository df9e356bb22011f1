"""``mnist-exp ui``: MLflow's UI, opened where the last sweep is visible."""

import argparse
import signal
import webbrowser
from typing import TYPE_CHECKING

from mnist_exp.base.errors import ConfigError
from mnist_exp.commands import store

if TYPE_CHECKING:
    from mnist_exp.tracking.protocols import Backend

HELP = "open the MLflow UI where the last sweep is visible"

_MAX_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--port", type=int, default=5000, help="where it listens; 0 takes any free port (default: 5000)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="who may reach it (default: 127.0.0.1, this machine alone)")
    store.add_uri(parser)
    parser.add_argument("--no-browser", action="store_true", help="print the link only")


def run(arguments: argparse.Namespace) -> int:
    """Start the UI, or only print the links if the store is a server, which has one.

    Returns:
        0, also after Ctrl-C and SIGTERM: both are how the UI is meant to be stopped.

    Raises:
        ConfigError: the port is no port.
        StoreError: there is no store, or the server cannot be started.
    """
    if not 0 <= arguments.port <= _MAX_PORT:
        raise ConfigError.rule("--port", f"must be from 0 to {_MAX_PORT}", arguments.port)
    backend = store.open_store(arguments.uri)
    pages = _pages(backend)
    from mnist_exp.review import queue
    from mnist_exp.terminal import messages
    from mnist_exp.tracking.mlflow import ui
    from mnist_exp.tracking.mlflow.client import without_credentials

    def show(address: str) -> None:
        links = {title: f"{address}{page}" for title, page in pages.items()}
        messages.links(links)
        messages.sweeps_wait(queue.waiting(backend))
        if not arguments.no_browser:
            webbrowser.open(next(iter(links.values())))

    address = without_credentials(backend.uri)
    if address.startswith("http"):
        show(address)
        return 0
    messages.out.print(f"Starting the MLflow UI on {messages.shown(address)} ...", soft_wrap=True)
    try:
        with ui.serve(backend.uri, arguments.host, arguments.port) as address:
            show(address)
            messages.out.print("Ctrl-C stops it.")
            signal.pause()
    except KeyboardInterrupt:
        pass
    return 0


def _pages(backend: "Backend") -> dict[str, str]:
    """Return the pages of the UI to show, without its address, by what is on them; the first is the one to open."""
    from mnist_exp.tracking import queries
    from mnist_exp.tracking.mlflow import ui

    pages = {}
    if (last := store.last_sweep(backend)) is not None:
        sweep, title = last
        pages[f"{title}, {sweep.name}"] = ui.experiment_link("", sweep.experiment_id, sweep.run_id)
        jobs = queries.children(backend, sweep.run_id)
        if len(jobs) > 1:
            pages["its runs compared"] = ui.compare_link("", [sweep.experiment_id], [job.run_id for job in jobs])
    else:
        run = queries.latest_run(backend)
        pages["runs"] = ui.experiment_link("", run.experiment_id if run else "0")
    return pages | {"everything": ""}
