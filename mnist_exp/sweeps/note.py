"""The note on a sweep's parent run, which the MLflow UI shows as its description: review, conclusion and ranking."""

from mnist_exp.analysis import ranking
from mnist_exp.analysis.comparison import Comparison
from mnist_exp.analysis.ranking import Leaderboard
from mnist_exp.base.text import shortened
from mnist_exp.reports.sweep_report import ReviewBlock
from mnist_exp.review.block import LONGEST_NOTE, markdown, with_block
from mnist_exp.statistics.conclusion import percent

_BEGIN, _END = "<!-- ranking -->", "<!-- end of ranking -->"


def note(board: Leaderboard, result: Comparison | None, review: ReviewBlock | None, before: str = "") -> str:
    """Return the note of a sweep as markdown: review, ranking, and what people wrote.

    Args:
        board: its runs, ranked.
        result: its configurations compared; None if they could not be.
        review: the head of the note; None if there is none.
        before: the note that it has; review and ranking in it are replaced.
    """

    def whole(ranked: str) -> str:
        text = with_block(before, "\n\n".join([_BEGIN, ranked, _END]))
        return with_block(text, markdown(review)) if review else text

    ranked = _ranking(board, result)
    too_long = len(whole(ranked)) - LONGEST_NOTE
    return whole(shortened(ranked, max(0, len(ranked) - too_long))) if too_long > 0 else whole(ranked)


def _ranking(board: Leaderboard, result: Comparison | None) -> str:
    """Return the conclusion and the ranking of configurations, or of runs if none has replicates."""
    head = [f"{result.conclusion()}\n", "Artifacts: `sweep/report.html`\n"] if result else []
    if result and result.has_replicates:
        return "\n".join([*head, *_configurations(result)])
    titles = ["#", *board.keys, *(title for _, title in ranking.COLUMNS)]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for place, record in enumerate(board.ranked, 1):
        params = [record.params.get(key, "") for key in board.keys]
        figures = [record.figure(metric) for metric, _ in ranking.COLUMNS]
        metrics = ["" if figure is None else f"{figure:.4g}" for figure in figures]
        lines.append(f"| {' | '.join([str(place), *params, *metrics])} |")
    lines += [f"\nrange test, not ranked: {record.name}" for record in board.range_tests]
    lines += [f"\n{record.status}: {record.name}" for record in board.others]
    return "\n".join([*head, *lines])


def _configurations(result: Comparison) -> list[str]:
    titles = [
        *("#", *result.keys, "replicates", f"mean {result.measure.name}", "95 % interval", "best set"),
        *(f"minus the first, simultaneous {percent(1 - result.verdicts.level)}", "verdict", "without a result"),
    ]
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    for place, row in enumerate(result.rows, 1):
        figures = [""] * 5
        if row.spread:
            without = "one replicate" if row.spread.n == 1 else ""
            interval = f"{row.spread.low:.4f} .. {row.spread.high:.4f}" if row.spread.has_interval else without
            against = row.against_first
            figures = [
                f"{row.spread.mean:.4f}",
                interval,
                row.best_set_in_words(),
                against.interval() if against else "",
                against.words() if against else "",
            ]
        keys = [row.params.get(key, "") for key in result.keys]
        cells = [
            str(place) if row.spread else "-",
            *keys,
            str(row.spread.n if row.spread else 0),
            *figures,
            row.failures_in_words(),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
