"""A volume that resampling would make gigabytes of is refused before that."""

from dataclasses import replace

import numpy as np
import pytest

from data import DATASETS
from data.checks.resampled_size import resampled_shape, size_fault
from data.checks.verification import case_findings
from data.preparation.steps import prepare

HEART, SHAPE = DATASETS["mmwhs-ct"], (24, 22, 20)


@pytest.mark.parametrize(("shape", "new_shape", "channels"), [
    ((512, 512, 2000), (512, 512, 2000), 1), ((240, 240, 155), (240, 240, 155), 4),
    ((512, 512, 100), (400, 400, 500), 1), ((8, 8, 8), (200, 200, 200), 1)])
def test_ordinary_sizes_pass(shape, new_shape, channels):
    assert size_fault(shape, new_shape, channels) is None


@pytest.mark.parametrize(("shape", "new_shape", "channels", "words"), [
    ((24, 24, 24), (6400, 6400, 6400), 1, "become 6400 x 6400 x 6400 when resampled, 977 GiB"),
    ((24, 24, 24), (640, 640, 640), 1, "0.977 GiB"),  # of 40 mm, which is no volume either
    ((1024, 1024, 600), (1024, 1024, 600), 4, "has 1024 x 1024 x 600 voxels, 9.38 GiB")])
def test_sizes_that_cannot_be_worked_with(shape, new_shape, channels, words):
    assert words in size_fault(shape, new_shape, channels)


def test_the_shape_is_that_of_the_grid_or_a_voxel_more():
    assert resampled_shape((10, 10, 10), (1.5, 3, 4), (1.5, 1.5, 1.5)) == (10, 20, 27)
    assert resampled_shape((10, 11, 12), (1.5, 3, 4), None) == (10, 11, 12)


def written(write_case, voxel_mm):
    label = np.zeros(SHAPE, np.int16)
    label[8:12, 8:12, 8:12] = 205
    image = np.random.default_rng(0).integers(-1000, 200, SHAPE).astype(np.int16)
    return write_case(image, label, np.diag([voxel_mm] * 3 + [1]))


def test_the_case_is_named_with_size_and_cause(write_case):
    case = written(write_case, 400)
    (line,) = map(str, case_findings(case, HEART).errors)
    assert "case_1" in line and "6400 x 5867 x 4000" in line
    assert "its voxels are 400 x 400 x 400 mm" in line and "--spacing" in line
    assert case_findings(case, replace(HEART, spacing_mm=None)).errors == []
    assert case_findings(case, replace(HEART, spacing_mm=(200.0, 200.0, 200.0))).errors == []


def test_a_case_of_1_mm_passes(write_case):
    assert case_findings(written(write_case, 1), HEART).errors == []


def test_preprocessing_refuses_it_too(write_case, tmp_path):
    written(write_case, 400)
    result = prepare("all", tmp_path / "images", tmp_path / "out", progress=False)
    assert "GiB in float32" in result.failed["case_1"] and not result.tiles
