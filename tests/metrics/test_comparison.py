"""Paired statistics: hand-computed answers, textbook values and properties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from metrics import (
    METRICS_MM,
    METRICS_VOXELS,
    bootstrap_interval,
    compare,
    holm,
    paired_values,
    shared_metrics,
    signed_rank_p,
)


def rows_of(values, names=METRICS_MM, distance=2.0):
    """{case: {class: Dice}} -> rows, all distances alike."""
    return [{"case_id": case_id, "class": index, "class_name": class_name,
             **dict(zip(names, (dice, *[distance] * 4), strict=True)), "empty": ""}
            for case_id, classes in values.items()
            for index, (class_name, dice) in enumerate(classes.items(), start=1)]


A = {"p1": {"left": 0.7, "right": 0.5}, "p2": {"left": 0.8, "right": 0.6},
     "p3": {"left": 0.6, "right": 0.9}}
B = {"p3": {"left": 0.6, "right": 0.8}, "p1": {"left": 0.8, "right": 0.8},
     "p2": {"left": 0.9, "right": 0.8}}


def test_pairs_follow_case_and_class_not_the_order_of_rows():
    pairs = paired_values(rows_of(A), rows_of(B)[::-1], "dice")
    assert pairs.case_ids == ("p1", "p2", "p3")
    assert pairs.class_names == ("overall", "left", "right")
    # overall: mean over the classes of a case
    assert pairs.differences == pytest.approx(
        np.array([[0.2, 0.1, 0.3], [0.15, 0.1, 0.2], [-0.05, 0.0, -0.1]]))


def test_equal_differences_are_equal_in_spite_of_rounding():
    pairs = paired_values(rows_of(A), rows_of(B), "dice")
    assert 0.8 - 0.7 != 0.9 - 0.8
    assert pairs.differences[0, 1] == pairs.differences[1, 1]


def test_hand_computed_comparison():
    results = {(r["metric"], r["class_name"]): r
               for r in compare(rows_of(A), rows_of(B, distance=1.5))}
    assert len(results) == len(METRICS_MM) * 3
    left = results["dice", "left"]
    assert (left["n"], left["n_dropped"], left["n_nonzero"]) == (3, 0, 2)
    assert (left["wins"], left["ties"], left["losses"]) == (2, 1, 0)
    assert left["mean_a"] == pytest.approx(0.7)
    assert left["mean_b"] == pytest.approx(2.3 / 3)
    assert left["mean_difference"] == pytest.approx(0.2 / 3)
    assert left["median_difference"] == pytest.approx(0.1)
    assert left["p"] == pytest.approx(0.5)           # two of two: 2 / 2^2
    assert left["p_holm"] == 1.0                      # twice 0.5
    right = results["dice", "right"]                  # ranks of 0.3, 0.2, -0.1: W- = 1
    assert right["p"] == pytest.approx(0.5) and right["p_holm"] == 1.0
    overall = results["dice", "overall"]
    assert overall["mean_difference"] == pytest.approx(0.1)
    assert overall["p_holm"] is None
    # all distances 0.5 smaller in B: better
    distance = results["hd95_mm", "overall"]
    assert distance["mean_difference"] == pytest.approx(-0.5)
    assert (distance["wins"], distance["losses"]) == (3, 0)
    assert (distance["ci_low"], distance["ci_high"]) == (-0.5, -0.5)
    assert distance["p"] == pytest.approx(0.25)       # three of three: 2 / 2^3


def test_other_cases_are_listed():
    fewer = {key: value for key, value in B.items() if key != "p2"}
    with pytest.raises(ValueError, match=r"1 case\(s\) are in A but not in B: p2"):
        compare(rows_of(A), rows_of(fewer))
    with pytest.raises(ValueError, match="in B but not in A: p4"):
        compare(rows_of(A), rows_of(B | {"p4": {"left": 1.0, "right": 1.0}}))


def test_rows_that_cannot_be_paired_are_refused():
    with pytest.raises(ValueError, match="p1, class left of B: more than one row"):
        compare(rows_of(A), rows_of(B) + rows_of({"p1": B["p1"]}))
    with pytest.raises(ValueError, match="p2 of B has the classes"):
        compare(rows_of(A), rows_of(B | {"p2": {"left": 1.0}}))
    with pytest.raises(ValueError, match="mm in one and voxels"):
        compare(rows_of(A), rows_of(B, METRICS_VOXELS))
    with pytest.raises(ValueError, match="no rows"):
        compare([], rows_of(B))
    assert shared_metrics(rows_of(A, METRICS_VOXELS), rows_of(B, METRICS_VOXELS)) == METRICS_VOXELS


def test_undefined_values_are_dropped_in_pairs_and_counted():
    lacking = {**B, "p1": {"left": math.nan, "right": 0.8}, "p2": {"left": math.nan,
                                                                   "right": math.nan}}
    results = {r["class_name"]: r for r in compare(rows_of(A), rows_of(lacking))
               if r["metric"] == "dice"}
    assert (results["left"]["n"], results["left"]["n_dropped"]) == (1, 2)
    assert results["left"]["mean_a"] == pytest.approx(0.6)
    # p1 counts by its right side alone, in A too; p2 has nothing to compare
    overall = results["overall"]
    assert (overall["n"], overall["n_dropped"]) == (2, 1)
    assert overall["mean_a"] == pytest.approx((0.5 + 0.75) / 2)
    assert overall["mean_difference"] == pytest.approx((0.3 - 0.05) / 2)


def test_a_class_without_any_pair_has_no_numbers():
    lacking = {case_id: classes | {"left": math.nan} for case_id, classes in B.items()}
    left = next(r for r in compare(rows_of(A), rows_of(lacking)) if r["class_name"] == "left")
    assert (left["n"], left["n_dropped"], left["wins"]) == (0, 3, 0)
    assert all(left[key] is None for key in ("mean_a", "mean_b", "mean_difference", "ci_low",
                                             "ci_high", "median_difference", "p", "p_holm"))


def test_an_experiment_against_itself_shows_nothing():
    for result in compare(rows_of(A), rows_of(A)):
        assert result["p"] == 1.0 and result["n_nonzero"] == 0 and result["ties"] == 3
        assert (result["mean_difference"], result["ci_low"], result["ci_high"]) == (0, 0, 0)


def exact_p(differences):
    """All 2^n assignments of signs, counted one by one."""
    d = differences[differences != 0]
    ranks = rankdata(np.abs(d))
    total = ranks[d > 0].sum()
    sums = [sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
            for signs in itertools.product((0, 1), repeat=len(ranks))]
    below = np.mean([s <= total + 1e-9 for s in sums])
    above = np.mean([s >= total - 1e-9 for s in sums])
    return min(1.0, 2 * min(below, above))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_small_samples_are_exact_ties_and_zeros_included(numbers):
    differences = np.array(numbers, float)
    p, nonzero = signed_rank_p(differences)
    assert nonzero == np.count_nonzero(differences)
    assert p == pytest.approx(exact_p(differences) if nonzero else 1.0)


def test_signed_rank_of_a_textbook_sample():
    # Wilcoxon (1945), Darwin's maize: W- = 24 of 15 pairs, two-sided p = 0.0413
    maize = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], float)
    p, nonzero = signed_rank_p(maize)
    assert nonzero == 15 and p == pytest.approx(0.0413, abs=5e-5)
    assert signed_rank_p(-maize)[0] == pytest.approx(p)
    assert signed_rank_p(np.array([])) == (None, 0)


def test_holm_by_hand():
    # 0.01 * 4, then 0.02 * 3, then 0.03 * 2 (held up at 0.06), then 0.5
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm([0.4, None, 0.6]) == [0.8, None, 0.8]
    assert holm([]) == [] and holm([None]) == [None]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_none_and_bonferroni_and_keeps_the_order(p_values):
    corrected = holm(p_values)
    for p, p_holm in zip(p_values, corrected, strict=True):
        assert p <= p_holm <= min(1.0, p * len(p_values)) + 1e-12
    order = np.argsort(p_values)
    assert all(np.diff(np.array(corrected)[order]) >= 0)


def test_bootstrap_of_two_cases_is_known():
    # means of resamples: 0 (1/4), 0.5 (1/2), 1 (1/4)
    assert bootstrap_interval(np.array([0.0, 1.0])) == (0.0, 1.0)
    assert bootstrap_interval(np.array([0.0, 1.0]), level=0.4) == (0.5, 0.5)
    assert bootstrap_interval(np.array([0.3])) == (None, None)
    assert bootstrap_interval(np.array([])) == (None, None)


def test_bootstrap_agrees_with_the_normal_interval_and_repeats():
    differences = np.random.default_rng(3).normal(0.02, 0.1, 200)
    low, high = bootstrap_interval(differences)
    half = 1.96 * differences.std() / math.sqrt(200)
    assert (low, high) == pytest.approx((differences.mean() - half, differences.mean() + half),
                                        abs=0.1 * half)
    assert bootstrap_interval(differences) == (low, high)
    assert bootstrap_interval(differences, seed=1) != (low, high)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.floats(-1, 1))
def test_an_interval_lies_within_the_data_and_moves_with_it(numbers, shift):
    values = np.array(numbers)
    low, high = bootstrap_interval(values, num_resamples=200)
    assert values.min() - 1e-12 <= low <= high <= values.max() + 1e-12
    assert bootstrap_interval(values + shift, num_resamples=200) == pytest.approx(
        (low + shift, high + shift), abs=1e-9)


def test_swapping_the_two_mirrors_everything():
    for one, other in zip(compare(rows_of(A), rows_of(B)), compare(rows_of(B), rows_of(A)),
                          strict=True):
        assert one["mean_difference"] == pytest.approx(-other["mean_difference"])
        assert (one["wins"], one["losses"]) == (other["losses"], other["wins"])
        assert one["p"] == pytest.approx(other["p"])
