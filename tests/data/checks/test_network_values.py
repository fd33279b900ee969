"""Images are judged as the network is given them, not as the file has them."""

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data import DATASETS, DataError, load_volumes, stream_volumes
from data.checks.network_values import judge_image, scaled
from data.checks.verification import case_findings
from data.views.tile_list import read_tile
from data.volumes.prepared import image_volume
from data.volumes.transforms import intensity_steps

ROOT = Path(__file__).resolve().parents[3]
SHAPE = (12, 11, 10)
ZSCORE = DATASETS["mmwhs-mr"]
SCHEMES = {scheme: replace(ZSCORE, intensity=scheme, spacing_mm=None)
           for scheme in ("none", "zscore", "minmax", "ct", "hu")}


def tissue(kind=np.float32):
    return np.random.default_rng(0).normal(100, 10, SHAPE).astype(kind)


def with_slab(value, kind=np.float32):
    """Tissue, with a slab of one value as filters leave it outside of the field of view."""
    image = tissue(kind)
    image[:3] = value
    return image


@pytest.mark.parametrize("scheme", list(SCHEMES))
@pytest.mark.parametrize("image", [
    tissue(), with_slab(-3000), with_slab(0), with_slab(1e10), with_slab(-3.4028235e38)],
    ids=range(5))
def test_the_schemes_are_those_of_the_preprocessing(scheme, image):
    image = image.astype(np.float32)
    expected = image[None].copy()
    with np.errstate(all="ignore"):
        for step in intensity_steps(SCHEMES[scheme]):
            expected = step({"image": expected})["image"]
    found = scaled(image, SCHEMES[scheme])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.asarray(expected)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scheme", list(SCHEMES))
@pytest.mark.parametrize("value", [0, 7, 1e6 / 3])
def test_a_constant_stays_one(scheme, value):
    assert np.ptp(scaled(np.full(SHAPE, value, np.float32), SCHEMES[scheme])) == 0


def test_looking_at_files_loads_neither_torch_nor_monai():
    """Each process of verify_dataset.py would take seconds to import them."""
    code = ("import sys, data.checks.verify_report, data.preparation.job;"
            "sys.exit(bool({'torch', 'monai'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def judged(image, scheme):
    errors, doubts = judge_image(image[None].astype(np.float32), SCHEMES[scheme])
    return [found for found, _ in errors], [found for found, _ in doubts]


@pytest.mark.parametrize("scheme", ["none", "zscore", "minmax"])
@pytest.mark.parametrize("value", [-3.4028235e38, 1e30, -1e20, 1e10])
def test_values_that_leave_nothing_of_the_others_are_errors(scheme, value):
    (found,), _ = judged(with_slab(value), scheme)
    assert f"{value:.4g}" in found


def test_one_such_voxel_is_enough():
    image = tissue()
    image[5, 5, 5] = 1e25
    (found,), _ = judged(image, "zscore")
    assert "1e+25" in found


def test_a_window_clips_what_is_too_large():
    assert judged(with_slab(-3.4028235e38), "ct") == ([], [])


@pytest.mark.parametrize("scheme", list(SCHEMES))
@pytest.mark.parametrize("image", [
    tissue(), tissue().round(), with_slab(-3000), with_slab(0), with_slab(0) * (tissue() > 115),
    (tissue() > 100) * 1.0 + (tissue() > 110)], ids=["float", "whole", "air", "zero", "sparse",
                                                     "few values"])
def test_ordinary_images_pass(scheme, image):
    assert judged(np.asarray(image) + 20 * (scheme == "ct"), scheme) == ([], [])


def test_an_outlier_that_leaves_little_of_the_others_is_a_warning():
    image = tissue()
    image[0, 0, 0] = 1e6
    errors, (found,) = judged(image, "zscore")
    assert not errors and "1e+06" in found and "of the range" in found


@pytest.mark.parametrize(("image", "scheme", "said"), [
    (np.full(SHAPE, 7), "minmax", "every voxel is 7"),
    (tissue() + 2000, "ct", "constant after the intensity scheme ct"),
    (100.0 * (tissue() > 100), "zscore", "constant after the intensity scheme zscore"),
    (1e-9 * tissue(), "none", "constant after the intensity scheme none"),
])
def test_images_that_the_scheme_makes_constant_are_errors(image, scheme, said):
    (found,), _ = judged(image, scheme)
    assert said in found


def test_tiny_numbers_pass_where_they_are_scaled():
    assert judged(1e-9 * tissue(), "zscore") == ([], [])


def test_a_constant_channel_among_others_is_a_warning():
    brats = DATASETS["msd-brats"]
    image = np.stack([tissue(), tissue(), np.zeros(SHAPE, np.float32), tissue()])
    errors, ((found, _),) = judge_image(image, brats)
    assert not errors and found == "channel T1gd: every voxel is 0"
    assert len(judge_image(np.zeros_like(image), brats)[0]) == 4


def case_of(write_case, image):
    label = np.zeros(SHAPE, np.uint8)
    label[4:6, 4:6, 4:6] = 205
    return write_case(image, label.astype(np.int16))


@pytest.mark.parametrize(("image", "said"), [
    (with_slab(1e39, np.float64), "1e+39"), (with_slab(-3.4028235e38), "not finite"),
    (np.full(SHAPE, 3.0), "constant (0)")])
def test_whoever_reads_a_volume_names_the_case(image, said, write_case):
    case = case_of(write_case, image)
    for read in (lambda: load_volumes([case], ZSCORE), lambda: image_volume(case, ZSCORE),
                 lambda: list(stream_volumes([case], ZSCORE))):
        with pytest.raises(DataError, match="case_1: ") as refused:
            read()
        assert said in str(refused.value)


def test_verification_says_it_first_and_once(write_case):
    case = case_of(write_case, with_slab(1e39, np.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as of the cast
        errors = case_findings(case, ZSCORE).errors
    (line,) = map(str, errors)
    assert "case_1" in line and "330 voxels are not finite in float32" in line and "1e+39" in line


def test_a_tile_that_is_not_finite_is_not_trained_on(save, tmp_path):
    tile = np.zeros((4, 4, 3), np.float32)
    tile[1, 1, 1] = np.nan
    with pytest.raises(RuntimeError, match="a.nii: 1 voxels are NaN"):
        read_tile(save(tmp_path / "a.nii", tile))
