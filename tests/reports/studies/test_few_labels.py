"""What the numbers of a study with few labels say, in lines, text and picture."""

import json

import numpy as np
import pytest
from matplotlib.image import imread

from metrics import METRICS_MM
from metrics.repeats import mean_over_seeds
from reports.studies.few_labels import (
    arm_lines,
    conclusion,
    difference_lines,
    few_labels_picture,
    few_labels_table,
)


def rows(values, distance=4.0):
    """Two classes a case: the value, and 0.1 less."""
    return [{"case_id": f"case{number:02d}", "class": index, "class_name": name,
             **dict(zip(METRICS_MM, (value - 0.1 * (index - 1), *[distance] * 4), strict=True)),
             "empty": ""}
            for number, value in enumerate(values)
            for index, name in ((1, "left"), (2, "right"))]


def test_seeds_are_averaged_case_by_case():
    mean = mean_over_seeds([rows([0.8, 0.4]), rows([0.6, 0.6])[::-1]])
    assert [row["dice"] for row in mean] == pytest.approx([0.7, 0.6, 0.5, 0.4])
    with pytest.raises(ValueError, match="same cases"):
        mean_over_seeds([rows([0.8, 0.4]), rows([0.8])])


def test_the_line_of_an_arm_is_over_cases():
    line, = arm_lines({(5, "scratch", "basic"): [rows([0.8, 0.4]), rows([0.6, 0.6])]})
    # cases: (0.7 + 0.6) / 2 and (0.5 + 0.4) / 2; seeds: 0.55 and 0.55
    assert line["dice_mean"] == pytest.approx(0.55) and line["dice_std"] == pytest.approx(0.02**0.5)
    assert line["dice_between_seeds"] == pytest.approx(0) and line["seeds"] == 2
    assert (line["cases"], line["hd95_mm_mean"], line["hd95_mm_std"]) == (2, 4, 0)


def tables(gain, distance=4.0, cases=20):
    """Two methods at 5 labels; pre-training changes every Dice of "basic" by about `gain`."""
    spread_out = np.linspace(-0.01, 0.01, cases)
    scratch = 0.6 + 0.1 * np.cos(np.arange(cases))
    seeds = (-0.004, 0.0, 0.004)  # so far apart that nothing is shown to be level
    return {(5, "scratch", "basic"): [rows(scratch) for _ in seeds],
            (5, "pretrained", "basic"): [rows(scratch + gain + spread_out + seed, distance)
                                         for seed in seeds],
            (5, "scratch", "dsd"): [rows(scratch) for _ in seeds],
            (5, "pretrained", "dsd"): [rows(scratch + spread_out + seed) for seed in seeds]}


@pytest.mark.parametrize(("gain", "distance", "verdict"), [
    (0.05, 3.0, "better"), (-0.05, 5.0, "worse"), (0.0, 4.0, "no difference shown")])
def test_a_verdict_needs_a_clear_difference(gain, distance, verdict):
    lines = difference_lines(tables(gain, distance))
    assert [(line["metric"], line["method"]) for line in lines] == [
        ("dice", "basic"), ("dice", "dsd"), ("hd95_mm", "basic"), ("hd95_mm", "dsd")]
    assert lines[0]["mean_difference"] == pytest.approx(gain, abs=1e-9)
    assert [line["verdict"] for line in lines] == [verdict, "no difference shown"] * 2
    assert all(line["p_holm"] >= line["p"] for line in lines)


def test_two_cases_are_never_enough():
    assert {line["verdict"] for line in difference_lines(tables(0.05, cases=2))} == {
        "no difference shown"}


def test_the_conclusion_says_what_came_out():
    assert ("Dice, pre-trained against scratch: better at 5 labels basic; no difference shown at "
            "5 labels DSD.") in conclusion(difference_lines(tables(0.05)))
    assert "worse at 5 labels basic" in conclusion(difference_lines(tables(-0.05)))
    assert "no difference shown at 5 labels basic, 5 labels DSD" in conclusion(
        difference_lines(tables(0.0)))
    half = {key: of_arm for key, of_arm in tables(0.05).items() if key[1] == "scratch"}
    assert "nothing can be said" in conclusion(difference_lines(half))


def test_table_and_picture_hold_every_arm(tmp_path):
    found = tables(0.05)
    lines, differences = arm_lines(found), difference_lines(found)
    text = few_labels_table(lines, differences, ["A note."])
    assert text.count("from scratch") == 2 and text.count("  pre-trained  ") == 2
    assert "+0.050" in text and text.endswith("A note.")
    json.dumps([lines, differences], allow_nan=False)
    few_labels_picture(tmp_path / "study.png", lines, differences, "a study")
    assert imread(tmp_path / "study.png").shape[:2] == (480, 1000)


def test_the_picture_shows_the_interval_over_runs(tmp_path):
    found = tables(0.05)
    lines, differences = arm_lines(found), difference_lines(found)
    assert all(one["run_low"] is not None for one in differences)
    unknown = [one | {"run_low": None, "run_high": None} for one in differences]
    few_labels_picture(tmp_path / "runs.png", lines, differences, "a study")
    few_labels_picture(tmp_path / "cases.png", lines, unknown, "a study")
    assert (imread(tmp_path / "runs.png") != imread(tmp_path / "cases.png")).any()
