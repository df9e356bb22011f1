"""What tracking costs: model_5 trained without it, trained with it, and as a whole run.

"training, tracked" has the callback, the journal, checkpoints, and the threads that draw the pictures of the data and
send everything to MLflow meanwhile. "whole run" adds all that follows training: evaluation, figures, the model saved,
everything in the store.
"""

import tempfile
import time
from pathlib import Path

import measure

from mnist_exp.base.imports import import_tensorflow


def main() -> None:
    quick = measure.is_quick(__doc__)
    import_tensorflow()
    from mnist_exp.runs.job import Job, PreparedJob
    from mnist_exp.runs.provenance import fingerprint_of
    from mnist_exp.runs.run import Progress, run
    from mnist_exp.tracking.mlflow.backend import open_backend
    from mnist_exp.tracking.mlflow.client import connect
    from mnist_exp.tracking.spool import journal
    from mnist_exp.tracking.spool.journal import Journal
    from mnist_exp.tracking.spool.tracker import JournalTracker, new_opening
    from mnist_exp.training import engine

    config = measure.config("experiment=model_5", *(["training.epochs=20"] if quick else []))
    dataset, split = measure.data(config)
    engine.train(measure.config("experiment=model_5", "training.epochs=1"), split, [])  # compiles
    tracked: list[float] = []

    with measure.workshop() as folder:
        uri = f"sqlite:///{folder}/empty.db"
        connect(uri)

        def untracked() -> list[float]:
            began = time.perf_counter()
            engine.train(config, split, [])
            return [time.perf_counter() - began]

        def whole() -> list[float]:
            began = time.perf_counter()
            opening = new_opening("model_5", uri, dataset.name, None, {})
            own = Journal(folder / "journal" / opening.key, new=True)
            tracker = JournalTracker(own, opening, open_backend(uri).open_run)
            with tempfile.TemporaryDirectory() as output:
                job = Job("model_5", "model_5", ("experiment=model_5",), Path(output))
                progress = Progress(own.folder / journal.CHECKPOINT)
                prepared = PreparedJob(
                    job, config, dataset, fingerprint_of(config, dataset), open_backend(uri), dataset.name
                )
                tracked.append(run(prepared, tracker, lambda _: None, progress).seconds)
            assert tracker.settle(patience_s=0) is None
            return [time.perf_counter() - began]

        whole()  # imports
        tracked.clear()
        rivals = {"training, untracked": untracked, "whole run, tracked": whole}
        seconds = measure.in_turns(rivals, 2 if quick else 7)
    seconds["training, tracked"] = tracked
    title = f"What tracking costs: model_5, {config.training.epochs} epochs"
    measure.report("tracking", title, seconds, "training, untracked", dataset.name)


if __name__ == "__main__":
    main()
