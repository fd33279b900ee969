"""What several paired runs show of two methods, with a run as the unit, not a case.

Another seed changes a network's mean Dice by tenths of a point, which no interval over cases
shows. So a statement about methods needs several pairs of runs, each with one fold and seed. A
difference is always B - A, where A is the baseline.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

MIN_RUNS = 3
"""Pairs of runs below which nothing is said about two methods."""


def shared_by_folds(cases_of_runs: Sequence[Collection[str]]) -> float:
    """Test cases per training case where the runs are the folds of a cross-validation, else 0.

    Folds share training cases, so their runs vary less than runs on new cases would. Nadeau and
    Bengio (Machine Learning 52, 2003) add this number to the 1 / runs of the mean's variance;
    Bouckaert and Frank (PAKDD 2004) do so for folds with several seeds.

    Args:
        cases_of_runs: of each run the cases that it was tested on. Runs are folds where their sets
            of cases differ and do not overlap; the cases of all of them are then taken for all
            there are, so with some of the folds missing the result is too large.
    """
    folds = {frozenset(cases) for cases in cases_of_runs}
    every = set().union(*folds)
    if len(folds) < 2 or sum(map(len, folds)) > len(every):
        return 0.0
    of_a_fold = len(every) / len(folds)
    return of_a_fold / (len(every) - of_a_fold)


def t_interval(run_differences: Sequence[float], level: float = 0.95,
               test_to_train: float = 0.0) -> tuple[float | None, float | None]:
    """Student's t interval of the mean over pairs of runs; None for fewer than two.

    Args:
        run_differences: of each pair, its mean difference over cases, in the metric's unit.
        test_to_train: of `shared_by_folds`.
    """
    values = np.asarray(run_differences, dtype=np.float64)
    if values.size < 2:
        return None, None
    from scipy.stats import t

    error = _standard_error(values, test_to_train)
    half = float(t.ppf((1 + level) / 2, values.size - 1) * error)
    mean = float(values.mean())
    return mean - half, mean + half


def t_test_p(run_differences: Sequence[float], test_to_train: float = 0.0) -> float | None:
    """Two-sided p of the t test that the mean over pairs of runs is 0; None for fewer than two.

    Below 0.05 exactly where the 95 % `t_interval` leaves out 0.

    Args:
        run_differences, test_to_train: as in `t_interval`.
    """
    values = np.asarray(run_differences, dtype=np.float64)
    if values.size < 2:
        return None
    from scipy.stats import t

    mean = abs(float(values.mean()))
    error = _standard_error(values, test_to_train)
    if error == 0:
        return float(mean == 0)
    return float(2 * t.sf(mean / error, values.size - 1))


def equivalence_p(run_differences: Sequence[float], margin: float,
                  test_to_train: float = 0.0) -> float | None:
    """p of two one-sided t tests (TOST, Schuirmann 1987) that the mean lies within +-margin.

    The larger p of the tests against -margin and +margin. Below 0.05 exactly where the 90 % t
    interval lies inside the margin. None for fewer than two pairs of runs.

    Args:
        run_differences, test_to_train: as in `t_interval`.
        margin: above 0, in the metric's unit.
    """
    values = np.asarray(run_differences, dtype=np.float64)
    if values.size < 2:
        return None
    from scipy.stats import t

    distance = margin - abs(float(values.mean()))
    error = _standard_error(values, test_to_train)
    if error == 0:
        return float(distance <= 0)
    return float(t.sf(distance / error, values.size - 1))


def bootstrap_runs_and_cases(groups: Sequence[np.ndarray], num_resamples: int = 4000,
                             seed: int = 0,
                             level: float = 0.95) -> tuple[float | None, float | None]:
    """Percentile bootstrap interval of the mean difference, resampling runs and cases.

    A group is the pairs of runs that scored the same cases, such as the seeds of one fold. Within
    it, runs and cases are drawn independently, since every run scored every case; several groups
    (folds) are drawn too, with equal weights. With few runs the interval is too narrow: read it
    beside `t_interval`.

    Args:
        groups: each (pairs of runs, cases), differences; NaN where a case has no value.

    Returns:
        None where there are fewer than two pairs of runs, or fewer than two cases.
    """
    groups = [np.asarray(group, dtype=np.float64) for group in groups]
    if sum(len(group) for group in groups) < 2 or max(group.shape[1] for group in groups) < 2:
        return None, None
    rng = np.random.default_rng(seed)
    total = np.zeros(num_resamples)
    for _ in groups:
        drawn = rng.integers(len(groups), size=num_resamples)
        for number, group in enumerate(groups):
            here = drawn == number
            total[here] += _resampled_means(group, int(here.sum()), rng)
    low, high = np.nanquantile(total / len(groups), ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def most_influential_case(differences: np.ndarray) -> tuple[int | None, float | None]:
    """The case whose removal moves the mean furthest, and the mean without it.

    Args:
        differences: (N,), NaN where a case has no value.

    Returns:
        The case's index and the mean of the others; None for fewer than two values.
    """
    known = np.flatnonzero(~np.isnan(differences))
    if known.size < 2:
        return None, None
    values = differences[known]
    furthest = int(np.abs(values - values.mean()).argmax())
    return int(known[furthest]), float(np.delete(values, furthest).mean())


def _standard_error(values: np.ndarray, test_to_train: float) -> float:
    return float(values.std(ddof=1) * np.sqrt(1 / values.size + test_to_train))


def _resampled_means(group: np.ndarray, num_resamples: int,
                     rng: np.random.Generator) -> np.ndarray:
    """Means of group (runs, cases) with runs and cases drawn anew, (num_resamples,)."""
    runs, cases = group.shape
    known = ~np.isnan(group)
    run_counts = rng.multinomial(runs, np.full(runs, 1 / runs), size=num_resamples)
    case_counts = rng.multinomial(cases, np.full(cases, 1 / cases), size=num_resamples)
    sums = (run_counts @ np.where(known, group, 0.0) * case_counts).sum(axis=1)
    counts = (run_counts @ known.astype(np.float64) * case_counts).sum(axis=1)
    return np.divide(sums, counts, out=np.full(num_resamples, np.nan), where=counts > 0)
