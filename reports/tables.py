"""Per-case CSV files and summary tables for the terminal."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metrics import SURFACE_DICE
from system.files import write_text

_TITLES = {"dice": "Dice", "msd_label_to_pred": "MSD back"}
_UNITS = ("mm", "voxels")
P_VALUES = ("p", "p_holm", "p_run", "p_run_holm", "p_level", "p_level_holm")


def per_case_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a header and one line per row; NaN and None are empty cells.

    Floats have six decimals, p-values (columns of P_VALUES) four significant digits. Texts that a
    spreadsheet would compute, such as a class "=1+1", get a ' in front; `plain_text` removes it.

    Raises:
        ValueError: if there are no rows or the rows do not share the same keys.
    """
    if not rows:
        raise ValueError(f"per_case_csv: no rows to write to {path}")
    keys = list(rows[0])
    for number, row in enumerate(rows, start=1):
        if set(row) != set(keys):
            odd = sorted(set(row) ^ set(keys))
            raise ValueError(f"per_case_csv: row {number} differs from row 1 in the keys {odd}")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(keys)
    for row in rows:
        writer.writerow([_csv_cell(key, row[key]) for key in keys])
    write_text(path, buffer.getvalue())


def summary_table(summary: Mapping[str, Any]) -> str:
    """The text of a summary: one line per class, then their mean."""
    names = list(summary["metrics"])
    rows = []
    for title, stats in (*summary["per_class"].items(), ("mean", summary["metrics"])):
        rows.append([title, *(_value(name, stats.get(name)) for name in names)])
    lines = align(["class", *map(metric_title, names)], rows)
    rule = lines[1]
    return "\n".join([*lines[:-1], rule, lines[-1], _footer(summary)])


def align(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table: the first column to the left, the others to the right, a rule."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for first, *others in (header, *rows):
        cells = [first.ljust(widths[0])]
        for cell, width in zip(others, widths[1:], strict=True):
            cells.append(cell.rjust(width))
        lines.append("  ".join(cells).rstrip())
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [lines[0], rule, *lines[1:]]


def number_text(value: float | None, digits: int, sign: str = "") -> str:
    """A number with so many decimals; a dash for none."""
    return "-" if value is None else f"{value:{sign}.{digits}f}"


def interval_text(low: float | None, high: float | None, digits: int) -> str:
    """An interval of differences; a dash for none."""
    if low is None:
        return "-"
    return f"{low:+.{digits}f} to {high:+.{digits}f}"


def p_text(p: float | None, none: str = "-") -> str:
    """A p-value with four decimals."""
    if p is None:
        return none
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


# What a spreadsheet takes for a formula, and what was given a ' already.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def plain_text(cell: str) -> str:
    """The text that `per_case_csv` wrote as this cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _csv_cell(key: str, value: Any) -> Any:
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return ""
        return f"{value:.4g}" if key in P_VALUES else f"{value:.6f}"
    return value


def _unit(name: str) -> str:
    tail = name.rpartition("_")[2]
    return tail if tail in _UNITS else ""


def metric_title(name: str) -> str:
    """A metric's column as people write it: "hd95_mm" is "HD95 [mm]".

    "surface_dice_1mm" is "Surface Dice 1 mm".
    """
    if name.startswith(SURFACE_DICE):
        return f"Surface Dice {name.removeprefix(SURFACE_DICE).removesuffix('mm')} mm"
    unit = _unit(name)
    bare = name.removesuffix(f"_{unit}") if unit else name
    title = _TITLES.get(bare, bare.upper())
    return f"{title} [{unit}]" if unit else title


def metric_digits(name: str) -> int:
    """Decimals of a metric: two for distances, three for scores from 0 to 1."""
    return 2 if _unit(name) else 3


def _value(name: str, stats: Mapping[str, Any] | None) -> str:
    stats = stats or {}
    return spread_text(stats.get("mean"), stats.get("std"), metric_digits(name))


def spread_text(mean: float | None, std: float | None, digits: int) -> str:
    """Mean and standard deviation; a dash for no mean."""
    if mean is None or math.isnan(mean):
        return "-"
    if std is None or math.isnan(std):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} +- {std:.{digits}f}"


def _footer(summary: Mapping[str, Any]) -> str:
    text = counted(summary["num_cases"], "case")
    num_empty = summary["num_empty"]["prediction"] + summary["num_empty"]["label"]
    if num_empty:
        how = "counted at the volume's diagonal"
        if any(_unit(name) == "voxels" for name in summary["metrics"]):
            how = "left out of the distances"
        text += f"; {counted(num_empty, 'one-sided empty class mask')} {how}"
    return text


def counted(number: int, thing: str) -> str:
    """"1 case", "2 cases"."""
    return f"1 {thing}" if number == 1 else f"{number} {thing}s"
