"""How much each swept key matters for the metric: a random forest asked how far it errs without the key."""

from dataclasses import dataclass

import numpy as np

from mnist_exp.analysis.comparison import Comparison
from mnist_exp.reports.charts import MISSING, LeftOut, ordered

FEWEST_RUNS, FEWEST_CONFIGURATIONS = 10, 4
"""With less, a forest has nothing to learn from."""

_FOLDS, _TREES, _REPEATS = 5, 100, 10


@dataclass(frozen=True)
class Importance:
    """Permutation importance of each key.

    Attributes:
        keys: the most important first.
        drop: for each key, by how much the forest's R² falls on runs it has not seen when the key's values are
            shuffled among them: the mean of ``_FOLDS`` folds.
        spread: the standard deviation of that over the folds.
        r2: the forest's R² on runs it has not seen, with every key in place: 1 is perfect, 0 no better than the mean.
    """

    keys: list[str]
    drop: list[float]
    spread: list[float]
    r2: float


def importance(comparison: Comparison) -> Importance | LeftOut:
    """Importance of the swept keys for what the runs are ranked by. Always the same for the same runs.

    Breiman, L. (2001), Random forests, Machine Learning 45.
    """
    runs = [(row, value) for row in comparison.rows for value in row.values.values()]
    keys = comparison.keys
    if not keys:
        return LeftOut("The runs differ in nothing but their replicate.")
    if len(keys) == 1:
        return LeftOut(f"Only {keys[0]} was swept: whatever differs beyond chance is due to it.")
    configurations = len({id(row) for row, _ in runs})
    if len(runs) < FEWEST_RUNS or configurations < FEWEST_CONFIGURATIONS:
        return LeftOut(
            f"It takes {FEWEST_RUNS} finished runs of {FEWEST_CONFIGURATIONS} configurations at least to tell; "
            f"there are {len(runs)} of {configurations}."
        )
    target = np.array([value for _, value in runs])
    if np.ptp(target) == 0:
        return LeftOut("Every run reached the same figure.")
    columns = []
    for key in keys:
        texts = [row.params.get(key, MISSING) for row, _ in runs]
        places = {text: place for place, text in enumerate(ordered(texts))}
        columns.append([places[text] for text in texts])
    r2, drops = _folds(np.array(columns, dtype=np.float64).T, target)
    if r2 <= 0:
        return LeftOut(
            f"The keys do not foretell the metric of runs that a random forest has not seen (R² {r2:.2f}), so there is "
            "no importance to share out among them."
        )
    mean, spread = drops.mean(axis=0), drops.std(axis=0)
    order = [int(place) for place in np.argsort(-mean, kind="stable")]
    return Importance(
        [keys[place] for place in order],
        [float(mean[place]) for place in order],
        [float(spread[place]) for place in order],
        r2,
    )


def _folds(
    features: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
    target: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
) -> tuple[float, "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"]:
    """R² over all unseen runs, and the drop for each fold and key."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import r2_score
    from sklearn.model_selection import KFold

    predicted, drops = np.empty_like(target), []
    for known, unseen in KFold(_FOLDS, shuffle=True, random_state=0).split(features):
        forest = RandomForestRegressor(_TREES, random_state=0).fit(features[known], target[known])
        predicted[unseen] = forest.predict(features[unseen])
        # Mean squared error over the variance of all runs: R² of a few unseen runs alone has no firm denominator.
        permuted = permutation_importance(
            forest,
            features[unseen],
            target[unseen],
            scoring="neg_mean_squared_error",
            n_repeats=_REPEATS,
            random_state=0,
        )
        drops.append(permuted.importances_mean / target.var())
    return float(r2_score(target, predicted)), np.array(drops)
