"""Pictures judged by the pixels of their outlines."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from reports import (
    case_picture,
    case_planes,
    grey_window,
    pretraining_picture,
    progress_picture,
)
from reports.canvas import PALETTE

SHAPE = (30, 30, 30)
NAMES = ["first", "second"]
# with one legend line the panels lie between these rows, below the title, above the legend
TOP, BOTTOM = 60, 1240
HEADER = b"\x89PNG\r\n\x1a\n"


def _pixels(path):
    return np.rint(imread(path)[..., :3] * 255).astype(int)


def _where(pixels, colour):
    """Rows and columns of the panel pixels within a whisker of a palette colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    near = np.abs(pixels - wanted).max(axis=-1) <= 6
    rows, columns = np.nonzero(near[TOP:BOTTOM])
    return rows + TOP, columns


def _draw(tmp_path, label, prediction=None, image=None, spacing_mm=(1, 1, 1), names=NAMES):
    path = tmp_path / "case.png"
    prediction = np.zeros_like(label) if prediction is None else prediction
    image = np.zeros(label.shape) if image is None else image
    planes = case_planes(image, label, prediction, spacing_mm, grey_window(image))
    case_picture(path, planes, names, "case_1  Dice 0.5")
    assert path.read_bytes().startswith(HEADER)
    assert path.stat().st_size < 600_000
    pixels = _pixels(path)
    assert pixels.shape == (1300, 1000, 3)
    return pixels


def _box(*slices, value=1, shape=SHAPE):
    label_map = np.zeros(shape, dtype=np.uint8)
    label_map[slices] = value
    return label_map


def _middle(positions):
    return (positions.min() + positions.max()) / 2


def _panels(rows, columns):
    """Split outline pixels from top to bottom: axial, coronal, sagittal."""
    order = np.argsort(rows)
    rows, columns = rows[order], columns[order]
    # outlines of one small box lie much further apart than they are high
    cuts = np.nonzero(np.diff(rows) > 150)[0] + 1
    return list(zip(np.split(rows, cuts), np.split(columns, cuts), strict=True))


def test_label_is_outlined_left_and_an_empty_prediction_nowhere(tmp_path):
    pixels = _draw(tmp_path, _box(slice(10, 20), slice(10, 20), slice(10, 20)))
    _, columns = _where(pixels, PALETTE[0])
    assert columns.size > 500
    assert columns.max() < 515
    assert _where(pixels, PALETTE[1])[0].size == 0


def test_each_class_has_its_colour_and_its_side(tmp_path):
    cube = (slice(10, 20),) * 3
    pixels = _draw(tmp_path, _box(*cube), prediction=_box(*cube, value=2))
    assert _where(pixels, PALETTE[0])[1].max() < 515 < _where(pixels, PALETTE[1])[1].min()


def test_patient_left_is_right_anterior_up_superior_up(tmp_path):
    # low x is patient left, high y anterior, high z superior
    label = _box(slice(2, 6), slice(22, 26), slice(23, 27))
    axial, coronal, sagittal = _panels(*_where(_draw(tmp_path, label), PALETTE[0]))
    whole = _box(slice(0, 30), slice(0, 30), slice(0, 30))
    # the border of a full volume gives the frames of the panels
    frames = _where(_draw(tmp_path, whole), PALETTE[0])
    middle_x = _middle(frames[1])
    side = frames[1].max() - frames[1].min()
    for panel in (axial, coronal):
        assert _middle(panel[1]) - middle_x == pytest.approx((15 - 4) / 30 * side, abs=4)
    assert middle_x - _middle(sagittal[1]) == pytest.approx((24 - 15) / 30 * side, abs=4)
    tops = frames[0].min() + np.arange(3) * (frames[0].max() - frames[0].min() - side) / 2
    up = [24, 25, 25]  # the box's centre along the upward axis: y, z, z
    for panel, top, centre in zip((axial, coronal, sagittal), tops, up, strict=True):
        assert _middle(panel[0]) - top == pytest.approx((30 - centre) / 30 * side, abs=4)


def test_spacing_gives_the_aspect(tmp_path):
    label = _box(slice(5, 15), slice(5, 15), slice(4, 8), shape=(20, 20, 12))
    pixels = _draw(tmp_path, label, spacing_mm=(1, 2, 3))
    sizes_mm = [(10, 20), (10, 12), (20, 12)]  # across, up
    ratios = [
        np.ptp(columns) / np.ptp(rows) for rows, columns in _panels(*_where(pixels, PALETTE[0]))
    ]
    assert ratios == pytest.approx([across / up for across, up in sizes_mm], rel=0.06)


def test_slices_follow_the_label_then_the_prediction(tmp_path):
    few, many = _box(3, 3, 3), _box(slice(18, 25), slice(18, 25), slice(18, 25))
    pixels = _draw(tmp_path, few, prediction=many)
    assert _where(pixels, PALETTE[0])[1].size > 0
    assert _where(pixels, PALETTE[0])[1].max() < 515
    pixels = _draw(tmp_path, np.zeros_like(few), prediction=many)
    assert _where(pixels, PALETTE[0])[1].min() > 515


@pytest.mark.parametrize("fill", [0.0, 7.5, np.nan])
def test_empty_maps_on_a_constant_image(tmp_path, fill):
    pixels = _draw(tmp_path, _box(0, 0, 0, value=0), image=np.full(SHAPE, fill))
    assert _where(pixels, PALETTE[0])[0].size == 0


