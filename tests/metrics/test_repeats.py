"""Seeds and folds together, and the verdicts of a family of tests."""

import numpy as np
import pytest

from metrics.repeats import (
    BETTER,
    EQUIVALENT,
    NOT_SHOWN,
    TOO_FEW_RUNS,
    WORSE,
    case_means,
    compare_runs,
    judge,
    mean_over_runs,
    over_runs,
    overall_comparisons,
)


def rows(dice, prefix="c", hd95=None):
    """A row per case of one class; cases are prefix0, prefix1, ..."""
    hd95 = hd95 or [1.0] * len(dice)
    return [{"case_id": f"{prefix}{at}", "class": 1, "class_name": "left", "dice": float(one),
             "hd95_mm": float(far), "msd_mm": 1.0, "msd_label_to_pred_mm": 1.0, "assd_mm": 1.0,
             "empty": ""} for at, (one, far) in enumerate(zip(dice, hd95, strict=True))]


def test_seeds_of_a_fold_are_averaged_and_folds_joined():
    merged = mean_over_runs({(1, 100): rows([0.5, 0.7]), (1, 101): rows([0.7, 0.9]),
                             (2, 100): rows([0.2], "d")})
    assert {row["case_id"]: row["dice"] for row in merged} == pytest.approx(
        {"c0": 0.6, "c1": 0.8, "d0": 0.2})


def test_a_case_that_several_folds_score_is_one_case():
    merged = mean_over_runs({(1, 100): rows([0.5, 0.7]), (2, 100): rows([0.7, 0.8])})
    assert {row["case_id"]: row["dice"] for row in merged} == pytest.approx({"c0": 0.6, "c1": 0.75})


def test_seeds_of_other_cases_are_refused():
    with pytest.raises(ValueError, match="not tested on the same cases"):
        mean_over_runs({(1, 100): rows([0.5, 0.7]), (1, 101): rows([0.5])})


def test_case_means_are_over_classes():
    two = [*rows([0.4, 0.8]), *({**row, "class": 2, "class_name": "right"}
                                for row in rows([0.6, 1.0]))]
    np.testing.assert_allclose(case_means(two, "dice"), [0.5, 0.9])


def test_overall_comparison_has_the_sign_of_b_less_a():
    dice, distance = overall_comparisons(rows([0.5, 0.6], hd95=[4, 6]),
                                         rows([0.6, 0.8], hd95=[3, 2]), ("dice", "hd95_mm"))
    assert (dice["metric"], dice["mean_difference"]) == ("dice", pytest.approx(0.15))
    assert (distance["metric"], distance["mean_difference"]) == ("hd95_mm", pytest.approx(-2.5))
    assert (dice["wins"], distance["wins"]) == (2, 2)


def line(metric, p, mean, low, high, runs=3, p_run=0.001, p_level=None):
    return {"metric": metric, "p": p, "mean_difference": mean, "ci_low": low, "ci_high": high,
            "runs": runs, "p_run": p_run, "p_level": p_level}


def test_holm_is_over_a_metric_and_verdicts_need_both_p_and_interval():
    """Holm by hand: sorted 0.01, 0.02, 0.03 -> 3 x 0.01, 2 x 0.02, max(0.04, 0.03)."""
    lines = [line("dice", 0.03, 0.1, 0.05, 0.2), line("dice", 0.01, -0.1, -0.2, -0.05),
             line("dice", 0.02, 0.1, -0.01, 0.2), line("hd95_mm", 0.04, -1.0, -2.0, -0.1)]
    judge(lines)
    assert [one["p_holm"] for one in lines] == pytest.approx([0.04, 0.03, 0.04, 0.04])
    assert [one["verdict"] for one in lines] == [BETTER, WORSE, NOT_SHOWN, BETTER]


def test_a_verdict_rests_on_the_corrected_p():
    """0.03 twice is 0.06 after Holm."""
    lines = [line("dice", 0.03, 0.1, 0.05, 0.2), line("dice", 0.03, 0.1, 0.05, 0.2)]
    judge(lines)
    assert [one["verdict"] for one in lines] == [NOT_SHOWN, NOT_SHOWN]


def test_the_tests_over_runs_are_corrected_too():
    """0.03 of two lines is 0.06 after Holm, also where the cases leave no doubt."""
    differ = [line("dice", 0.001, 0.1, 0.05, 0.2, p_run=0.03),
              line("dice", 0.001, 0.1, 0.05, 0.2, p_run=0.04),
              line("hd95_mm", 0.001, -0.1, -0.2, -0.05, p_run=0.04)]
    alike = [line("dice", 0.5, 0.0, -0.1, 0.1, p_run=0.9, p_level=0.03),
             line("dice", 0.5, 0.0, -0.1, 0.1, p_run=0.9, p_level=0.9)]
    judge(differ)
    judge(alike)
    assert [one["p_run_holm"] for one in differ] == pytest.approx([0.06, 0.06, 0.04])
    assert [one["verdict"] for one in differ] == [NOT_SHOWN, NOT_SHOWN, BETTER]
    assert [one["p_level_holm"] for one in alike] == pytest.approx([0.06, 0.9])
    assert [one["verdict"] for one in alike] == [NOT_SHOWN, NOT_SHOWN]


