"""A paired comparison of two experiments as text, CSV and picture; B - A, A the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metrics import PairedValues, higher_is_better, paired_values, shared_metrics

from . import canvas
from .tables import (
    align,
    interval_text,
    metric_digits,
    metric_title,
    number_text,
    p_text,
    per_case_csv,
)

_DOT = canvas.PALETTE[6]
_LINE, _HEAD, _FOOT = 34, 58, 50  # pixels: of a class, above and below a panel's classes

Result = Mapping[str, Any]
NOTE = """\
Differences are B - A of the same case: a positive Dice difference means that B is better, and so
does a negative distance. "overall" is the mean over a case's classes. 95 % CI: percentile
bootstrap over cases. p: Wilcoxon signed-rank, two-sided; p Holm: corrected over the classes of
the metric ("overall" is one test per metric and is not corrected; metrics are not corrected for
each other). The folds' training sets overlap, so cases are not quite independent: read a p near
a threshold with care."""


def comparison_table(results: Sequence[Result], name_a: str, name_b: str) -> str:
    """The text: per metric a line for "overall" and each class.

    Args:
        results: of `metrics.compare`.
        name_a: the baseline.
    """
    lines = [f"A (baseline)  {name_a}", f"B             {name_b}", ""]
    for metric in dict.fromkeys(result["metric"] for result in results):
        better = "higher" if higher_is_better(metric) else "lower"
        header = [f"{metric_title(metric)}, {better} is better", "A", "B", "B - A", "95 % CI",
                  "median", "B wins/ties/losses", "p", "p Holm"]
        rows = [_cells(result) for result in results if result["metric"] == metric]
        lines += [*align(header, rows), ""]
    sizes = sorted({result["n"] for result in results})
    if len(sizes) == 1:
        lines.append(f"{sizes[0]} cases")
    else:
        lines.append(f"{sizes[0]} to {sizes[-1]} cases; pairs with an undefined value are left out "
                     f"(n and n_dropped in the CSV)")
    return "\n".join([*lines, NOTE])


def differences_csv(path: str | Path, rows_a: Sequence[Result], rows_b: Sequence[Result]) -> None:
    """A line per metric, case and class: both values and their difference B - A."""
    lines = []
    for metric in shared_metrics(rows_a, rows_b):
        pairs = paired_values(rows_a, rows_b, metric)
        for row, case_id in enumerate(pairs.case_ids):
            for column, class_name in enumerate(pairs.class_names):
                lines.append({"metric": metric, "case_id": case_id, "class_name": class_name,
                              "a": float(pairs.a[row, column]), "b": float(pairs.b[row, column]),
                              "difference": float(pairs.differences[row, column])})
    per_case_csv(path, lines)


def comparison_picture(path: str | Path, pairs: Mapping[str, PairedValues],
                       results: Sequence[Result], title: str) -> None:
    """Write a PNG, 1000 pixels wide: a panel per metric, a dot per case, mean and its 95 % CI.

    The side where B is better is tinted.

    Args:
        pairs: `metrics.paired_values` of each metric to be shown.
        results: of `metrics.compare`.
    """
    of = {(result["metric"], result["class_name"]): result for result in results}
    panel_heights = [_LINE * len(one.class_names) for one in pairs.values()]
    height = 46 + sum(panel_heights) + len(pairs) * (_HEAD + _FOOT) + 14
    figure = canvas.white_figure(height, title)
    top = height - 46
    left = canvas.left_of([name for one in pairs.values() for name in one.class_names])
    middle = 1000 * (left + 0.96) / 2
    for (metric, one), tall in zip(pairs.items(), panel_heights, strict=True):
        bottom = top - _HEAD - tall
        axes = figure.add_axes((left, bottom / height, 0.96 - left, tall / height))
        heading = f"{metric_title(metric)}: difference B - A of each case"
        canvas.write_at(figure, middle, top - _HEAD / 2 + 8, heading, size=11, color=canvas.INK)
        _draw(axes, metric, one, of)
        top = bottom - _FOOT
    canvas.write_at(figure, middle, 16,
                    "dots: cases; diamond and bar: mean difference and its 95 % interval", size=9,
                    color=canvas.FAINT)
    canvas.save_png(path, figure)


def _draw(axes: Any, metric: str, pairs: PairedValues, of: Mapping[Any, Result]) -> None:
    differences = pairs.differences
    known = differences[np.isfinite(differences)]
    reach = 1.08 * float(np.abs(known).max()) if known.size and np.abs(known).max() > 0 else 1.0
    rises = higher_is_better(metric)
    canvas.tint_gains(axes, reach, rises)
    spread = np.random.default_rng(0)  # so that equal differences do not hide each other
    for line, class_name in enumerate(pairs.class_names):
        values = differences[np.isfinite(differences[:, line]), line]
        axes.plot(values, line + spread.uniform(-0.22, 0.22, values.size), "o", color=_DOT,
                  markersize=4, alpha=0.55, markeredgewidth=0)
        result = of[metric, class_name]
        canvas.draw_interval(axes, line, result["mean_difference"], result["ci_low"],
                             result["ci_high"], bar=canvas.INK, color="white",
                             markeredgewidth=1.6, zorder=4)
    canvas.name_lines(axes, pairs.class_names)
    axes.axhline(0.5, color=canvas.FAINT, linewidth=0.8)
    at, side = (0.985, "right") if rises else (0.015, "left")
    axes.text(at, 1.03, "B better", transform=axes.transAxes, color="#00795A", fontsize=9, ha=side)
    canvas.style_axes(axes)


def _cells(result: Result) -> list[str]:
    digits = metric_digits(result["metric"])
    return [result["class_name"], number_text(result["mean_a"], digits),
            number_text(result["mean_b"], digits),
            number_text(result["mean_difference"], digits, "+"),
            interval_text(result["ci_low"], result["ci_high"], digits),
            number_text(result["median_difference"], digits, "+"),
            f"{result['wins']}/{result['ties']}/{result['losses']}",
            p_text(result["p"], ""), p_text(result["p_holm"], "")]
