"""Runs as the unit: intervals, equivalence and influence against hand computation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.run_statistics import (
    bootstrap_runs_and_cases,
    equivalence_p,
    most_influential_case,
    shared_by_folds,
    t_interval,
    t_test_p,
)


def test_the_t_interval_of_three_runs():
    """1, 2, 3: mean 2, deviation 1, t(0.975, 2) = 4.302653, half 4.302653 / sqrt(3)."""
    half = 4.302653 / math.sqrt(3)
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - half, 2 + half), abs=1e-5)


def test_folds_widen_the_interval_by_the_training_cases_they_share():
    """Nadeau and Bengio: 1, 2, 3 of three folds, half as many test as training cases."""
    half = 4.302653 * math.sqrt(1 / 3 + 1 / 2)
    assert t_interval([1.0, 2.0, 3.0], test_to_train=0.5) == pytest.approx((2 - half, 2 + half),
                                                                          abs=1e-5)


def test_what_folds_share():
    five = [{f"c{fold}", f"d{fold}"} for fold in range(5)]
    assert shared_by_folds(five) == 2 / 8
    assert shared_by_folds([*five, *five]) == 2 / 8                     # two seeds of each fold
    assert shared_by_folds([{"c", "d"}, {"e"}]) == 1.5 / 1.5            # the mean size of a fold
    assert shared_by_folds([{"c", "d"}] * 3) == 0                       # seeds, or draws of labels
    assert shared_by_folds([{"c", "d"}, {"d", "e"}]) == 0               # no partition
    assert shared_by_folds([{"c"}]) == 0


def test_one_run_has_no_interval_and_no_test():
    assert t_interval([0.4]) == (None, None)
    assert t_test_p([0.4]) is None
    assert equivalence_p([0.4], 0.3) is None


def four_runs():
    """Mean 0.1, deviation 0.1."""
    values = [0.1 - 0.1 * math.sqrt(0.75), 0.1 + 0.1 * math.sqrt(0.75)] * 2
    assert np.std(values, ddof=1) == pytest.approx(0.1)
    return values


def tail_of_t(t):
    """P(T > t) of 3 degrees of freedom, from the closed form of its distribution."""
    angle = math.atan(t / math.sqrt(3))
    return 0.5 - (angle + math.sin(angle) * math.cos(angle)) / math.pi


def test_the_t_test_by_hand():
    """0.1 over the error 0.05 is t = 2; with test_to_train 3/4 the error is 0.1 and t = 1."""
    assert t_test_p(four_runs()) == pytest.approx(2 * tail_of_t(2))
    assert t_test_p([-one for one in four_runs()]) == pytest.approx(2 * tail_of_t(2))
    assert t_test_p(four_runs(), 0.75) == pytest.approx(2 * tail_of_t(1))
    assert (t_test_p([0.2, 0.2]), t_test_p([0.0, 0.0])) == (0, 1)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.floats(0, 1))
def test_the_t_test_agrees_with_the_interval(values, shared):
    low, high = t_interval(values, test_to_train=shared)
    p = t_test_p(values, shared)
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (not low <= 0 <= high)


def test_equivalence_by_hand():
    """The error is 0.05, so 0.2 to the margin 0.3 is t = 4; with test_to_train 3/4 it is 2."""
    values = four_runs()
    assert equivalence_p(values, 0.3) == pytest.approx(tail_of_t(4))
    assert equivalence_p([-one for one in values], 0.3) == pytest.approx(tail_of_t(4))
    assert equivalence_p(values, 0.3, 0.75) == pytest.approx(tail_of_t(2))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.floats(0.05, 2))
def test_equivalence_is_shown_where_the_90_percent_interval_is_inside(values, margin):
    low, high = t_interval(values, level=0.9)
    p = equivalence_p(values, margin)
    inside = -margin < low and high < margin
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == inside


def test_identical_runs_are_equivalent_only_within_the_margin():
    assert equivalence_p([0.1, 0.1, 0.1], 0.3) == pytest.approx(0, abs=1e-12)
    assert equivalence_p([0.5, 0.5, 0.5], 0.3) == 1


def test_the_bootstrap_takes_runs_and_cases():
    """Runs differ and cases do not: the interval is that of runs; and the other way round."""
    runs_differ = np.array([[0.0] * 50, [1.0] * 50])
    low, high = bootstrap_runs_and_cases([runs_differ])
    assert (low, high) == (0, 1)
    cases_differ = np.tile(np.linspace(-1, 1, 101), (4, 1))
    low, high = bootstrap_runs_and_cases([cases_differ])
    half = 1.96 * cases_differ[0].std() / math.sqrt(101)
    assert (low, high) == pytest.approx((-half, half), abs=0.02)


def test_groups_weigh_alike_and_are_drawn():
    """A fold of 2 cases at 0 and one of 100 at 1: 0, 0.5 or 1 by which folds are drawn."""
    assert bootstrap_runs_and_cases([np.zeros((1, 2)), np.ones((1, 100))]) == (0, 1)
    alike = [np.full((1, 3), 0.25), np.full((1, 7), 0.25)]
    assert bootstrap_runs_and_cases(alike) == pytest.approx((0.25, 0.25))


def test_missing_values_are_left_out_of_the_bootstrap():
    group = np.array([[0.5, np.nan, 0.5], [0.5, 0.5, np.nan]])
    assert bootstrap_runs_and_cases([group]) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("groups", [[np.zeros((1, 9))], [np.zeros((3, 1))]])
def test_one_run_or_one_case_has_no_interval(groups):
    assert bootstrap_runs_and_cases(groups) == (None, None)


def test_the_case_that_moves_the_mean_most():
    """Mean of 0, 0.1, -2 is not that of 0 and 0.1: without the last it is 0.05."""
    index, without = most_influential_case(np.array([0.0, np.nan, 0.1, -2.0]))
    assert (index, without) == (3, pytest.approx(0.05))
    assert most_influential_case(np.array([1.0, np.nan])) == (None, None)
