"""Means, spreads and counts over cases on hand-computed rows."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import METRICS_MM, METRICS_VOXELS, case_metrics, summarise

NAMES = ("background", "left", "right")


def row(case_id, class_name, dice, distance=1.0, empty="", names=METRICS_MM):
    values = dict(zip(names, (dice, *[distance] * 4), strict=True))
    index = NAMES.index(class_name) if class_name in NAMES else 9
    return {"case_id": case_id, "class": index, "class_name": class_name, **values, "empty": empty}


def test_hand_computed_means_medians_and_sample_spread():
    rows = [
        row("a", "left", 0.8, 2.0),
        row("a", "right", 0.4, 4.0),
        row("b", "left", 0.6, 6.0),
        row("b", "right", 0.2, 8.0),
    ]
    summary = summarise(rows, NAMES)
    assert summary["num_cases"] == 2
    assert summary["metrics"]["dice"] == pytest.approx(
        {"mean": 0.5, "std": math.sqrt((0.09 + 0.01 + 0.01 + 0.09) / 3), "median": 0.5, "n": 4}
    )
    assert summary["metrics"]["hd95_mm"] == pytest.approx(
        {"mean": 5.0, "std": (20 / 3) ** 0.5, "median": 5.0, "n": 4})
    assert summary["per_class"]["left"]["dice"] == pytest.approx(
        {"mean": 0.7, "std": 0.02**0.5, "median": 0.7, "n": 2})
    assert summary["per_class"]["right"]["assd_mm"] == pytest.approx(
        {"mean": 6.0, "std": 8**0.5, "median": 6.0, "n": 2}
    )
    assert summary["mean_foreground_dice"] == pytest.approx(0.5)
    assert list(summary["metrics"]) == list(METRICS_MM)
    assert list(summary["per_class"]) == ["left", "right"]


def test_a_case_without_a_class_does_not_poison_the_mean():
    nan = math.nan
    rows = [
        row("a", "left", 0.9, names=METRICS_VOXELS),
        row("a", "right", 0.5, names=METRICS_VOXELS),
        row("b", "left", 0.7, names=METRICS_VOXELS),
        row("b", "right", nan, nan, "label", names=METRICS_VOXELS),
    ]
    summary = summarise(rows, NAMES)
    assert summary["mean_foreground_dice"] == pytest.approx((0.8 + 0.5) / 2)
    assert summary["metrics"]["dice"]["n"] == 3
    assert summary["metrics"]["dice"]["mean"] == pytest.approx(0.7)
    assert summary["per_class"]["right"]["hd95_voxels"] == {
        "mean": 1.0, "std": None, "median": 1.0, "n": 1}


def test_a_class_without_any_value_is_none():
    rows = [row("a", "left", 0.5), row("a", "right", math.nan, math.nan, "both")]
    summary = summarise(rows, NAMES)
    nothing = {"mean": None, "std": None, "median": None, "n": 0}
    assert summary["per_class"]["right"] == dict.fromkeys(METRICS_MM, nothing)
    assert summary["mean_foreground_dice"] == 0.5
    all_nan = summarise(rows[1:], NAMES)
    assert all_nan["mean_foreground_dice"] is None
    assert all_nan["per_class"]["left"]["dice"] == nothing


def test_empty_masks_are_counted_and_one_sided_ones_listed():
    rows = [
        row("a", "left", 0.0, 9.0, "prediction"),
        row("a", "right", 1.0, 0.0, "both"),
        row("b", "left", 0.0, 9.0, "label"),
        row("b", "right", 0.5),
        row("c", "left", 0.0, 9.0, "prediction"),
    ]
    summary = summarise(rows, NAMES)
    assert summary["num_empty"] == {"both": 1, "prediction": 2, "label": 1}
    assert summary["empty_cases"] == [
        {"case_id": "a", "class_name": "left", "empty": "prediction"},
        {"case_id": "b", "class_name": "left", "empty": "label"},
        {"case_id": "c", "class_name": "left", "empty": "prediction"},
    ]


@pytest.mark.parametrize("paper_metrics", [False, True])
def test_rows_of_case_metrics_become_strict_json(paper_metrics):
    rng = np.random.default_rng(0)
    rows = []
    for case_id in ("a", "b", "c"):
        prediction, label = rng.integers(0, 3 if case_id != "c" else 2, (2, 5, 5, 5))
        for values in case_metrics(prediction, label, (1, 1, 2), NAMES, paper_metrics):
            rows.append({"case_id": case_id, **values})
    summary = summarise(rows, NAMES)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["num_cases"] == 3
    assert summary["per_class"]["right"]["dice"]["n"] == (2 if paper_metrics else 3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1) | st.just(math.nan), min_size=1, max_size=8))
def test_equals_numpy_without_nans(values):
    rows = [row(str(i), "left", value) for i, value in enumerate(values)]
    entry = summarise(rows, NAMES)["metrics"]["dice"]
    assert entry["n"] == np.isfinite(values).sum()
    if entry["n"]:
        assert entry["mean"] == pytest.approx(np.nanmean(values))
        assert entry["median"] == np.nanmedian(values)
    if entry["n"] > 1:
        assert entry["std"] == pytest.approx(np.nanstd(values, ddof=1), abs=1e-12)
    else:
        assert entry["std"] is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows to summarise"),
        ([{"case_id": "a"}], "rows must have the metrics"),
        ([row("a", "left", 0.5)] * 2, "case 'a', class 'left': more than one row"),
        ([row("a", "spleen", 0.5)], "class 'spleen': not a foreground class"),
        ([row("a", "left", 0.5, math.inf)], r"infinite \[.hd95_mm., .msd_mm., .*, .assd_mm.\]"),
        ([{**row("a", "left", 0.5), "dice": math.inf}], r"infinite \['dice'\]"),
        (
            [row("a", "left", 0.5), row("a", "right", 0.5, names=METRICS_VOXELS)],
            "missing.*do not mix mm and voxel",
        ),
        (
            [{k: v for k, v in row("a", "left", 0.5).items() if k != "case_id"}],
            r"missing \['case_id'\]",
        ),
    ],
)
def test_bad_rows_are_named(rows, message):
    with pytest.raises(ValueError, match=message):
        summarise(rows, NAMES)
