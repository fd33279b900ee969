"""An image in one file or in several is one image; channels apart are told with both grids."""

import dataclasses

import numpy as np
import pytest

from data import Case, dataset_from_definition, load_volumes
from data.checks.verification import case_findings, twins
from data.nifti.images import read_volume
from data.nifti.native_files import image_grid

TWO = dataset_from_definition({"name": "Mine", "channels": ["T1", "T2"], "cases": None,
                               "labels": {"0": "background", "1": "lesion"}})
AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
SHAPE = (9, 8, 7)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, *SHAPE)).astype(np.float32), rng.integers(0, 2, SHAPE, np.uint8)


@pytest.fixture
def split(save, tmp_path, arrays):
    """A case of two channels in two files."""
    (first, second), label = arrays
    return Case("a", save(tmp_path / "i/a_0000.nii.gz", first, AFFINE),
                save(tmp_path / "l/a.nii.gz", label, AFFINE),
                more_channels=(save(tmp_path / "i/a_0001.nii.gz", second, AFFINE),))


def test_two_files_are_the_volume_that_one_file_is(split, save, tmp_path, arrays):
    images, _ = arrays
    joined = dataclasses.replace(split, more_channels=(), image=save(
        tmp_path / "joined.nii.gz", np.moveaxis(images, 0, 3), AFFINE))
    for case in (split, joined):
        found = case_findings(case, TWO)
        assert (found.errors, found.warnings) == ([], [])
        assert image_grid(case, 2).shape == SHAPE
    (one,), (other,) = (load_volumes([case], TWO) for case in (split, joined))
    assert one["image"].equal(other["image"]) and one["image"].shape == (2, *SHAPE)
    voxels, affine = read_volume(split.images, 2)
    assert np.array_equal(voxels, images) and np.array_equal(affine, AFFINE)
    with pytest.raises(ValueError, match="2 files do not make a volume of 3 channel"):
        read_volume(split.images, 3)


@pytest.mark.parametrize(("shape", "change", "words"), [
    ((9, 8, 6), np.eye(4), "9 x 8 x 6 voxels of 1 x 1.5 x 2 mm"),
    (SHAPE, np.diag([1, 1, 1.25, 1]), "voxels of 1 x 1.5 x 2.5 mm, axes RAS"),
    (SHAPE, np.diag([-1, 1, 1, 1]), "axes LAS"),
    (SHAPE, np.array([[1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
     "first voxel at 3 x 0 x 0 mm")])
def test_a_channel_on_another_grid_is_told_with_both(split, save, shape, change, words):
    save(split.more_channels[0], np.random.default_rng(1).normal(size=shape), change @ AFFINE)
    error, = map(str, case_findings(split, TWO).errors)
    assert error.startswith("  a: ") and "a_0001.nii.gz: channel T2 lies on another grid, " in error
    assert words in error
    assert ("than channel T1, 9 x 8 x 7 voxels of 1 x 1.5 x 2 mm, axes RAS, first voxel at "
            "0 x 0 x 0 mm; resample it to the grid of a_0000.nii.gz") in error


def test_rounding_of_a_header_is_no_other_grid(split, save, arrays):
    save(split.more_channels[0], arrays[0][1], AFFINE + 1e-3)
    assert case_findings(split, TWO).errors == []


def test_every_file_s_fault_is_told_at_once(split, save):
    split.image.write_bytes(split.image.read_bytes()[:-40])
    save(split.more_channels[0], np.full(SHAPE, np.nan, np.float32), AFFINE)
    save(split.label, np.full(SHAPE, 3, np.uint8), AFFINE)
    first, second, third = map(str, case_findings(split, TWO).errors)
    assert "a_0000.nii.gz: cannot be read" in first
    assert "a_0001.nii.gz: 504 voxels are NaN" in second
    assert "unexpected label values 3" in third


def test_a_file_of_a_channel_holds_one(split, save):
    save(split.more_channels[0], np.ones((*SHAPE, 2)), AFFINE)
    error, = case_findings(split, TWO).errors
    assert "has shape (9, 8, 7, 2); expected a volume of 1 channel" in str(error)


def test_twins_have_all_their_channels_alike(split, save, tmp_path, arrays):
    copy = dataclasses.replace(split, case_id="b", image=save(
        tmp_path / "i/b_0000.nii.gz", arrays[0][0], AFFINE))
    other = dataclasses.replace(copy, case_id="c", more_channels=(save(
        tmp_path / "i/c_0001.nii.gz", arrays[0][0], AFFINE),))
    found = [case_findings(case, TWO) for case in (split, copy, other)]
    assert [[case.case_id for case in group] for group in twins(found)] == [["a", "b"]]
