"""The outputs of a self-distilled network as a table and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import canvas

SCORES = ("dice", "accuracy", "confidence", "kl")
_COLOURS = {"output": canvas.PALETTE[2], "student": canvas.PALETTE[1], "teacher": canvas.PALETTE[0]}
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
    figure = canvas.white_figure(height, title)
    axes = figure.add_axes((0.16, _FOOT / height, 0.80, _LINE * len(means) / height))
    for line, mean in enumerate(means):
        dice = [row["dice"] for row in rows if row["output"] == mean["output"]]
        colour = _COLOURS[mean["role"]]
        axes.plot(dice, [line] * len(dice), "o", color=colour, markersize=5, alpha=0.45,
                  markeredgewidth=0)
        axes.plot([mean["dice"]], [line], "D", color=colour, markersize=7,
                  markeredgecolor=canvas.INK)
    names = []
    for mean in means:
        names.append("out" if mean["role"] == "output" else f"{mean['output']}, {mean['role']}")
    canvas.name_lines(axes, names)
    axes.set(xlim=(-0.02, 1.02), xlabel="Dice")
    canvas.style_axes(axes)
    note = ("dots: cases; diamonds: their mean; along the data flow from top to bottom in each "
            "branch")
    canvas.write_at(figure, 500, 14, note, size=9, color=canvas.FAINT)
    canvas.save_png(path, figure)
