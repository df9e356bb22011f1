"""A hyperparameter experiment tracker whose comparisons can be trusted.

The whole program, in a dozen lines::

    python -m mnist_exp model.units=10          one run: composed by Hydra, trained by Keras, tracked in MLflow
    python -m mnist_exp -m model.units=4,10 optimizer.lr=0.001,0.01       a sweep of four
    python -m mnist_exp experiment=model_6      a file of experiments/
    mnist-exp ui                                compare them in the MLflow UI
    mnist-exp compare                           judge the last sweep's configurations over their replicates
    mnist-exp reproduce                         hold the six models against what was published

    config = compose.to_run_config(composed)              # checked before anything starts
    dataset = datasets.load(config.data)                  # verified, named after what it is
    tracker = MlflowTracker.open(client, uri, experiment_id, name)
    result = run(config, job, dataset, tracker, on_epoch) # train, judge, draw, close the tracker
    runs, epochs = load_runs("params.model = 'mlp'")      # read back as pandas data frames
    compare(table, "accuracy", ["units"]).best_set        # which configurations of any table may be the best
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_exp.analysis.frames import Runs, load_runs
    from mnist_exp.statistics.table import compare

__all__ = ["Runs", "compare", "load_runs"]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: pandas and MLflow take seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"mnist_exp.{'statistics.table' if name == 'compare' else 'analysis.frames'}"), name)
