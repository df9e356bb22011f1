"""A hyperparameter experiment tracker whose comparisons can be trusted.

The whole program, in a dozen lines::

    python -m mnist_exp model.units=10          one run: composed by Hydra, trained by Keras, tracked in MLflow
    python -m mnist_exp -m model.units=4,10 optimizer.lr=0.001,0.01       a sweep of four
    python -m mnist_exp experiment=model_6      a file of experiments/
    mnist-exp ui                                compare them in the MLflow UI
    mnist-exp compare                           compare the last sweep's configurations over their replicates
    mnist-exp reproduce                         compare the six models with the published figures

    config = compose.to_run_config(composed)              # checked before anything starts
    dataset = datasets.load(config.data)                  # verified, named after its content
    tracker = begin_run(opening, backend)                 # a journal, sent to MLflow meanwhile
    result = run(job, tracker, on_epoch)                  # train, evaluate, draw, close the tracker

What a script can use, imported from here::

    with track("my run", experiment="mine") as tracker:   # a run, closed as it ended
        model.fit(images, labels, callbacks=[TrackingCallback(tracker)])  # each epoch of any Keras model
    runs, epochs = load_runs("my run")                    # read back as pandas data frames
    compare(table, "accuracy", ["units"]).best_set        # which configurations of any table may be the best
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_exp.analysis.frames import Runs, load_runs
    from mnist_exp.statistics.table import compare
    from mnist_exp.training.callback import TrackingCallback, track

__all__ = ["Runs", "TrackingCallback", "compare", "load_runs", "track"]

_HOMES = {
    "Runs": "analysis.frames",
    "TrackingCallback": "training.callback",
    "compare": "statistics.table",
    "load_runs": "analysis.frames",
    "track": "training.callback",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: Keras, pandas and MLflow take seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"mnist_exp.{_HOMES[name]}"), name)
