"""The folds of one experiment as numbers, text and picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metrics import METRICS_MM, METRICS_VOXELS, SURFACE_DICE, summarise
from metrics.statistics import sample_deviation
from system.text_files import read_text

from . import canvas
from .tables import number_text, plain_text, summary_table


def _whole(text: str) -> int:
    """A whole number; 1.0 counts, because some spreadsheets write 1 like this."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(f"{text!r} is not a whole number")
    return int(number)


_NUMBERS = {"fold": _whole, "class": _whole, **dict.fromkeys((*METRICS_MM, *METRICS_VOXELS), float)}

Row = dict[str, Any]


def read_per_case(path: str | Path) -> list[Row]:
    """Read what `per_case_csv` wrote: the rows of case_metrics with "case_id", perhaps "fold".

    Raises:
        ValueError: the file cannot be read, has no rows, no such columns or a line that is
            cut; the message names it.
    """
    try:
        with io.StringIO(read_text(path), newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read ({error}).") from error
    if not rows or not {"case_id", "class", "class_name", "dice", "empty"} <= set(rows[0]):
        raise ValueError(f"{path}: is not a table of cases and classes; evaluate the run again.")
    try:
        return [_typed(row) for row in rows]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: is damaged ({error}); evaluate the run again.") from error


def _typed(row: Mapping[str | None, Any]) -> Row:
    if None in row or None in row.values():
        raise ValueError("a line has more or fewer cells than the heading")
    typed: Row = {}
    for key, value in row.items():
        if key in _NUMBERS:
            typed[key] = _NUMBERS[key](value or "nan")
        elif key.startswith(SURFACE_DICE):
            typed[key] = float(value or "nan")
        else:
            typed[key] = plain_text(value)
    return typed


def class_names_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Background and the rows' classes, by their index."""
    return ["background", *dict(sorted((row["class"], row["class_name"]) for row in rows)).values()]


def summarise_folds(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`metrics.summarise` over all cases of all folds, and of each fold.

    Args:
        rows: of case_metrics, with "case_id" and "fold".

    Returns:
        the summary over all cases; "folds": a list of {"fold", "num_cases",
        "mean_foreground_dice", "metrics", "per_class"}; "between_folds": mean and sample
        standard deviation of the folds' mean foreground Dice.

    Raises:
        ValueError: see `metrics.summarise`.
    """
    names = class_names_of(rows)
    folds = []
    for fold in sorted({row["fold"] for row in rows}):
        part = summarise([row for row in rows if row["fold"] == fold], names)
        folds.append({"fold": fold} | {key: part[key] for key in (
            "num_cases", "mean_foreground_dice", "metrics", "per_class")})
    dice = [fold["mean_foreground_dice"] for fold in folds
            if fold["mean_foreground_dice"] is not None]
    between = {"mean": float(np.mean(dice)) if dice else None,
               "std": sample_deviation(dice), "n": len(dice)}
    return summarise(rows, names) | {"folds": folds, "between_folds": between}


def fold_table(summary: Mapping[str, Any], experiments: Sequence[str] = (),
               chosen: bool = True) -> str:
    """The text: classes over all cases of all folds, then a line per fold.

    Args:
        summary: of `summarise_folds`.
        experiments: names of the folds' runs, in the folds' order; empty for none.
        chosen: whether best.model is one of several epochs that were validated.
    """
    lines = [summary_table(summary), "", "mean +- standard deviation over all cases of all folds",
             "", "fold  cases   Dice"]
    names = list(experiments) or [""] * len(summary["folds"])
    for fold, name in zip(summary["folds"], names, strict=True):
        dice = number_text(fold["mean_foreground_dice"], 3)
        lines.append(f"{fold['fold']:>4}  {fold['num_cases']:>5}  {dice:>5}  {name}".rstrip())
    between = summary["between_folds"]
    if between["n"]:
        spread = ""
        if between["std"] is not None:
            spread = f" +- {between['std']:.3f} (sample standard deviation between folds)"
        lines.append(f"mean Dice of the {between['n']} folds: {between['mean']:.3f}{spread}")
    if chosen:
        lines.append("The validation cases also chose each fold's best.model, so these numbers "
                     "flatter it a little.")
    return "\n".join(lines)


def folds_picture(path: str | Path, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Write a PNG, 1000 pixels wide: Dice of every case and the mean of each fold, by class.

    Args:
        rows: of case_metrics, with "fold".
    """
    from matplotlib.lines import Line2D

    names = class_names_of(rows)[1:]
    folds = sorted({row["fold"] for row in rows})
    height = 150 + (26 + 14 * len(folds)) * len(names)
    figure = canvas.white_figure(height, title)
    left, bottom = canvas.left_of(names), 74 / height
    axes = figure.add_axes((left, bottom, 0.97 - left, 1 - bottom - 52 / height))
    for line, class_name in enumerate(names):
        axes.axhline(line - 0.5, color=canvas.FAINT, linewidth=0.6, alpha=0.5)
        for rank, fold in enumerate(folds):
            dice = np.array([row["dice"] for row in rows
                             if row["class_name"] == class_name and row["fold"] == fold])
            dice = dice[np.isfinite(dice)]
            at = line + 0.8 * ((rank + 0.5) / len(folds) - 0.5)
            colour = canvas.colour_of(rank)
            axes.plot(dice, np.full(dice.size, at), "o", color=colour, markersize=5, alpha=0.7,
                      markeredgewidth=0)
            if dice.size:
                axes.plot([dice.mean()], [at], "D", color=colour, markersize=6.5,
                          markeredgecolor=canvas.INK)
    canvas.name_lines(axes, names)
    axes.set_xlabel("Dice (dots: cases; diamonds: mean of the fold)")
    low = min((row["dice"] for row in rows if math.isfinite(row["dice"])), default=0.0)
    axes.set_xlim(max(-0.02, math.floor(low * 10) / 10 - 0.02), 1.02)
    canvas.style_axes(axes)
    keys = [Line2D([], [], marker="D", linestyle="", color=canvas.colour_of(rank),
                   markeredgecolor=canvas.INK) for rank in range(len(folds))]
    figure.legend(keys, [f"fold {fold}" for fold in folds], loc="lower center", frameon=False,
                  ncols=min(10, len(folds)), fontsize=9, bbox_to_anchor=(0.5, 0.0))
    canvas.save_png(path, figure)
