"""Is one experiment better than another? Paired statistics over the cases that both scored.

The sign is always B - A, where A is the baseline: B is better if its difference in Dice is
positive, or in a distance negative. The unit is a case: tests and intervals resample cases, never
voxels or classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .case import SURFACE_DICE, metrics_in

OVERALL = "overall"
DECIMALS = 9  # 0.8 - 0.7 and 0.9 - 0.8 must tie; files hold six decimals

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class PairedValues:
    """One metric of N cases in A and B; column 0 is the mean over a case's classes ("overall").

    A value that is NaN on either side is NaN in both, and left out of the case's mean in both.
    """

    case_ids: tuple[str, ...]
    class_names: tuple[str, ...]      # "overall" first
    a: np.ndarray                     # (N, 1 + number of foreground classes), float64
    b: np.ndarray

    @property
    def differences(self) -> np.ndarray:
        """B - A, shaped as both, rounded to DECIMALS."""
        return np.round(self.b - self.a, DECIMALS)


def higher_is_better(metric: str) -> bool:
    """True for Dice and surface Dice, False for distances."""
    return metric == "dice" or metric.startswith(SURFACE_DICE)


def paired_values(rows_a: Rows, rows_b: Rows, metric: str) -> PairedValues:
    """Pair the rows of two experiments by case and class, in the order of A.

    Raises:
        ValueError: other cases or classes, a case twice or without a class, no such metric.
    """
    values_a, values_b = _by_case(rows_a, metric, "A"), _by_case(rows_b, metric, "B")
    _check_cases("A", values_a, "B", values_b)
    _check_cases("B", values_b, "A", values_a)
    class_names = tuple(next(iter(values_a.values())))
    for side, values in (("A", values_a), ("B", values_b)):
        for case_id, by_class in values.items():
            if set(by_class) != set(class_names):
                raise ValueError(f"case {case_id} of {side} has the classes {sorted(by_class)}, "
                                 f"the first case of A has {sorted(class_names)}")
    a = np.array([[values_a[case_id][name] for name in class_names] for case_id in values_a])
    b = np.array([[values_b[case_id][name] for name in class_names] for case_id in values_a])
    absent = np.isnan(a) | np.isnan(b)
    a[absent] = b[absent] = np.nan
    return PairedValues(tuple(values_a), (OVERALL, *class_names), _with_overall(a),
                        _with_overall(b))


def _check_cases(here: str, values: Mapping[str, Any], there: str,
                 others: Mapping[str, Any]) -> None:
    lacking = sorted(set(values) - set(others))
    if lacking:
        shown = ", ".join(lacking[:10])
        if len(lacking) > 10:
            shown += " ..."
        raise ValueError(f"{len(lacking)} case(s) are in {here} but not in {there}: {shown}; a "
                         f"paired comparison needs the same cases, so use the same data and folds")


def compare(rows_a: Rows, rows_b: Rows, num_resamples: int = 10_000,
            seed: int = 0) -> list[dict[str, Any]]:
    """Compare B with the baseline A: a dict per metric and class, "overall" first.

    "overall" compares the cases' means over their classes: one test per metric, so its p is not
    corrected. "p_holm" corrects the classes of one metric for each other, but not the metrics.
    Pairs with an undefined value are dropped and counted ("n_dropped"). The scores of a
    cross-validation are not quite independent, since the folds' training sets overlap: read
    p-values near a threshold with care.

    Args:
        rows_a, rows_b: rows of `case_metrics` with their "case_id".
        num_resamples, seed: of `bootstrap_interval`.

    Returns:
        "metric", "class_name", "n", "n_dropped", "mean_a", "mean_b", "mean_difference", "ci_low",
        "ci_high" (95 %), "median_difference", "wins", "ties", "losses" (of B), "n_nonzero", "p",
        "p_holm". Numbers that do not exist are None.

    Raises:
        ValueError: the rows cannot be paired (see `paired_values`) or share no metric.
    """
    results = []
    for metric in shared_metrics(rows_a, rows_b):
        pairs = paired_values(rows_a, rows_b, metric)
        found = [_one(pairs, column, metric, num_resamples, seed)
                 for column in range(len(pairs.class_names))]
        corrected = holm([result["p"] for result in found[1:]])
        for result, p_holm in zip(found, (None, *corrected), strict=True):
            results.append(result | {"p_holm": p_holm})
    return results


def shared_metrics(rows_a: Rows, rows_b: Rows) -> tuple[str, ...]:
    """The metrics that both have.

    Raises:
        ValueError: no rows, or distances in mm in one and in voxels in the other.
    """
    if not rows_a or not rows_b:
        raise ValueError("no rows to compare: evaluate at least one case of each")
    of_b = metrics_in(rows_b[0])
    shared = tuple(name for name in metrics_in(rows_a[0]) if name in of_b)
    if "hd95_mm" in shared or "hd95_voxels" in shared:
        return shared
    raise ValueError("the two do not have the same metrics (mm in one and voxels in the other?): "
                     "evaluate both in the same way")


def signed_rank_p(differences: np.ndarray) -> tuple[float | None, int]:
    """Two-sided p of Wilcoxon's signed-rank test of differences (N,), and how many are not zero.

    Zeros are dropped (Wilcoxon's own rule); all zero gives p = 1. As scipy does it: exact up to 50
    differences of distinct size, and up to 13 with ties; else the normal approximation without
    continuity correction. None for no differences.
    """
    from scipy.stats import wilcoxon

    nonzero = differences[differences != 0]
    if not differences.size:
        return None, 0
    if not nonzero.size:
        return 1.0, 0
    result = wilcoxon(nonzero, zero_method="wilcox", correction=False, alternative="two-sided",
                      method="auto")
    return float(result.pvalue), int(nonzero.size)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (1979) for the family-wise error; None, no test, stays None."""
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        corrected[index] = highest
    return corrected


def bootstrap_interval(differences: np.ndarray, num_resamples: int = 10_000, seed: int = 0,
                       level: float = 0.95) -> tuple[float | None, float | None]:
    """Percentile bootstrap interval of the mean of differences (N,), resampling cases.

    The same differences and seed give the same interval. None for fewer than two cases.
    """
    n = differences.size
    if n < 2:
        return None, None
    rng = np.random.default_rng(seed)
    means = np.empty(num_resamples)
    for start in range(0, num_resamples, 500):  # bounds the memory for large sets
        block = means[start:start + 500]
        block[:] = differences[rng.integers(n, size=(block.size, n))].mean(axis=1)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _one(pairs: PairedValues, column: int, metric: str, num_resamples: int,
         seed: int) -> dict[str, Any]:
    every = pairs.differences[:, column]
    known = ~np.isnan(every)
    differences = every[known]
    n = int(known.sum())
    gains = differences
    if not higher_is_better(metric):
        gains = -differences
    low, high = bootstrap_interval(differences, num_resamples, seed)
    p, n_nonzero = signed_rank_p(differences)

    mean_a = mean_b = mean = median = None
    if n > 0:
        mean_a = float(pairs.a[known, column].mean())
        mean_b = float(pairs.b[known, column].mean())
        mean, median = float(differences.mean()), float(np.median(differences))
    return {
        "metric": metric, "class_name": pairs.class_names[column],
        "n": n, "n_dropped": int((~known).sum()),
        "mean_a": mean_a, "mean_b": mean_b,
        "mean_difference": mean, "ci_low": low, "ci_high": high, "median_difference": median,
        "wins": int((gains > 0).sum()), "ties": int((gains == 0).sum()),
        "losses": int((gains < 0).sum()), "n_nonzero": n_nonzero, "p": p,
    }


def _by_case(rows: Rows, metric: str, side: str) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = {}
    for row in rows:
        if metric not in row:
            raise ValueError(f"{side} has no {metric}: evaluate both in the same way")
        by_class = values.setdefault(row["case_id"], {})
        if row["class_name"] in by_class:
            raise ValueError(f"case {row['case_id']}, class {row['class_name']} of {side}: more "
                             "than one row, a case must be scored once")
        by_class[row["class_name"]] = float(row[metric])
    if not values:
        raise ValueError(f"{side} has no rows: evaluate at least one case")
    return values


def _with_overall(values: np.ndarray) -> np.ndarray:
    """Put the mean over classes (N, K), NaN left out, before them: (N, 1 + K)."""
    known = ~np.isnan(values)
    counts = known.sum(axis=1)
    totals = np.where(known, values, 0.0).sum(axis=1)
    means = np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)
    return np.column_stack((means, values))
