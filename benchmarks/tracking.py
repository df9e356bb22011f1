"""What tracking costs: model_5 trained without it, trained with it, and as a whole run.

"training, tracked" has the callback, MLflow and its thread, with the pictures of the data drawn meanwhile. "whole run"
adds all that follows training: evaluation, figures, the model saved, everything in the store.
"""

import tempfile
import time
from pathlib import Path

import measure

from mnist_exp.training.startup import import_tensorflow


def main() -> None:
    quick = measure.is_quick(__doc__)
    import_tensorflow()
    from mnist_exp.run import Job, run
    from mnist_exp.tracking import store
    from mnist_exp.tracking.background import BackgroundTracker
    from mnist_exp.tracking.mlflow import MlflowTracker
    from mnist_exp.training import engine

    config = measure.config("experiment=model_5", *(["training.epochs=20"] if quick else []))
    dataset, split = measure.data(config)
    engine.train(measure.config("experiment=model_5", "training.epochs=1"), split, [])  # compiles
    tracked: list[float] = []

    with measure.workshop() as folder:
        uri = f"sqlite:///{folder}/empty.db"
        client = store.connect(uri)
        experiment = store.experiment_id(client, uri, dataset.name)

        def untracked() -> list[float]:
            began = time.perf_counter()
            engine.train(config, split, [])
            return [time.perf_counter() - began]

        def whole() -> list[float]:
            began = time.perf_counter()
            tracker = BackgroundTracker(MlflowTracker.open(client, uri, experiment, "model_5"))
            with tempfile.TemporaryDirectory() as output:
                job = Job("model_5", "model_5", ("experiment=model_5",), Path(output))
                tracked.append(run(config, job, dataset, tracker, lambda _: None).seconds)
            return [time.perf_counter() - began]

        whole(), tracked.clear()  # imports
        rivals = {"training, untracked": untracked, "whole run, tracked": whole}
        seconds = measure.in_turns(rivals, 2 if quick else 5)
    seconds["training, tracked"] = tracked
    title = f"What tracking costs: model_5, {config.training.epochs} epochs"
    measure.report("tracking", title, seconds, "training, untracked", dataset.name)


if __name__ == "__main__":
    main()
