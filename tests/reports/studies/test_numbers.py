"""A study's numbers against hand computation, its page and its picture."""

import pytest
from matplotlib.image import imread

from metrics.repeats import BETTER, EQUIVALENT, NOT_SHOWN, TOO_FEW_RUNS, WORSE
from reports.studies.numbers import arm_lines, average_gain, gain_lines
from reports.studies.study_page import COMPLETE, MISSING, PARTIAL, study_page
from reports.studies.study_picture import gains_picture

PUBLISHED = {"method": "dsd", "dice_points": 1.3, "hd95_mm": -0.76, "source": "a paper"}


def rows(dice, hd95, prefix="c"):
    """A row per case of one class; cases are prefix0, prefix1, ..."""
    return [{"case_id": f"{prefix}{at}", "class": 1, "class_name": "left", "dice": float(one),
             "hd95_mm": float(far), "msd_mm": float(far) / 2, "msd_label_to_pred_mm": 1.0,
             "assd_mm": 1.0, "empty": ""}
            for at, (one, far) in enumerate(zip(dice, hd95, strict=True))]


def steps(start, step, n=12):
    """n values, rising."""
    return [start + step * at for at in range(n)]


def line_of(lines, metric):
    return next(one for one in lines if one["metric"] == metric)


def test_an_arm_is_the_mean_over_runs_and_the_spread_between_them():
    """Runs' means 0.6 and 0.8: mean 0.7, deviation sqrt(0.02). Cases' means as well."""
    line, = arm_lines({("d", "n", "basic"): {(1, 100): rows([0.5, 0.7], [2, 4]),
                                             (1, 101): rows([0.7, 0.9], [4, 6])}})
    assert (line["runs"], line["seeds"], line["folds"], line["cases"]) == (2, 2, 1, 2)
    assert [line[f"dice_{what}"] for what in ("mean", "std", "case_std")] == pytest.approx(
        [0.7, 0.02**0.5, 0.02**0.5])
    assert [line[f"hd95_mm_{what}"] for what in ("mean", "std", "case_median")] == pytest.approx(
        [4, 2**0.5, 4])
    assert line["msd_mm_mean"] == pytest.approx(2)


def test_a_single_run_has_no_spread_between_runs():
    line, = arm_lines({("d", "n", "basic"): {(1, 100): rows([0.5, 0.7], [2, 4])}})
    assert line["dice_std"] is None and line["dice_case_std"] == pytest.approx(0.02**0.5)


def test_folds_weigh_alike_and_their_cases_are_joined():
    line, = arm_lines({("d", "n", "basic"): {(1, 100): rows([0.4], [1]),
                                             (2, 100): rows([0.6, 0.8, 1.0], [1, 1, 1], "e")}})
    assert line["dice_mean"] == pytest.approx(0.6) and (line["folds"], line["cases"]) == (2, 4)


def gains(dice=0.02, hd95=-1.0):
    """Twelve cases, all of which change by the same sign and distinct sizes; three seeds."""
    return {("d", "n", "basic"): {(1, seed): rows(steps(0.5, 0.01), steps(5, 0.1))
                                  for seed in (100, 101, 102)},
            ("d", "n", "dsd"): {(1, seed): rows(
                [one + dice * (1 + at / 100) for at, one in enumerate(steps(0.5, 0.01))],
                [one + hd95 * (1 + at / 100) for at, one in enumerate(steps(5, 0.1))])
                for seed in (100, 101, 102)}}


def test_gains_have_the_sign_of_method_less_baseline_and_their_verdict():
    found = gain_lines(gains(), "basic")
    dice, distance = line_of(found, "dice"), line_of(found, "hd95_mm")
    assert dice["mean_difference"] == pytest.approx(0.02 * 1.055)
    assert distance["mean_difference"] == pytest.approx(-1.055)
    # all of 12 differences of one sign: 2 / 2^12
    assert dice["p"] == pytest.approx(2 / 2**12) and dice["p_holm"] == dice["p"]
    assert (dice["verdict"], distance["verdict"]) == (BETTER, BETTER)
    assert (dice["wins"], dice["losses"]) == (12, 0)