def test_single_voxels_in_corners_are_seen_in_all_planes(tmp_path):
    panels = _panels(*_where(_draw(tmp_path, _box(0, 29, 0)), PALETTE[0]))
    assert len(panels) == 3


def test_single_slice_volume(tmp_path):
    label = _box(slice(2, 6), slice(2, 6), 0, shape=(8, 8, 1))
    assert _where(_draw(tmp_path, label), PALETTE[0])[0].size > 0


def test_window_ignores_outliers(tmp_path):
    ramp = np.broadcast_to(np.linspace(0, 1, 30)[:, None, None], SHAPE).copy()
    ramp[0, 0, 0] = 1e6
    grey = _draw(tmp_path, _box(0, 0, 0, value=0), image=ramp)[TOP:BOTTOM, 60:490]
    assert np.median(grey) > 60


def test_twenty_classes_and_a_named_background(tmp_path):
    label = _box(0, 0, 0, value=0)
    label[4:24, 10:20, 10:20] = np.arange(1, 21)[:, None, None]
    names = ["background", *(f"organ {k}" for k in range(1, 21))]
    pixels = _draw(tmp_path, label, names=names)
    assert len(set(PALETTE)) == 20
    for colour in PALETTE:
        assert _where(pixels, colour)[0].size > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction": np.zeros((2, 2, 2))}, "share one"),
        ({"spacing_mm": (1, 0, 1)}, "spacing_mm"),
        ({"label": np.full(SHAPE, 421)}, r"\[421\]"),
    ],
)
def test_wrong_input_is_named(tmp_path, change, message):
    empty = np.zeros(SHAPE, dtype=int)
    inputs = {"image": empty, "label": empty, "prediction": empty, "spacing_mm": (1, 1, 1)}
    with pytest.raises(ValueError, match=message):
        planes = case_planes(**(inputs | change), window=(0, 1))
        case_picture(tmp_path / "x.png", planes, class_names=NAMES, title="case")
    assert list(tmp_path.iterdir()) == []


def _progress(tmp_path, history):
    path = tmp_path / "run" / "progress.png"
    progress_picture(path, history)
    pixels = _pixels(path)
    assert pixels.shape == (1000, 1000, 3)
    return pixels


def test_progress_of_one_epoch_with_and_without_validation(tmp_path):
    row = {"epoch": 1, "seconds": 2.0, "lr": 1e-3, "loss": 2.0, "dice_ce_out": 1.0}
    bare = _progress(tmp_path, [row])
    validated = _progress(tmp_path, [row | {"val_dice": 0.5, "val_dice_first": 0.4}])
    assert (bare != validated).any()
    assert _progress(tmp_path, [{"epoch": 1}]).size


def test_progress_with_gaps_zeros_and_nan(tmp_path):
    history = [
        {"epoch": e, "seconds": 1, "lr": 0.1 / e, "loss": e - 1, "x": None} for e in range(1, 8)
    ]
    history[2]["loss"] = float("nan")
    history[3] |= {"val_dice": 0.6, "val_dice_first": np.float64(0.7), "note": "text"}
    _progress(tmp_path, history)


def _star_column(picture):
    """Mean column of the star's colour in the Dice panel, left of the legend."""
    panel = picture[400:700, 80:750, :3]
    return np.nonzero((panel == (0xD5, 0x5E, 0x00)).all(-1))[1].mean()


def test_the_star_stands_at_the_best_epoch(tmp_path):
    def history(*dice):
        return [{"epoch": e, "loss": 1.0, "val_dice": d} for e, d in enumerate(dice, start=1)]

    columns = [_star_column(_progress(tmp_path, history(*dice)))
               for dice in ((0.8, 0.2, 0.5), (0.2, 0.8, 0.5), (0.2, 0.5, 0.8))]
    assert columns[0] + 100 < columns[1] < columns[2] - 100


COLLAPSE = {"teacher_entropy": 7.1, "kl": 1.2, "target_information": 0.9, "feature_std": 0.013,
            "center_norm": 0.4}


def _pretraining(tmp_path, **changes):
    path = tmp_path / "progress.png"
    pretraining_picture(path, [
        {"epoch": epoch, "loss": 8.4 + 0.03 * epoch, "loss_ssl": 8.3, "lr": 0.1}
        | COLLAPSE | changes for epoch in (1, 2, 3)])
    return _pixels(path)


def test_no_text_leaves_the_picture_where_losses_hardly_differ(tmp_path):
    pixels = _pretraining(tmp_path)
    assert pixels.shape == (1000, 1000, 3)
    assert (pixels[:, :6] == 255).all() and (pixels[:, -4:] == 255).all()
    assert (pixels[:, 20:60] < 255).any()


@pytest.mark.parametrize("name", list(COLLAPSE))
def test_every_sign_of_collapse_is_drawn(tmp_path, name):
    panel = (slice(415, 690), slice(92, 748))  # without axes and legend
    assert (_pretraining(tmp_path)[panel] != _pretraining(tmp_path, **{name: None})[panel]).any()


def test_features_without_spread_are_drawn_too(tmp_path):
    _pretraining(tmp_path, feature_std=0.0)
    _pretraining(tmp_path, feature_std=0.0, center_norm=0.0)


def test_an_empty_history_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no epoch"):
        progress_picture(tmp_path / "progress.png", [])


def test_import_leaves_matplotlib_alone_and_drawing_leaves_pyplot_alone(tmp_path):
    code = (
        "import sys, reports; assert 'matplotlib' not in sys.modules;"
        f"reports.progress_picture({str(tmp_path / 'p.png')!r}, [dict(epoch=1, loss=1.0)]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
