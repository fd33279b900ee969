"""Rows of one case: keys, empty classes, the papers' convention against MONAI, errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDistanceMetric

from metrics import case_metrics, dice, overlap_counts, surface, surface_metrics

NAMES = ("background", "cube", "plate", "rod")
SPACING_MM = (1.0, 2.0, 0.5)


def label_map(**boxes):
    label = np.zeros((8, 8, 8), np.int64)
    for name, slices in boxes.items():
        label[slices] = NAMES.index(name)
    return label


CUBE = (slice(0, 3), slice(0, 3), slice(0, 3))
SHIFTED_CUBE = (slice(1, 4), slice(0, 3), slice(0, 3))
PLATE = (slice(None), slice(None), 5)
ROD = (6, slice(2, 7), 7)


def test_keys_their_order_and_values():
    prediction, label = label_map(cube=SHIFTED_CUBE, plate=PLATE), label_map(cube=CUBE, plate=PLATE)
    rows = case_metrics(prediction, label, SPACING_MM, NAMES)
    keys = ["class", "class_name", "dice", "hd95_mm", "msd_mm", "msd_label_to_pred_mm", "assd_mm",
            "surface_dice_1mm", "empty"]
    assert [list(row) for row in rows] == [keys] * 3
    assert [(row["class"], row["class_name"]) for row in rows] == list(enumerate(NAMES))[1:]
    assert [type(value) for value in rows[0].values()] == [int, str, *[float] * 6, str]
    masks = prediction == 1, label == 1
    assert rows[0]["dice"] == dice(*masks) == pytest.approx(2 / 3)
    assert tuple(rows[0].values())[3:7] == surface_metrics(*masks, SPACING_MM)
    assert tuple(rows[1].values())[2:] == (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, "")


def test_empty_classes_are_counted_and_named():
    prediction, label = label_map(cube=CUBE), label_map(plate=PLATE)
    diagonal_mm = math.sqrt(8**2 + 16**2 + 4**2)
    cube, plate, rod = case_metrics(prediction, label, SPACING_MM, NAMES)
    assert tuple(cube.values())[2:] == pytest.approx((0.0, *[diagonal_mm] * 4, 0.0, "label"))
    assert tuple(plate.values())[2:] == pytest.approx((0.0, *[diagonal_mm] * 4, 0.0, "prediction"))
    assert tuple(rod.values())[2:] == (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, "both")


@st.composite
def label_map_pairs(draw):
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=7))
    # Few voxels set: classes that are absent or single voxels, beside maps full to the border.
    fill = st.sampled_from((0, 0, 1))
    maps = arrays(np.uint8, shape, elements=st.integers(0, len(NAMES) - 1), fill=fill)
    return draw(maps), draw(maps)


@settings(max_examples=80, deadline=None)
@given(label_map_pairs(), st.tuples(*[st.floats(0.2, 6.0)] * 3), st.sampled_from((0, 8, 10**9)))
def test_all_classes_at_once_equal_each_class_alone(pair, spacing_mm, voxels_per_point):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surface, "VOXELS_PER_POINT", voxels_per_point)
        rows = case_metrics(*pair, spacing_mm, NAMES)
    for row in rows:
        masks = [label_map == row["class"] for label_map in pair]
        expected = (dice(*masks), *surface_metrics(*masks, spacing_mm))
        assert tuple(row.values())[2:7] == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert row["empty"] == overlap_counts(*masks).empty


@pytest.mark.parametrize("num_classes", [256, 300])
def test_many_classes_keep_their_numbers(num_classes):
    names = [str(index) for index in range(num_classes)]
    label = np.arange(num_classes).reshape(2, 2, -1)
    rows = case_metrics(label, label[:, ::-1], SPACING_MM, names)
    assert [row["hd95_mm"] for row in rows] == pytest.approx([2.0] * (num_classes - 1))
    assert {row["dice"] for row in rows} == {0.0}


def monai_rows(prediction, label):
    onehot = [
        torch.nn.functional.one_hot(torch.from_numpy(m), len(NAMES)).movedim(-1, 0)[None].float()
        for m in (prediction, label)
    ]
    swapped = onehot[::-1]
    values = (
        DiceMetric(include_background=False, reduction="none")(*onehot),
        HausdorffDistanceMetric(percentile=95, reduction="none")(*onehot),
        SurfaceDistanceMetric(reduction="none")(*onehot),
        SurfaceDistanceMetric(reduction="none")(*swapped),
        SurfaceDistanceMetric(symmetric=True, reduction="none")(*onehot),
    )
    values = np.stack([value[0].numpy() for value in values], axis=-1)  # (class, 5)
    return np.where(np.isfinite(values), values, np.nan)


@pytest.mark.filterwarnings("ignore:the (prediction|ground truth) of class:UserWarning")
@pytest.mark.parametrize(
    ("predicted", "labelled"),
    [
        ({"cube": SHIFTED_CUBE, "plate": PLATE, "rod": ROD}, {"cube": CUBE, "rod": PLATE}),
        ({"cube": CUBE}, {"plate": PLATE}),  # empty label, empty prediction, both empty
        ({"rod": (0, 0, 0)}, {"cube": (7, 7, 7)}),  # single voxels, one empty mask each
        ({}, {}),
    ],
)
def test_paper_metrics_equal_monai_without_spacing(predicted, labelled):
    prediction, label = label_map(**predicted), label_map(**labelled)
    rows = case_metrics(prediction, label, SPACING_MM, NAMES, paper_metrics=True)
    keys = ["class", "class_name", "dice", "hd95_voxels", "msd_voxels",
            "msd_label_to_pred_voxels", "assd_voxels", "empty"]
    assert [list(row) for row in rows] == [keys] * 3
    ours = np.array([list(row.values())[2:7] for row in rows])
    np.testing.assert_allclose(ours, monai_rows(prediction, label), atol=1e-4)


def test_tensors_small_integers_and_bool_maps_are_accepted():
    prediction, label = label_map(cube=SHIFTED_CUBE), label_map(cube=CUBE)
    expected = case_metrics(prediction, label, SPACING_MM, NAMES)
    tensor = torch.from_numpy(prediction)
    assert case_metrics(tensor, label.astype(np.uint8), SPACING_MM, NAMES) == expected
    rows = case_metrics(prediction > 0, label > 0, SPACING_MM, NAMES[:2])
    assert rows == expected[:1]


def test_unknown_values_are_counted_in_the_error():
    label = label_map(cube=CUBE)
    label[7, 7, 6:] = 421
    label[7, 0, 0] = -1
    with pytest.raises(ValueError, match=r"label has values outside.*0\.\.3.*\{-1: 1, 421: 2\}"):
        case_metrics(label_map(), label, SPACING_MM, NAMES)


def test_probabilities_are_refused():
    with pytest.raises(ValueError, match="prediction must be an integer.*float32.*argmax"):
        case_metrics(torch.rand(8, 8, 8), label_map(), SPACING_MM, NAMES)


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (np.zeros((1, 8, 8, 8), int), r"prediction must have three axes.*\(1, 8, 8, 8\)"),
        (np.zeros((8, 8, 7), int), r"prediction has shape \(8, 8, 7\).*\(8, 8, 8\)"),
    ],
)
def test_shapes_are_checked(prediction, message):
    with pytest.raises(ValueError, match=message):
        case_metrics(prediction, label_map(), SPACING_MM, NAMES)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("background",), "at least one foreground"),
        ("background", "at least one foreground"),
        (("background", "cube", "cube"), r"unique, repeated: \['cube'\]"),
    ],
)
def test_class_names_are_checked(names, message):
    with pytest.raises(ValueError, match=message):
        case_metrics(label_map(), label_map(), SPACING_MM, names)


@pytest.mark.parametrize("paper_metrics", [False, True])
def test_spacing_is_checked_under_both_conventions(paper_metrics):
    with pytest.raises(ValueError, match="spacing_mm"):
        case_metrics(label_map(), label_map(), (1, 1), NAMES, paper_metrics=paper_metrics)