def test_losses_are_said_too():
    found = gain_lines(gains(-0.02, 1.0), "basic")
    assert {line["verdict"] for line in found} == {WORSE}
    assert line_of(found, "hd95_mm")["mean_difference"] > 0


def test_a_gain_that_is_not_there_is_not_shown():
    arms = gains()
    changed = [one + (0.01 if at % 2 else -0.01) for at, one in enumerate(steps(0.5, 0.01))]
    arms["d", "n", "dsd"] = {(1, seed): rows(changed, steps(5, 0.1)) for seed in (100, 101, 102)}
    found = gain_lines(arms, "basic")
    assert {line["verdict"] for line in found} == {NOT_SHOWN, EQUIVALENT}
    page = study_page("Title", [], arm_lines(arms), found, PUBLISHED, [], "testing")
    assert "Dice level in 1 of 1; HD95 no difference shown in 1 of 1" in page  # runs are alike


def test_only_folds_and_seeds_that_both_have_are_compared():
    arms = {("d", "n", "basic"): {(1, 100): rows([0.5, 0.6], [1, 1]),
                                  (1, 101): rows([0.9, 0.9], [1, 1])},
            ("d", "n", "dsd"): {(1, 100): rows([0.6, 0.8], [1, 1])},
            ("d", "other", "dsd"): {(1, 100): rows([0.6, 0.8], [1, 1])}}
    line = line_of(gain_lines(arms, "basic"), "dice")
    assert (line["network"], line["runs"], line["seeds"]) == ("n", 1, 1)
    assert line["mean_difference"] == pytest.approx(0.15)


def test_the_range_is_over_pairs_of_runs():
    """Seed 100: +0.1. Seed 101: -0.3. Together: -0.1."""
    arms = {("d", "n", "basic"): {(1, 100): rows([0.5, 0.5], [1, 1]),
                                  (1, 101): rows([0.9, 0.9], [1, 1])},
            ("d", "n", "dsd"): {(1, 100): rows([0.6, 0.6], [1, 1]),
                                (1, 101): rows([0.6, 0.6], [1, 1])}}
    line = line_of(gain_lines(arms, "basic"), "dice")
    assert [line[key] for key in ("gain_low", "gain_high", "mean_difference")] == pytest.approx(
        [-0.3, 0.1, -0.1])


def test_a_single_pair_of_runs_has_no_verdict_and_a_caution():
    arms = {arm: {(1, 100): runs[1, 100]} for arm, runs in gains().items()}
    found = gain_lines(arms, "basic")
    assert {line["verdict"] for line in found} == {TOO_FEW_RUNS}
    page = study_page("Title", [], arm_lines(arms), found, None, [], "testing")
    assert "Fewer than 3 pairs of runs each: intervals and tests are about these" in page
    assert "published" not in page


def test_holm_is_over_all_arms_of_a_metric():
    """Two arms of one p: the smaller is doubled, the larger not less than that."""
    arms = gains()
    arms["d", "n", "encoder_kl"] = arms["d", "n", "dsd"]
    found = [line for line in gain_lines(arms, "basic") if line["metric"] == "dice"]
    assert [line["method"] for line in found] == ["dsd", "encoder_kl"]
    assert [line["p_holm"] for line in found] == pytest.approx([4 / 2**12] * 2)


def test_the_papers_average_is_over_networks():
    lines = [{"method": method, "metric": "dice", "mean_difference": gain}
             for method, gain in (("dsd", 0.01), ("dsd", 0.03), ("encoder_kl", 0.5))]
    found = average_gain(lines, "dsd", "dice")
    assert found == {"mean": pytest.approx(0.02), "lowest": 0.01, "highest": 0.03, "n": 2}
    assert average_gain(lines, "dsd", "hd95_mm") is None


RUNS = [{"name": "one", "state": COMPLETE, "epochs_done": 3, "epochs": 3,
         "command": ["python", "train_basic.py", "my data", "_"]},
        {"name": "two", "state": PARTIAL, "epochs_done": 1, "epochs": 3, "command": None},
        {"name": "three", "state": MISSING, "epochs_done": 0, "epochs": 3, "command": None}]
