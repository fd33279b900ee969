"""NIfTI volumes of any orientation, as (rows, cols, slices)."""

import nibabel
import numpy as np
import pytest
from nibabel import orientations

from data.preparation.ct_volumes import NiftiVolume, find_nifti

AFFINE = np.array([[0, -0.7, 0, 3], [-0.8, 0, 0, 4], [0, 0, -5, 5], [0, 0, 0, 1.0]])  # P, L, I


def turned(volume, axcodes):
    """A volume and AFFINE stored with other axes."""
    turn = orientations.ornt_transform(orientations.axcodes2ornt("PLI"),
                                       orientations.axcodes2ornt(axcodes))
    affine = AFFINE @ orientations.inv_ornt_aff(turn, volume.shape)
    return orientations.apply_orientation(volume, turn), affine


@pytest.mark.parametrize("axcodes", ["PLI", "RAS", "LPS", "SAR", "IRP", "ALS"])
def test_every_orientation_reads_the_same(tmp_path, save, axcodes):
    volume = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 6)).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", *turned(volume, axcodes))
    source = NiftiVolume("a", (path,))
    shape, spacing_mm = source.grid()
    values, affine = source.read()
    assert shape == (4, 5, 6) and np.allclose(spacing_mm, (0.8, 0.7, 5))
    assert (values == volume).all()
    assert np.allclose(affine, AFFINE, atol=1e-5)


def test_scaling_of_the_file_and_one_volume_in_four_axes(tmp_path):
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1), AFFINE)
    image.header.set_slope_inter(2, -1024)
    nibabel.save(image, tmp_path / "a.nii")
    values, _ = NiftiVolume("a", (tmp_path / "a.nii",)).read()
    assert values.shape == (2, 3, 4)
    assert (values == 2 * np.arange(24).reshape(2, 3, 4) - 1024).all()


@pytest.mark.parametrize(("array", "affine", "words"), [
    (np.zeros((4, 4, 4, 2), np.int16), AFFINE, "not that of one volume"),
    (np.zeros((4, 4), np.int16), AFFINE, "not that of one volume"),
    (np.full((2, 2, 2), np.nan, np.float32), AFFINE, "8 voxels are NaN"),
    (np.full((2, 2, 2), np.inf, np.float32), AFFINE, "8 voxels are NaN or infinite"),
    (np.zeros((2, 2, 2), np.complex64), AFFINE, "complex64"),
])
def test_what_is_no_volume_is_refused_by_name(tmp_path, save, array, affine, words):
    path = save(tmp_path / "a.nii.gz", array, affine)
    with pytest.raises(ValueError, match=words) as raised:
        NiftiVolume("a", (path,)).read()
    assert str(path) in str(raised.value)


def test_an_affine_of_no_grid_is_refused(tmp_path, save):
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.int16))
    data = bytearray(path.read_bytes())
    data[280:328] = bytes(48)  # srow_x, srow_y, srow_z
    path.write_bytes(data)
    with pytest.raises(ValueError, match="not that of a grid"):
        NiftiVolume("a", (path,)).grid()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_damaged_files_are_refused_by_name(tmp_path, save, suffix):
    noise = np.random.default_rng(0).normal(size=(8, 8, 8))
    path = save(tmp_path / f"a{suffix}", noise)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cannot be read"):
        NiftiVolume("a", (path,)).read()
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="cannot be read"):
        NiftiVolume("a", (path,)).grid()


def test_nested_files_are_found_and_label_maps_left_out(tmp_path):
    for name in ("b.nii", "imagesTr/a 1.nii.gz", "imagesTr/.hidden.nii.gz", "imagesTr/notes.txt",
                 "imagesTr/a_label.nii.gz", "labelsTr/a 1.nii.gz", ".cache/c.nii.gz",
                 "imagesTr/a_seg.nii.gz", "segmentation-0.nii", "case_7/segmentation.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    volumes, num_labels = find_nifti(tmp_path)
    assert {one.name: one.files for one in volumes} == {
        "b": (tmp_path / "b.nii",), "imagesTr_a_1": (tmp_path / "imagesTr" / "a 1.nii.gz",)}
    assert num_labels == 5


def test_two_volumes_of_one_name_and_none_at_all_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no NIfTI volumes"):
        find_nifti(tmp_path)
    (tmp_path / "a_b.nii").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.nii.gz").touch()
    with pytest.raises(ValueError, match="would share a name") as raised:
        find_nifti(tmp_path)
    assert str(tmp_path / "a" / "b.nii.gz") in str(raised.value)
