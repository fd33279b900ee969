"""What preprocessing does to values: classes, Hounsfield window, z-score, types and keys."""

import numpy as np
import pytest
import torch

from data import DATASETS, preprocessing
from data.volumes.transforms import case_files

GRID = np.diag([1.5, 1.5, 2.0, 1.0])  # already RAS and at the published spacing
SHAPE = (8, 8, 8)


def blocks(*values):
    """A volume of equal slabs along the first axis, one for each value."""
    return np.repeat(np.array(values, np.float32), 8 // len(values))[:, None, None] * np.ones(SHAPE)


def heart_label(*values):
    label = np.zeros(SHAPE, np.int16)
    label.flat[:len(values)] = values
    return label


def processed(dataset, case):
    """The volume of one case."""
    return preprocessing(DATASETS[dataset])(case_files(case))


def slabs(volume, number):
    """The value of each slab, which must be constant."""
    parts = volume["image"][0].reshape(number, -1)
    assert (parts.max(1).values - parts.min(1).values).abs().max() < 1e-5
    return parts[:, 0].tolist()


def test_ct_is_windowed_and_scored_over_what_is_not_air(write_case):
    # [-175, 250] HU -> [0, 1]: -1000 -> 0 (air), 37.5 -> 0.5, 250 -> 1, 3000 -> 1.
    # Not zero: 0.5, 1, 1; mean 5/6, standard deviation sqrt(1/18).
    case = write_case(blocks(-1000, 37.5, 250, 3000), heart_label(205), GRID)
    deviation = (1 / 18) ** 0.5
    assert slabs(processed("mmwhs-ct", case), 4) == pytest.approx(
        [0, (0.5 - 5 / 6) / deviation, (1 / 6) / deviation, (1 / 6) / deviation], abs=1e-5)


def test_the_window_runs_from_minus_175_to_250_hu(write_case):
    case = write_case(blocks(-176, -174, 249, 251), heart_label(205), GRID)
    # -> 0 (air), 1/425, 424/425, 1; then the z-score of the last three.
    inside = np.array([1, 424, 425]) / 425
    assert slabs(processed("mmwhs-ct", case), 4) == pytest.approx(
        [0, *((inside - inside.mean()) / inside.std())], abs=1e-4)


def test_mr_has_no_window(write_case):
    # Not zero: 100, 300, 1100; mean 500, variance (16 + 4 + 36) * 1e4 / 3.
    case = write_case(blocks(0, 100, 300, 1100), heart_label(205), GRID)
    deviation = (56e4 / 3) ** 0.5
    assert slabs(processed("mmwhs-mr", case), 4) == pytest.approx(
        [0, -400 / deviation, -200 / deviation, 600 / deviation], abs=1e-5)


def test_hippocampus_is_scaled_to_one(write_case):
    case = write_case(blocks(200, 300, 500, 600), np.ones(SHAPE, np.uint8))
    assert slabs(processed("hippocampus", case), 4) == pytest.approx([0, 0.25, 0.75, 1])


def test_heart_labels_become_classes(write_case):
    values = [0, 205, 420, 500, 550, 600, 820, 850, 421]
    volume = processed("mmwhs-ct", write_case(blocks(0, 1), heart_label(*values), GRID))
    assert volume["label"].flatten()[:10].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 0]


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64, np.int32])
def test_hippocampus_labels_of_any_type_stay(kind, write_case):
    label = (np.arange(512) % 3).reshape(SHAPE)
    volume = processed("hippocampus", write_case(blocks(0, 1), label.astype(kind)))
    np.testing.assert_array_equal(volume["label"][0].numpy(), label)


def test_float_heart_labels_become_classes(write_case):
    label = heart_label(850, 205).astype(np.float32)
    volume = processed("mmwhs-mr", write_case(blocks(0, 1), label, GRID))
    assert volume["label"].flatten()[:3].tolist() == [7, 1, 0]


@pytest.mark.parametrize("dataset", ["mmwhs-ct", "mmwhs-mr", "hippocampus"])
def test_volumes_are_plain_tensors_of_the_stated_types(dataset, write_case):
    label = heart_label(205) if dataset != "hippocampus" else np.ones(SHAPE, np.uint8)
    volume = processed(dataset, write_case(blocks(0, 1).astype(np.int16), label, GRID))
    assert set(volume) == {"image", "label", "affine", "spacing_mm", "case_id"}
    assert volume["case_id"] == "case_1"
    for name, dtype, shape in [
            ("image", torch.float32, (1, *SHAPE)), ("label", torch.uint8, (1, *SHAPE)),
            ("affine", torch.float64, (4, 4)), ("spacing_mm", torch.float64, (3,))]:
        assert type(volume[name]) is torch.Tensor, name
        assert (volume[name].dtype, tuple(volume[name].shape)) == (dtype, shape), name
        assert volume[name].is_contiguous(), name


def test_a_channel_axis_in_the_file_is_the_channel(write_case):
    image = blocks(0, 1, 2, 3)
    volumes = [processed("mmwhs-mr", write_case(array, heart_label(205), GRID))
               for array in (image, image[..., None])]
    assert torch.equal(volumes[0]["image"], volumes[1]["image"])


@pytest.mark.parametrize("dataset", list(DATASETS))
def test_phantoms_keep_their_classes(dataset, phantoms):
    description = DATASETS[dataset]
    case = description.find_cases(phantoms(dataset, 2, (32, 32, 28)))[0][0]
    volume = processed(dataset, case)
    assert set(volume["label"].unique().tolist()) == set(range(description.num_classes))
    assert torch.isfinite(volume["image"]).all()
