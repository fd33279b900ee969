"""Channels first or last: one phantom in both layouts of msd-brats is one volume."""

import dataclasses

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data import DATASETS, Case, find_cases, load_volumes, preprocessing, verify_cases
from data.nifti.images import channel_axis, read_volume, spatial_grid
from data.volumes.transforms import case_files

BRATS = DATASETS["msd-brats"]
SIZE = (20, 18, 16)
# Oblique to nothing, but no two axes alike, so a mistaken axis shows.
AFFINE = np.array([[0, 0, 1.5, 7], [-0.8, 0, 0, 5], [0, 1.1, 0, -3], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def decathlon(phantoms):
    """DATA of two phantoms in the Decathlon's layout."""
    return phantoms("msd-brats", 2, SIZE)


@pytest.fixture(scope="module")
def authors(decathlon, tmp_path_factory):
    """The same two, re-saved channel first as the authors' loader wants them."""
    root = tmp_path_factory.mktemp("authors")
    for source, target in (("imagesTr", "Images.Training"), ("labelsTr", "Labels.Training")):
        (root / target).mkdir()
        for path in sorted((decathlon / "Task01_BrainTumour" / source).iterdir()):
            file = nibabel.load(path)
            array = np.asarray(file.dataobj)
            array = array[None] if array.ndim == 3 else np.moveaxis(array, 3, 0)
            nibabel.save(nibabel.Nifti1Image(array, file.affine), root / target / path.name)
    return root


def test_both_layouts_hold_the_same_volumes(decathlon, authors):
    loaded = []
    for folder in (decathlon, authors, decathlon / "Task01_BrainTumour"):
        cases, problems = BRATS.find_cases(folder)
        assert problems == [] and [case.case_id for case in cases] == ["BRATS_001", "BRATS_002"]
        verify_cases(cases, BRATS)
        loaded.append(load_volumes(cases, BRATS))
    for volumes in zip(*loaded, strict=True):
        for name in ("image", "label", "affine", "spacing_mm"):
            assert all(torch.equal(volumes[0][name], other[name]) for other in volumes[1:]), name
    volume = loaded[1][0]
    assert volume["image"].shape == (4, *SIZE) and volume["label"].shape == (1, *SIZE)
    assert volume["label"].unique().tolist() == [0, 1, 2, 3]
    assert nibabel.aff2axcodes(volume["affine"].numpy()) == ("R", "A", "S")


def test_each_channel_is_scored_over_its_brain(decathlon):
    volume = load_volumes(BRATS.find_cases(decathlon)[0][:1], BRATS)[0]
    for channel in volume["image"]:
        brain = channel[channel != 0]
        assert 0 < brain.numel() < channel.numel()
        assert float(brain.mean()) == pytest.approx(0, abs=1e-4)
        assert float(brain.std(correction=0)) == pytest.approx(1, abs=1e-3)


def both_files(save, folder, shape=(9, 8, 7), affine=AFFINE):
    """A 4-channel case in both layouts."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(*shape, 4)).astype(np.float32)
    label = rng.integers(0, 4, shape).astype(np.uint8)
    last = Case("a", save(folder / "last/image.nii.gz", image, affine),
                save(folder / "last/label.nii.gz", label, affine))
    first = Case("a", save(folder / "first/image.nii.gz", np.moveaxis(image, 3, 0), affine),
                 save(folder / "first/label.nii.gz", label[None], affine), channel_first=True)
    return last, first


@pytest.mark.parametrize("spacing_mm", [None, (1.5, 1.5, 2.0)])
def test_resampling_and_reorientation_see_the_spatial_axes(spacing_mm, save, tmp_path):
    dataset = dataclasses.replace(BRATS, spacing_mm=spacing_mm)
    cases = both_files(save, tmp_path)
    for case in cases:
        verify_cases([case], dataset)
    last, first = (preprocessing(dataset)(case_files(case)) for case in cases)
    for name in ("image", "label", "affine", "spacing_mm"):
        assert torch.equal(last[name], first[name]), name
    # File axis 0 runs to the patient's back, 1 upwards, 2 to the right; spacing is by file axis.
    expected = [1.5, 0.8, 1.1] if spacing_mm is None else [2.0, 1.5, 1.5]
    assert first["spacing_mm"].tolist() == pytest.approx(expected)


def test_the_voxel_sizes_of_a_header_may_be_those_of_other_axes(save, tmp_path):
    """Tools write a channel-first file's voxel sizes as (channel, x, y, z); the affine rules."""
    case = both_files(save, tmp_path)[1]
    file = nibabel.load(case.image)
    file.header.set_zooms((9.0, 0.8, 1.1, 1.5))
    nibabel.save(file, case.image)
    assert np.allclose(nibabel.load(case.image).affine, AFFINE)
    assert np.allclose(read_volume(case.image, 4, True)[1], AFFINE)
    verify_cases([case], BRATS)
    assert preprocessing(BRATS)(case_files(case))["spacing_mm"].tolist() == pytest.approx(
        [1.5, 0.8, 1.1])


def test_a_header_without_an_affine_gives_one_grid_in_both_layouts():
    array = np.zeros((9, 8, 7, 4), np.float32)
    last, first = nibabel.Nifti1Image(array, None), nibabel.Nifti1Image(
        np.moveaxis(array, 3, 0), None)
    last.header.set_zooms((0.8, 1.1, 1.5, 1))
    first.header.set_zooms((1, 0.8, 1.1, 1.5))
    # A saved file has no affine but the one that its header gives.
    last, first = (nibabel.Nifti1Image.from_bytes(file.to_bytes()) for file in (last, first))
    shapes, affines = zip(*(spatial_grid(file, axis) for file, axis in ((last, 3), (first, 0))),
                          strict=True)
    assert shapes[0] == shapes[1] == (9, 8, 7)
    np.testing.assert_allclose(*affines)


@pytest.mark.parametrize(("shape", "channels", "first", "axis"), [
    ((9, 8, 7), 1, False, None), ((9, 8, 7, 1), 1, False, 3), ((1, 9, 8, 7), 1, False, 0),
    ((9, 8, 7, 4), 4, False, 3), ((4, 9, 8, 7), 4, False, 0), ((9, 8, 7, 4), 4, True, 3),
    ((4, 9, 8, 4), 4, False, 3), ((4, 9, 8, 4), 4, True, 0), ((1, 9, 8, 1), 1, True, 0)])
def test_the_axis_as_long_as_there_are_channels_holds_them(shape, channels, first, axis):
    assert channel_axis(shape, channels, first) == axis


@pytest.mark.parametrize(("shape", "channels"), [
    ((9, 8, 7), 4), ((9, 8, 7, 3), 4), ((9, 4, 8, 7), 4), ((9, 8), 1), ((9, 8, 7, 1, 4), 4)])
def test_other_shapes_are_refused(shape, channels):
    with pytest.raises(ValueError, match=rf"shape .* no volume of {channels} channel"):
        channel_axis(shape, channels)


@given(st.tuples(*[st.integers(2, 30)] * 3), st.integers(2, 30), st.booleans())
def test_the_rule_of_the_layout_always_finds_its_own_files(shape, channels, first):
    stored = (channels, *shape) if first else (*shape, channels)
    assert channel_axis(stored, channels, first) == (0 if first else 3)


def test_layouts_say_where_open_channels_are(decathlon, authors):
    assert not any(case.channel_first for case in find_cases(decathlon, BRATS.layouts)[0])
    assert all(case.channel_first for case in find_cases(authors, BRATS.layouts)[0])


def test_a_label_of_another_grid_names_the_shapes(save, tmp_path, problems_of):
    case = both_files(save, tmp_path)[1]
    other = dataclasses.replace(case, label=save(tmp_path / "o.nii.gz", np.ones((1, 9, 8, 6))))
    line, = problems_of(other, dataset=BRATS)
    assert "shape (1, 9, 8, 6) differs from the image's (9, 8, 7)" in line


def test_one_channel_for_four_is_a_problem(save, tmp_path, problems_of):
    case = both_files(save, tmp_path)[0]
    other = dataclasses.replace(case, image=save(tmp_path / "o.nii.gz", np.ones((9, 8, 7))))
    line, = problems_of(other, dataset=BRATS)
    assert "has shape (9, 8, 7)" in line and "4 channel(s)" in line
