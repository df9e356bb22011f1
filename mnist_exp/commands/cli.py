"""``mnist-exp COMMAND``: everything around the runs. Each command imports what it needs when it is called."""

import argparse
import sys
from collections.abc import Sequence

from mnist_exp.base.errors import MnistExpError

_DESCRIPTION = """\
Everything around the runs of mnist_exp. The runs themselves are started with

  python -m mnist_exp [-m] [key=value ...]
"""

_OTHER_STORE = "a store other than MLFLOW_TRACKING_URI or the project's mlruns/"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = _parser().parse_args(argv)
    from mnist_exp.terminal import messages

    try:
        code: int = arguments.command(arguments)
    except MnistExpError as error:
        messages.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mnist-exp", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    ui = commands.add_parser("ui", help="open the MLflow UI where the last sweep is visible")
    ui.add_argument("--port", type=int, default=5000, help="where it listens; 0 takes any free port (default: 5000)")
    ui.add_argument("--host", default="127.0.0.1", help="who may reach it (default: 127.0.0.1, this machine alone)")
    ui.add_argument("--uri", help=_OTHER_STORE)
    ui.add_argument("--no-browser", action="store_true", help="print the link only")
    ui.set_defaults(command=_ui)

    compare = commands.add_parser("compare", help="rank configurations and judge their differences over replicates")
    compare.add_argument(
        "which",
        nargs="*",
        metavar="SWEEP|RUN",
        help="ids or their first letters, names, a filter such as \"params.model = 'cnn'\" (default: the last sweep)",
    )
    compare.add_argument("--metric", default="val_accuracy", help="what to rank by (default: val_accuracy)")
    compare.add_argument(
        "--by",
        choices=("kept", "best", "last"),
        default="kept",
        help="the epoch whose weights each run kept (the default), its best, or its last",
    )
    compare.add_argument(
        "--worth", type=float, metavar="SIZE", help="the smallest difference that matters: adds the verdict equivalent"
    )
    compare.add_argument("--direction", choices=("max", "min"), help="which way is better, for metrics of your own")
    compare.add_argument(
        "--format", choices=("table", "csv", "json", "html"), default="table", help="html is the report of a sweep"
    )
    compare.add_argument("--pairs", action="store_true", help="csv and json list every pair of configurations instead")
    compare.add_argument("--output", metavar="FILE", help="where csv and json go (default: the screen), and html")
    compare.add_argument("--across-datasets", action="store_true", help="rank runs on different data all the same")
    compare.add_argument("--allow-test", action="store_true", help="rank by a test score all the same")
    compare.add_argument("--uri", help=_OTHER_STORE)
    compare.set_defaults(command=_compare)

    reproduce = commands.add_parser("reproduce", help="train the six models repeatedly and judge the published claims")
    reproduce.add_argument("--replicates", "--seeds", type=int, default=16, help="runs of each model (default: 16)")
    reproduce.add_argument("--data", choices=("auto", "mnist", "digits"), default="auto", help="default: auto")
    reproduce.add_argument(
        "--quick", action="store_true", help="two replicates, two epochs: to see it work, no reproduction"
    )
    reproduce.add_argument("overrides", nargs="*", metavar="key=value", help="more overrides for every run")
    reproduce.set_defaults(command=_reproduce)

    sync = commands.add_parser("sync", help="send what the store does not have yet, close what vanished")
    sync.add_argument("--status", action="store_true", help="show what waits, change nothing")
    sync.add_argument("--uri", help="the store to send it to (default: the one it was meant for)")
    sync.add_argument(
        "--gone",
        action="append",
        metavar="HOST",
        help="a host that is gone: its open runs are closed at once (else after 15 minutes of silence)",
    )
    sync.add_argument("--drop", metavar="KEY", help="delete a journal: what it holds and was not sent is lost")
    sync.set_defaults(command=_sync)

    completion = commands.add_parser("completion", help="print the shell code that completes both commands")
    completion.add_argument("shell", choices=("bash", "zsh"))
    completion.set_defaults(command=_completion)
    return parser


def _ui(arguments: argparse.Namespace) -> int:
    import signal
    import webbrowser

    from mnist_exp.commands.sync import tidy
    from mnist_exp.terminal import messages
    from mnist_exp.tracking.mlflow import records, store, ui

    uri = store.named(arguments.uri)
    tidy(uri)
    client = store.connect(uri)
    sweep = records.latest_sweep(client)
    jobs = records.children(client, sweep.run_id) if sweep else []
    latest = sweep or records.latest_run(client)
    experiment_id = latest.experiment_id if latest else "0"

    def show(address: str) -> None:
        page = ui.experiment_link(address, experiment_id, sweep.run_id if sweep else None)
        links = {f"the last sweep, {sweep.name}" if sweep else "runs": page}
        if len(jobs) > 1:
            links["its runs compared"] = ui.compare_link(address, [experiment_id], [job.run_id for job in jobs])
        links["everything"] = address
        messages.links(links)
        if not arguments.no_browser:
            webbrowser.open(page)

    if uri.startswith("http"):
        show(store.without_credentials(uri))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both ways of stopping it stop the server, too
    messages.out.print(f"Starting the MLflow UI on {store.without_credentials(uri)} ...", soft_wrap=True)
    try:
        with ui.serve(uri, arguments.host, arguments.port) as address:
            show(address)
            messages.out.print("Ctrl-C stops it.")
            signal.pause()
    except KeyboardInterrupt:
        pass  # the way it is meant to end
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from mnist_exp.commands import compare
    from mnist_exp.commands.sync import tidy
    from mnist_exp.tracking.mlflow import store

    tidy(store.named(arguments.uri))
    return compare.run(arguments)


def _reproduce(arguments: argparse.Namespace) -> int:
    from mnist_exp.commands import reproduce

    return reproduce.run(arguments)


def _sync(arguments: argparse.Namespace) -> int:
    from mnist_exp.commands import sync

    return sync.run(arguments)


def _completion(arguments: argparse.Namespace) -> int:
    from mnist_exp.commands.completion import script

    sys.stdout.write(script(arguments.shell))
    return 0


if __name__ == "__main__":
    sys.exit(main())