@pytest.mark.parametrize("one", [
    line("dice", 0.05, 0.1, 0.05, 0.2),                    # at the level
    line("dice", None, 0.1, 0.05, 0.2),
    line("dice", 0.001, 0.1, None, None),
    line("dice", 0.001, 0.1, 0.0, 0.2),                    # an end at zero
    line("dice", 0.001, -0.1, -0.2, 0.0),
    line("dice", 0.001, 0.1, 0.05, 0.2, p_run=0.05),       # of the runs
    line("dice", 0.001, -0.1, -0.2, -0.05, p_run=0.05),
    line("dice", 0.001, 0.1, 0.05, 0.2, p_run=None),
    line("dice", 0.5, 0.1, -0.1, 0.2, p_level=0.05)])
def test_nothing_is_shown_at_the_level_or_without_a_test(one):
    judge([one])
    assert one["verdict"] == NOT_SHOWN


def test_two_runs_are_too_few_for_any_verdict():
    few = [line("dice", 0.001, 0.1, 0.05, 0.2, runs=2),
           line("hd95_mm", 0.5, 0.0, -0.1, 0.1, runs=1, p_level=0.001)]
    judge(few)
    assert {one["verdict"] for one in few} == {TOO_FEW_RUNS}


def test_level_needs_the_test_of_equivalence_and_no_shown_difference():
    lines = [line("dice", 0.5, 0.001, -0.001, 0.002, p_level=0.01),
             line("dice", 0.001, 0.001, 0.0005, 0.002, p_level=0.01)]
    judge(lines)
    assert [one["verdict"] for one in lines] == [EQUIVALENT, BETTER]


def test_runs_are_the_unit():
    """Three seeds: +0.1, +0.2 and +0.3 in the mean of two cases; the second case moves most."""
    pairs = {(1, seed): (rows([0.5, 0.5]), rows([0.5, 0.5 + 2 * gain]))
             for seed, gain in ((1, 0.1), (2, 0.2), (3, 0.3))}
    found = over_runs(pairs, "dice")
    half = 4.302653 * 0.1 / 3**0.5
    assert (found["runs"], found["run_mean"]) == (3, pytest.approx(0.2))
    assert (found["run_low"], found["run_high"]) == pytest.approx((0.2 - half, 0.2 + half))
    assert (found["gain_low"], found["gain_high"]) == pytest.approx((0.1, 0.3))
    assert found["influential_case"] in ("c0", "c1")  # both are as far from the mean
    assert found["p_level"] > 0.5 and over_runs(pairs, "hd95_mm")["p_level"] is None
    assert found["both_low"] == pytest.approx(0, abs=1e-9)  # both cases may be the first


def test_the_case_that_carries_an_effect_is_named():
    pairs = {(1, seed): (rows([0.5, 0.5, 0.5, 0.5]), rows([0.5, 0.9, 0.5, 0.5]))
             for seed in (1, 2, 3)}
    found = over_runs(pairs, "dice")
    assert (found["influential_case"], found["mean_without"]) == ("c1", 0)
    assert found["run_mean"] == pytest.approx(0.1)


def test_folds_are_runs_of_other_cases():
    pairs = {(fold, 100): (rows([0.5, 0.5], f"f{fold}"), rows([0.6, 0.6], f"f{fold}"))
             for fold in (1, 2, 3)}
    lines = compare_runs(pairs, ("dice", "hd95_mm"))
    dice = lines[0]
    assert (dice["metric"], dice["n"], dice["runs"]) == ("dice", 6, 3)
    assert (dice["both_low"], dice["both_high"]) == pytest.approx((0.1, 0.1))


def test_runs_of_folds_are_less_certain_than_of_new_cases():
    """+0.1, +0.2, +0.3 in three folds of two cases: half as many test as training cases."""
    pairs = {(fold, 100): (rows([0.5, 0.5], f"f{fold}"), rows([0.5 + gain] * 2, f"f{fold}"))
             for fold, gain in ((1, 0.1), (2, 0.2), (3, 0.3))}
    found = over_runs(pairs, "dice")
    half = 4.302653 * 0.1 * (1 / 3 + 1 / 2) ** 0.5
    assert (found["run_low"], found["run_high"]) == pytest.approx((0.2 - half, 0.2 + half))
    assert found["p_run"] == pytest.approx(0.16, abs=0.01)  # 0.074 without what they share
