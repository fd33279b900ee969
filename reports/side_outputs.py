"""The outputs of a self-distilled network as a table and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .canvas import PALETTE, new_figure, save_png, write_at
from .folds import style_axes

SCORES = ("dice", "accuracy", "confidence", "kl")
_INK, _FAINT = "#202428", "#70767C"
_COLOURS = {"output": PALETTE[2], "student": PALETTE[1], "teacher": PALETTE[0]}
_LINE, _HEAD, _FOOT = 30, 60, 86  # pixels: of an output, above and below the axes


def mean_outputs(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The means over cases of what `score_side_outputs` returns, a row per output, NaN left out."""
    names = dict.fromkeys(row["output"] for row in rows)
    means = []
    for name in names:
        mine = [row for row in rows if row["output"] == name]
        values = {score: [row[score] for row in mine if not math.isnan(row[score])]
                  for score in SCORES}
        means.append({"output": name, "role": mine[0]["role"]}
                     | {score: float(np.mean(found)) if found else math.nan
                        for score, found in values.items()})
    return means


def outputs_table(means: Sequence[Mapping[str, Any]]) -> str:
    """The text for the terminal: a line per output."""
    lines = ["output  role      Dice  accuracy  confidence      KL"]
    for row in means:
        kl = "-" if math.isnan(row["kl"]) else f"{row['kl']:.4f}"
        lines.append(f"{row['output']:<6}  {row['role']:<7}  {row['dice']:.3f}  "
                     f"{row['accuracy']:>8.3f}  {row['confidence']:>10.3f}  {kl:>6}")
    return "\n".join(lines)


def outputs_picture(path: str | Path, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Write a PNG, 1000 pixels wide: Dice of every case and its mean, by output."""
    means = mean_outputs(rows)
    height = _LINE * len(means) + _HEAD + _FOOT
    figure = new_figure(1000, height, "white")
    write_at(figure, 500, height - 26, title, size=min(13, 1200 / max(1, len(title))), color=_INK)
    axes = figure.add_axes((0.16, _FOOT / height, 0.80, _LINE * len(means) / height))
    for line, mean in enumerate(means):
        dice = [row["dice"] for row in rows if row["output"] == mean["output"]]
        colour = _COLOURS[mean["role"]]
        axes.plot(dice, [line] * len(dice), "o", color=colour, markersize=5, alpha=0.45,
                  markeredgewidth=0)
        axes.plot([mean["dice"]], [line], "D", color=colour, markersize=7, markeredgecolor=_INK)
    axes.set_yticks(range(len(means)), [f"{mean['output']}, {mean['role']}"
                                        if mean["role"] != "output" else "out" for mean in means])
    axes.set(xlim=(-0.02, 1.02), ylim=(len(means) - 0.5, -0.5), xlabel="Dice")
    style_axes(axes)
    write_at(figure, 500, 14, "dots: cases; diamonds: their mean; along the data flow from top to "
             "bottom in each branch", size=9, color=_FAINT)
    save_png(path, figure)
