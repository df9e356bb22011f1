"""The six models as whole processes, start to end: a plain script with mlflow.autolog() against this program.

Ours logs what it always logs: every epoch, the figures, the evaluation and the model. The plain script logs what
MLflow logs by itself. The full measurement takes half an hour, nearly all of it the plain script's, so it is done once;
--quick trains two epochs of each model, which measures start-up and tracking more than training.
"""

from pathlib import Path

import measure

TUTORIAL = Path(__file__).with_name("tutorial.py")


def main() -> None:
    quick = measure.is_quick(__doc__)
    dataset, _ = measure.data(measure.config())
    names = ",".join(f"model_{number}" for number in range(1, 7))
    epochs = ["training.epochs=2"] if quick else []
    with measure.workshop() as folder:
        rivals = {
            "ours": lambda: [measure.ours("-m", f"experiment={names}", *epochs, folder=folder)],
            "plain script, mlflow.autolog()": lambda: [
                measure.process([str(TUTORIAL), *(["2"] if quick else [])], folder)
            ],
        }
        seconds = measure.in_turns(rivals, rounds=1)
    measure.report("models", "The six models, whole processes", seconds, "ours", dataset.name)


if __name__ == "__main__":
    main()
