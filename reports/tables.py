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

from system.files import write_text

_TITLES = {"dice": "Dice", "msd_label_to_pred": "MSD back"}
_UNITS = ("mm", "voxels")


def per_case_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a header and one line per row, floats to six decimals and NaN or None empty.

    Texts that a spreadsheet would compute, such as a class "=1+1", get a ' in front, which
    `plain_text` takes away.

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
    writer.writerows([_csv_cell(row[key]) for key in keys] for row in rows)
    write_text(path, buffer.getvalue())


def summary_table(summary: Mapping[str, Any]) -> str:
    """Return the plain-text table of a summary: one line per class, then their mean."""
    header, body = _cells(summary)
    widths = [max(len(row[i]) for row in (header, *body)) for i in range(len(header))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))

    def line(row: Sequence[str]) -> str:
        numbers = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "  ".join([row[0].ljust(widths[0]), *numbers]).rstrip()

    classes, mean = body[:-1], body[-1]
    return "\n".join([line(header), rule, *map(line, classes), rule, line(mean), _footer(summary)])


# What a spreadsheet takes for a formula, and what was given a ' already.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def plain_text(cell: str) -> str:
    """The text that `per_case_csv` wrote as this cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else f"{value:.6f}"
    return value


def _cells(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    names = list(summary["metrics"])
    rows = [*summary["per_class"].items(), ("mean", summary["metrics"])]
    body = [[str(row), *(_value(name, stats.get(name)) for name in names)] for row, stats in rows]
    return ["class", *map(metric_title, names)], body


def _unit(name: str) -> str:
    tail = name.rpartition("_")[2]
    return tail if tail in _UNITS else ""


def metric_title(name: str) -> str:
    """A metric's column name as people write it: "hd95_mm" is "HD95 [mm]"."""
    unit = _unit(name)
    bare = name.removesuffix(f"_{unit}") if unit else name
    title = _TITLES.get(bare, bare.upper())
    return f"{title} [{unit}]" if unit else title


def _value(name: str, stats: Mapping[str, Any] | None) -> str:
    digits = 2 if _unit(name) else 3
    mean, std = (stats or {}).get("mean"), (stats or {}).get("std")
    if mean is None or math.isnan(mean):
        return "-"
    if std is None or math.isnan(std):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} +- {std:.{digits}f}"


def _footer(summary: Mapping[str, Any]) -> str:
    num_cases, num_empty = summary["num_cases"], _num_one_sided(summary.get("num_empty"))
    text = f"{num_cases} case{'' if num_cases == 1 else 's'}"
    if num_empty:
        masks = "mask" if num_empty == 1 else "masks"
        in_voxels = any(_unit(name) == "voxels" for name in summary["metrics"])
        how = "left out of the distances" if in_voxels else "counted at the volume's diagonal"
        text += f"; {num_empty} one-sided empty class {masks} {how}"
    return text


def _num_one_sided(num_empty: Any) -> int:
    """Sum the counts of a nested dict; "both" is left out, as agreeing on nothing costs nothing."""
    if isinstance(num_empty, Mapping):
        return sum(_num_one_sided(count) for key, count in num_empty.items() if key != "both")
    return int(num_empty or 0)
