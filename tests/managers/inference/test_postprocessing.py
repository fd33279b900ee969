"""Removing specks: by hand, as properties, and what validation cases teach."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from managers.inference.postprocessing import (
    Postprocessing,
    common_rule,
    postprocess,
    read_rule,
    write_rule,
)
from managers.inference.tuning import Tuning

NAMES = ("background", "liver", "tumour")
MM3 = 0.001  # ml


def line(*classes):
    """A label map of one row of voxels."""
    return np.array(classes, np.uint8).reshape(-1, 1, 1)


@pytest.mark.parametrize(("rule", "cleaned"), [
    (Postprocessing(), (1, 1, 0, 1, 2, 0, 2, 2, 2)),
    (Postprocessing(("liver",)), (1, 1, 0, 0, 2, 0, 2, 2, 2)),
    (Postprocessing(("liver", "tumour")), (1, 1, 0, 0, 0, 0, 2, 2, 2)),
    (Postprocessing((), 0.002), (1, 1, 0, 0, 0, 0, 2, 2, 2)),       # 2 voxels of 1 mm3
    (Postprocessing((), 0.0025), (0, 0, 0, 0, 0, 0, 2, 2, 2)),
    (Postprocessing(("liver",), 0.0025), (0, 0, 0, 0, 0, 0, 2, 2, 2)),
    (Postprocessing(("tumour",), 1.0), (0,) * 9)])
def test_by_hand(rule, cleaned):
    label_map = line(1, 1, 0, 1, 2, 0, 2, 2, 2)
    before = label_map.copy()
    assert postprocess(label_map, rule, NAMES, MM3).tolist() == line(*cleaned).tolist()
    assert (label_map == before).all()  # the input stays


def test_voxels_that_touch_at_a_corner_are_one_component():
    label_map = np.zeros((4, 4, 4), np.uint8)
    label_map[0, 0, 0] = label_map[1, 1, 1] = label_map[3, 3, 3] = 1
    cleaned = postprocess(label_map, Postprocessing(("liver",)), NAMES, MM3)
    assert np.argwhere(cleaned).tolist() == [[0, 0, 0], [1, 1, 1]]


def test_volume_counts_in_millilitres():
    label_map = line(1, 0, 1, 1)
    rule = Postprocessing((), 1.0)
    kept = postprocess(label_map, rule, NAMES, 0.5)
    assert kept.reshape(-1).tolist() == [0, 0, 1, 1]


MAPS = arrays(np.uint8, (4, 3, 3), elements=st.integers(0, 2))
RULES = st.builds(Postprocessing, st.lists(st.sampled_from(NAMES[1:]), unique=True).map(tuple),
                  st.sampled_from([0.0, 0.002, 0.004]))


@given(MAPS, RULES)
def test_only_removes_and_only_once(label_map, rule):
    cleaned = postprocess(label_map, rule, NAMES, MM3)
    assert ((cleaned == label_map) | (cleaned == 0)).all()
    assert (postprocess(cleaned, rule, NAMES, MM3) == cleaned).all()
    if not rule:
        assert (cleaned == label_map).all()


def test_tuning_keeps_what_raises_the_mean_dice():
    tuning = Tuning(NAMES)
    label = line(1, 1, 1, 0, 0, 0, 2, 0, 2, 2)
    speck = line(1, 1, 1, 0, 1, 0, 2, 0, 2, 2)  # liver has a speck; tumour is two components
    tuning.add(speck, label, 0.1)  # ml a voxel
    tuning.add(label, label, 0.1)
    chosen = tuning.choose()
    assert chosen.keep_largest == ("liver",)
    # 0.3 ml would remove tumour's single voxel too: 0.86 -> 0.8 there, more than the speck gives
    assert chosen.min_volume_ml == 0.0
    lines = {(row["rule"], row["class"]): row for row in tuning.tried()}
    kept = lines["keep_largest liver", "liver"]
    assert kept["without"] == pytest.approx((6 / 7 + 1) / 2) and kept["dice"] == 1.0
    assert lines["keep_largest tumour", "tumour"]["dice"] == pytest.approx(0.8)


def test_tuning_learns_a_volume():
    tuning = Tuning(NAMES[:2])
    tuning.add(line(1, 1, 1, 0, 1), line(1, 1, 1, 0, 0), 0.1)
    assert tuning.choose() == Postprocessing(("liver",), 0.3)  # specks of 0.1 ml go, 0.3 ml stay


def test_no_case_teaches_nothing():
    with pytest.raises(ValueError, match="no case"):
        Tuning(NAMES).choose()


def test_kept_in_a_run_folder(tmp_path):
    with pytest.raises(ValueError, match="--tune_postprocessing"):
        read_rule(tmp_path)
    rule = Postprocessing(("liver",), 0.1)
    path = write_rule(tmp_path, rule, {"cases": 3})
    assert read_rule(tmp_path) == rule
    path.write_text('{"keep_largest": "liver", "min_volume_ml": 0}')
    with pytest.raises(ValueError, match="is damaged"):
        read_rule(tmp_path)


def test_an_ensemble_does_what_all_have_learnt():
    rules = [Postprocessing(("liver", "tumour"), 0.3), Postprocessing(("liver",), 0.1)]
    assert common_rule(rules) == Postprocessing(("liver",), 0.1)
