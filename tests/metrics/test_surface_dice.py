"""Surface Dice: by hand, its bounds, and equality with MONAI."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_surface_dice

from metrics import (
    METRICS_MM,
    case_metrics,
    higher_is_better,
    metrics_in,
    shared_metrics,
    summarise,
    surface_dice,
    surface_dice_name,
)

SPACING_MM = (1.5, 0.7, 3.0)


def plane(position):
    """A plane of 4 x 5 voxels across the first axis."""
    mask = np.zeros((12, 4, 5), bool)
    mask[position] = True
    return mask


@pytest.mark.parametrize(("tolerance_mm", "share"), [(0, 0.0), (2.9, 0.0), (3, 1.0), (9, 1.0)])
def test_planes_two_voxels_apart(tolerance_mm, share):
    assert surface_dice(plane(3), plane(5), SPACING_MM, tolerance_mm) == share  # 3 mm


def test_counts_both_surfaces():
    both = plane(3) | plane(9)  # the second plane is 9 mm from the label's only one
    assert surface_dice(plane(3), both, SPACING_MM, 1.0) == pytest.approx(40 / 60)
    assert surface_dice(both, plane(3), SPACING_MM, 1.0) == pytest.approx(40 / 60)


def test_empty_masks_and_a_negative_tolerance():
    empty = np.zeros((12, 4, 5), bool)
    assert surface_dice(empty, empty, SPACING_MM, 1.0) == 1.0
    assert surface_dice(empty, plane(3), SPACING_MM, 1e9) == 0.0
    assert surface_dice(plane(3), empty, SPACING_MM, 1e9) == 0.0
    for tolerance_mm in (-1, float("nan")):
        with pytest.raises(ValueError, match="tolerance_mm must be at least 0"):
            surface_dice(empty, empty, SPACING_MM, tolerance_mm)


MASKS = arrays(bool, (5, 6, 4), elements=st.booleans(), fill=st.just(False))


@settings(max_examples=60, deadline=None)
@given(MASKS, MASKS, st.sampled_from([0.0, 0.8, 1.6, 4.0]))
def test_equals_monai_and_rises_with_the_tolerance(pred, true, tolerance_mm):
    ours = surface_dice(pred, true, SPACING_MM, tolerance_mm)
    assert ours == surface_dice(true, pred, SPACING_MM, tolerance_mm)
    assert ours <= surface_dice(pred, true, SPACING_MM, tolerance_mm + 1)
    if pred.any() and true.any():
        masks = [torch.from_numpy(mask)[None, None].float() for mask in (pred, true)]
        theirs = compute_surface_dice(*masks, [tolerance_mm], include_background=True,
                                      spacing=list(SPACING_MM))
        assert ours == pytest.approx(theirs.item(), abs=1e-6)


def rows(tolerance_mm):
    label, prediction = plane(3).astype(np.uint8), plane(4).astype(np.uint8)  # 1.5 mm apart
    found = case_metrics(prediction, label, SPACING_MM, ("background", "organ"),
                         tolerance_mm=tolerance_mm)
    return [{"case_id": "a"} | row for row in found]


def test_a_column_for_each_tolerance():
    (row,) = rows(1.0)
    assert row["surface_dice_1mm"] == 0.0 and surface_dice_name(0.5) == "surface_dice_0.5mm"
    assert rows(2)[0]["surface_dice_2mm"] == 1.0
    assert metrics_in(row) == (*METRICS_MM, "surface_dice_1mm")
    assert higher_is_better("surface_dice_1mm") and not higher_is_better("hd95_mm")
    assert summarise(rows(2), ("background", "organ"))["metrics"]["surface_dice_2mm"]["mean"] == 1


def test_two_tolerances_and_older_rows_are_not_compared():
    older = [{name: value for name, value in row.items() if not name.startswith("surface_dice")}
             for row in rows(1)]
    assert shared_metrics(rows(1), rows(1)) == (*METRICS_MM, "surface_dice_1mm")
    assert shared_metrics(rows(1), rows(2)) == shared_metrics(older, rows(1)) == METRICS_MM
    assert summarise(older, ("background", "organ"))["metrics"].keys() == set(METRICS_MM)
