"""Class volumes of label and prediction in ml, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metrics.statistics import sample_deviation
from system.files import sha256_of, write_json
from system.json_files import AGAIN, read_object

from .scores import ROWS

FILE = "class_volumes.json"
_TEXTS, _NUMBERS = ("case_id", "class_name"), ("label_ml", "predicted_ml")

Row = dict[str, Any]


def write_volumes(folder: Path, rows: Sequence[Row]) -> None:
    """Write the volumes that belong to the per_case.csv of the same folder.

    Args:
        rows: per case and class, "case_id", "class_name", "label_ml" and "predicted_ml".
    """
    write_json(folder / FILE, {ROWS: sha256_of(folder / "per_case.csv"), "rows": list(rows)})


def read_volumes(folder: Path, scores: Path) -> list[Row]:
    """The volumes of a run; none if it has no such file or it belongs to other scores.

    Args:
        scores: the per_case.csv whose cases are wanted, or a copy of it.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file() or not scores.is_file():
        return []
    content = read_object(path)
    if content.get(ROWS) != sha256_of(scores):
        return []
    rows = content.get("rows")
    if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
        raise ValueError(f"{path}: is damaged (no list of class volumes); {AGAIN}.")
    return rows


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or set(row) != {*_TEXTS, *_NUMBERS}:
        return False
    return (all(isinstance(row[key], str) for key in _TEXTS)
            and all(isinstance(row[key], float) for key in _NUMBERS))


def volume_agreement(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Per class, mean volumes and the limits of agreement (Bland and Altman, 1986).

    Returns:
        "class_name", "n" cases, the means "label_ml" and "predicted_ml", "bias_ml" (the mean of
        predicted - label), its sample standard deviation "sd_ml" and the limits "low_ml" and
        "high_ml", bias -+ 1.96 sd; the last three are None for a single case.
    """
    lines = []
    for name in dict.fromkeys(row["class_name"] for row in rows):
        label = np.array([row["label_ml"] for row in rows if row["class_name"] == name])
        predicted = np.array([row["predicted_ml"] for row in rows if row["class_name"] == name])
        bias, low, high = float((predicted - label).mean()), None, None
        sd = sample_deviation(predicted - label)
        if sd is not None:
            low, high = bias - 1.96 * sd, bias + 1.96 * sd
        lines.append({"class_name": name, "n": label.size, "label_ml": float(label.mean()),
                      "predicted_ml": float(predicted.mean()), "bias_ml": bias, "sd_ml": sd,
                      "low_ml": low, "high_ml": high})
    return lines
