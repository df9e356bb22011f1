"""The sweep of the README, four runs in one process, against the same four runs started one by one."""

from itertools import product

import measure


def main() -> None:
    quick = measure.is_quick(__doc__)
    dataset, _ = measure.data(measure.config())
    epochs = ["training.epochs=2"] if quick else []
    with measure.workshop() as folder:

        def sweep() -> list[float]:
            return [measure.ours("-m", "model.units=4,10", "optimizer.lr=0.001,0.01", *epochs, folder=folder)]

        def one_by_one() -> list[float]:
            each = product((4, 10), (0.001, 0.01))
            return [
                sum(measure.ours(f"model.units={u}", f"optimizer.lr={lr}", *epochs, folder=folder) for u, lr in each)
            ]

        seconds = measure.in_turns({"ours, one sweep": sweep, "four single runs": one_by_one}, 1 if quick else 3)
    measure.report("sweep", "Four runs, whole processes", seconds, "ours, one sweep", dataset.name)


if __name__ == "__main__":
    main()