PLACE = {"runs": 1, "python": "3.11", "packages": {"torch": "2"}, "platform": "Linux",
         "device": "cpu", "device_name": "", "threads": 1, "cpus": 2,
         "git": {"commit": "abc", "dirty": True}}


def test_the_page():
    arms = gains()
    page = study_page("Title", RUNS, arm_lines(arms), gain_lines(arms, "basic"), PUBLISHED,
                      [PLACE], "testing")
    lines = page.splitlines()
    assert ("3 runs: 1 complete, 1 partial, 1 missing. Runs that are not complete are in no table "
            "below.") in lines
    # basic: 0.5 + mean of 0 .. 0.11 = 0.555; dsd 0.0211 more; distances 5.55 and 1.055 less
    assert "| d | n | basic | 55.50 +- 0.00 | 5.55 +- 0.00 | 2.77 +- 0.00 |  |  |  | 3 | 12 |" \
        in lines
    gain = next(line for line in lines if line.startswith("| d | n | dsd"))
    assert gain.startswith("| d | n | dsd | 57.61 +- 0.00 | 4.50 +- 0.00 | 2.25 +- 0.00")
    assert "| -1.05 |" in gain
    assert any(line.startswith("| Dice [points] | +1.30 | +2.1") for line in lines)
    assert "| HD95 [mm] | -0.76 | -1.05 | -1.05 to -1.05 | 1 |" in lines
    assert any(line.startswith("| Dice [points] | d | n | dsd - basic | +2.11 | +2.07 to +2.15 | "
                               "+2.11 to +2.11 | 3 | better |") for line in lines)
    # without c0, whose gain of 0.02 is the smallest: 0.02 * (1 + mean of 1 .. 11 %)
    assert any("| +2.12 (c0) |" in line for line in lines)
    assert "Fewer than 3 pairs of runs each" not in page
    assert "- dsd against basic: Dice better in 1 of 1; HD95 better in 1 of 1; " in page
    assert "python train_basic.py 'my data' _" in lines
    assert any("torch 2; commit abc, files changed" in line for line in lines)
    assert "| two | partial | 1 of 3 |" in lines


def test_a_page_without_a_finished_run_says_so():
    page = study_page("Title", RUNS[1:], [], [], PUBLISHED, [], "testing")
    assert "No run is complete: there is no table." in page
    assert "| Dice [points] | +1.30 | - | - | 0 |" in page and "No run has begun." in page


def test_validation_cases_are_said_to_flatter():
    pages = [study_page("Title", [], [], [], None, [], group)
             for group in ("testing", "validation")]
    assert ["They also chose its best.model" in page for page in pages] == [False, True]


def test_validation_cases_that_chose_nothing_are_not():
    page = study_page("Title", [], [], [], None, [], "validation", chosen=False)
    assert "chose its best.model" not in page
    assert "only the last one was validated. The training sets of several folds" in page


def test_the_picture(tmp_path):
    gains_picture(tmp_path / "gains.png", gain_lines(gains(), "basic"), PUBLISHED, "Title")
    gains_picture(tmp_path / "alone.png", gain_lines(gains(), "basic"), None, "Title")
    first, second = (imread(tmp_path / name) for name in ("gains.png", "alone.png"))
    assert first.shape[1] == second.shape[1] == 1000
    assert first.shape == second.shape and (first != second).any()


def test_the_picture_shows_the_interval_over_runs(tmp_path):
    lines = gain_lines(gains(), "basic")
    assert all(one["run_low"] is not None for one in lines)
    unknown = [one | {"run_low": None, "run_high": None} for one in lines]
    gains_picture(tmp_path / "runs.png", lines, None, "Title")
    gains_picture(tmp_path / "cases.png", unknown, None, "Title")
    assert (imread(tmp_path / "runs.png") != imread(tmp_path / "cases.png")).any()


def test_a_protocol_stands_before_the_tables():
    page = study_page("Title", [], [], [], None, [], "testing", protocol=["One.", "Two."])
    assert "## Written before the runs\n\n- One.\n- Two.\n\n## Table" in page
    assert "Written before" not in study_page("Title", [], [], [], None, [], "testing")
