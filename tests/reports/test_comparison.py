"""Text, CSV and picture of a paired comparison."""

import csv

import numpy as np
import pytest
from matplotlib.image import imread

from metrics import METRICS_MM, compare, paired_values
from reports import comparison_picture, comparison_table, differences_csv, per_case_csv


def rows_of(dice, distance):
    """Ten cases of two classes; both values per case are `dice` + case / 100, `distance`."""
    return [{"case_id": f"c{case}", "class": index, "class_name": class_name,
             **dict(zip(METRICS_MM, (dice + case / 100, *[distance] * 4), strict=True)),
             "empty": ""}
            for case in range(10) for index, class_name in enumerate(("left", "right"), start=1)]


A, B = rows_of(0.70, 3.0), rows_of(0.75, 2.5)
RESULTS = compare(A, B)


def test_the_table_states_the_sign_and_both_names():
    table = comparison_table(RESULTS, "basic", "dsd")
    assert "A (baseline)  basic" in table and "B             dsd" in table
    assert "Dice, higher is better" in table and "HD95 [mm], lower is better" in table
    assert "B - A" in table and "10 cases" in table and "p Holm" in table
    line = next(line for line in table.splitlines() if line.startswith("overall"))
    # ten equal differences: p by the normal approximation of scipy for ties, exact up to 13
    assert line.split() == ["overall", "0.745", "0.795", "+0.050", "+0.050", "to", "+0.050",
                            "+0.050", "10/0/0", "0.0020"]
    left = next(line for line in table.splitlines() if line.startswith("left"))
    assert left.split()[-2:] == ["0.0020", "0.0039"]     # 2 / 2^10, and twice that


def test_missing_numbers_are_dashes():
    lacking = [row | dict.fromkeys(METRICS_MM, float("nan")) if row["class_name"] == "left"
               else row for row in B]
    table = comparison_table(compare(A, lacking), "basic", "dsd")
    line = next(line for line in table.splitlines() if line.startswith("left"))
    assert line.split() == ["left", "-", "-", "-", "-", "-", "0/0/0"]
    assert "0 to 10 cases" in table


def test_the_csv_has_a_line_per_metric_and_class(tmp_path):
    per_case_csv(tmp_path / "c.csv", RESULTS)
    with open(tmp_path / "c.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 5 * 3
    assert [line["class_name"] for line in lines[:3]] == ["overall", "left", "right"]
    assert lines[0]["p"] == "0.001953" and lines[0]["p_holm"] == ""
    assert lines[1]["p_holm"] == "0.003906" and lines[1]["wins"] == "10"
    assert float(lines[3]["mean_difference"]) == -0.5


def test_every_difference_can_be_looked_up(tmp_path):
    differences_csv(tmp_path / "d.csv", A, B[::-1])
    with open(tmp_path / "d.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 5 * 10 * 3
    found, = (line for line in lines if (line["metric"], line["case_id"], line["class_name"]) ==
              ("dice", "c3", "left"))
    assert [float(found[key]) for key in ("a", "b", "difference")] == pytest.approx(
        [0.73, 0.78, 0.05])


def test_the_side_where_b_is_better_is_tinted(tmp_path):
    pairs = {metric: paired_values(A, B, metric) for metric in ("dice", "hd95_mm")}
    comparison_picture(tmp_path / "c.png", pairs, RESULTS, "A basic, B dsd")
    picture = imread(tmp_path / "c.png")[..., :3]
    assert picture.shape[1] == 1000
    green = (picture[..., 1] > picture[..., 0] + 0.05) & (picture[..., 0] > 0.85)
    top, bottom = np.array_split(green, 2)
    middle = 565                                  # where the difference is 0
    assert top[:, middle:].sum() > 100 * top[:, :middle - 5].sum()
    assert bottom[:, :middle].sum() > 100 * bottom[:, middle + 5:].sum()


def test_an_experiment_against_itself_can_be_drawn(tmp_path):
    pairs = {"dice": paired_values(A, A, "dice")}
    comparison_picture(tmp_path / "c.png", pairs, compare(A, A), "nothing")
    assert (tmp_path / "c.png").stat().st_size > 0
