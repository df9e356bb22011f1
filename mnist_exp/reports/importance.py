"""How much each swept key matters for the metric: permutation importance of a random forest."""

from dataclasses import dataclass

import numpy as np

from mnist_exp.analysis.comparison import Comparison
from mnist_exp.reports.charts import MISSING, NoChart, ordered
from mnist_exp.statistics.resampling import Floats

MIN_RUNS, MIN_CONFIGURATIONS = 10, 4
"""With fewer, a forest cannot learn anything."""

_FOLDS, _TREES, _REPEATS = 5, 100, 10


@dataclass(frozen=True)
class Importance:
    """Permutation importance of each key.

    Attributes:
        keys: the most important first.
        drop: for each key, the drop of the forest's R² on held-out runs if the key's values are shuffled among them;
            mean of 5 folds.
        sd: standard deviation of ``drop`` over the folds.
        r2: the forest's R² on held-out runs: 1 is perfect, 0 is no better than the mean.
    """

    keys: list[str]
    drop: list[float]
    sd: list[float]
    r2: float


def importance(comparison: Comparison) -> Importance | NoChart:
    """Return the importance of the swept keys for the metric that ranks the runs.

    Breiman, L. (2001), Random forests, Machine Learning 45. The seeds are fixed: the same runs give the same result.
    """
    runs = [(row, value) for row in comparison.rows for value in row.values.values()]
    keys = comparison.keys
    if not keys:
        return NoChart("The runs differ in nothing but their replicate.")
    if len(keys) == 1:
        return NoChart(f"Only {keys[0]} was swept: whatever differs beyond chance is due to it.")
    configurations = len({id(row) for row, _ in runs})
    if len(runs) < MIN_RUNS or configurations < MIN_CONFIGURATIONS:
        return NoChart(
            f"Importance takes at least {MIN_RUNS} finished runs of {MIN_CONFIGURATIONS} configurations; "
            f"there are {len(runs)} of {configurations}."
        )
    target = np.array([value for _, value in runs])
    if np.ptp(target) == 0:
        return NoChart("Every run reached the same figure.")
    columns = []
    for key in keys:
        texts = [row.params.get(key, MISSING) for row, _ in runs]
        positions = {text: index for index, text in enumerate(ordered(texts))}
        columns.append([positions[text] for text in texts])
    r2, drops = _cross_validated(np.array(columns, dtype=np.float64).T, target)
    if r2 <= 0:
        return NoChart(
            f"The keys do not predict the metric of runs that were held out from a random forest (R² {r2:.2f}), so "
            "there is no importance to divide among them."
        )
    mean, sd = drops.mean(axis=0), drops.std(axis=0)
    order = [int(index) for index in np.argsort(-mean, kind="stable")]
    return Importance(
        [keys[index] for index in order],
        [float(mean[index]) for index in order],
        [float(sd[index]) for index in order],
        r2,
    )


def _cross_validated(features: Floats, target: Floats) -> tuple[float, Floats]:
    """Return R² over all held-out runs, and the drop of R²: float [folds, keys].

    Args:
        features: float [runs, keys], indices of the keys' values.
        target: float [runs], the metric.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import r2_score
    from sklearn.model_selection import KFold

    predicted, drops = np.empty_like(target), []
    for known, held_out in KFold(_FOLDS, shuffle=True, random_state=0).split(features):
        forest = RandomForestRegressor(_TREES, random_state=0).fit(features[known], target[known])
        predicted[held_out] = forest.predict(features[held_out])
        # Mean squared error divided by the variance of all runs: the variance of a few held-out runs is too uncertain.
        permuted = permutation_importance(
            forest,
            features[held_out],
            target[held_out],
            scoring="neg_mean_squared_error",
            n_repeats=_REPEATS,
            random_state=0,
        )
        drops.append(permuted.importances_mean / target.var())
    return float(r2_score(target, predicted)), np.array(drops)
