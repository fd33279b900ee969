"""Tables against strings written by hand."""

import csv
import math

import numpy as np
import pytest

from reports import per_case_csv, read_per_case, summary_table


def _stats(mean, std):
    return {"mean": mean, "std": std, "n": 3}


def _summary(num_cases=3, num_empty=None):
    return {
        "num_cases": num_cases,
        "metrics": {"dice": _stats(0.85, 0.02), "hd95_mm": _stats(3.25, 1.0)},
        "per_class": {
            "anterior": {"dice": _stats(0.9, 0.0104), "hd95_mm": _stats(1.5, 0.25)},
            "posterior": {"dice": _stats(0.8, 0.03), "hd95_mm": _stats(5.0, 12.5)},
        },
        "mean_foreground_dice": 0.85,
        "num_empty": num_empty or {"label": 0, "prediction": 0, "both": 0},
        "empty_cases": [],
    }


def test_summary_table_is_the_hand_written_one():
    assert summary_table(_summary()) == (
        "class                Dice      HD95 [mm]\n"
        "----------------------------------------\n"
        "anterior   0.900 +- 0.010   1.50 +- 0.25\n"
        "posterior  0.800 +- 0.030  5.00 +- 12.50\n"
        "----------------------------------------\n"
        "mean       0.850 +- 0.020   3.25 +- 1.00\n"
        "3 cases"
    )


@pytest.mark.parametrize(
    ("num_empty", "footer"),
    [
        ({"label": 0, "prediction": 0, "both": 7}, "1 case"),
        ({"label": 0, "prediction": 1, "both": 0}, "1 case; 1 one-sided empty class mask counted"),
        ({"label": 1, "prediction": 1, "both": 7}, "1 case; 2 one-sided empty class masks"),
    ],
)
def test_footer_counts_only_one_sided_masks(num_empty, footer):
    last = summary_table(_summary(num_cases=1, num_empty=num_empty)).splitlines()[-1]
    assert last.startswith(footer)
    assert ("empty" in last) == ("empty" in footer)


def test_missing_numbers_are_dashes_and_units_follow_the_metric():
    summary = _summary()
    summary["metrics"] = {"dice": _stats(None, None), "hd95_voxels": _stats(2.0, None)}
    summary["per_class"] = {"c": {"dice": _stats(math.nan, math.nan)}}
    header, _, line, _, mean, _ = summary_table(summary).splitlines()
    assert header.split() == ["class", "Dice", "HD95", "[voxels]"]
    assert line.split() == ["c", "-", "-"]
    assert mean.split() == ["mean", "-", "2.00"]


def test_csv_round_trip(tmp_path):
    path = tmp_path / "new" / "per_case.csv"
    rows = [
        {"case_id": "a,1", "class": 1, "dice": 0.123456789, "hd95_mm": math.nan, "empty": True},
        {"case_id": "b", "class": np.int64(2), "dice": np.float32(1), "hd95_mm": None, "empty": ""},
    ]
    per_case_csv(path, rows)
    assert path.read_bytes() == (
        b"case_id,class,dice,hd95_mm,empty\n"
        b'"a,1",1,0.123457,,True\n'
        b"b,2,1.000000,,\n"
    )  # fmt: skip
    with path.open(newline="") as file:
        back = list(csv.DictReader(file))
    assert [row["case_id"] for row in back] == ["a,1", "b"]
    assert float(back[0]["dice"]) == pytest.approx(rows[0]["dice"], abs=5e-7)
    assert back[0]["hd95_mm"] == back[1]["hd95_mm"] == ""


def test_csv_refuses_ragged_rows_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "per_case.csv"
    per_case_csv(path, [{"dice": 1.0}])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"row 2 .*\['dice', 'iou'\]"):
        per_case_csv(path, [{"dice": 1.0}, {"iou": 1.0}])
    with pytest.raises(ValueError, match="no rows"):
        per_case_csv(path, [])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_in_voxels_empty_masks_are_said_to_be_left_out():
    stats = {"mean": 1.0, "std": 0.0, "n": 1}
    summary = {"num_cases": 1, "metrics": {"hd95_voxels": stats},
               "per_class": {"a": {"hd95_voxels": stats}},
               "num_empty": {"label": 2, "prediction": 0}}
    footer = summary_table(summary).splitlines()[-1]
    assert footer == "1 case; 2 one-sided empty class masks left out of the distances"


FORMULAS = ["=HYPERLINK(\"http://x\",\"y\")", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "''+2"]
PLAIN = ["left", "a=b", "'quoted'", "''", "'", "", "1-2", " =1"]


@pytest.mark.parametrize("name", [*FORMULAS, *PLAIN])
def test_names_that_a_spreadsheet_would_compute_are_kept_as_text(tmp_path, name):
    path = tmp_path / "per_case.csv"
    per_case_csv(path, [{"case_id": name, "class": 1, "class_name": name, "dice": -0.5,
                         "empty": ""}])
    with path.open(newline="") as file:
        row, = csv.DictReader(file)
    assert row["class_name"] == (f"'{name}" if name in FORMULAS else name)
    assert not row["class_name"].startswith(("=", "+", "-", "@", "\t"))
    assert row["dice"] == "-0.500000"  # a number stays one
    back, = read_per_case(path)
    assert back["class_name"] == back["case_id"] == name and back["dice"] == -0.5
