"""Files written on the grid of another file."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension

from data import DATASETS, Case
from data.nifti.native_files import (
    ProbabilityFile,
    classes_of,
    image_grid,
    label_on_image_grid,
    plain_grid,
    values_of_classes,
    write_label_map,
)

MMWHS = DATASETS["mmwhs-ct"].label_values
SFORM = np.array([[0, -0.7, 0.01, 10], [0.8, 0, 0, -20.5], [0, 0.01, 2.5, 30], [0, 0, 0, 1]])
QFORM = np.array([[0, -0.7, 0, 11], [0.8, 0, 0, -20], [0, 0, 2.5, 31.0], [0, 0, 0, 1]])
KEPT = ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c",
        "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units", "descrip")


def scan(kind=nibabel.Nifti1Image, shape=(5, 4, 3), codes=(1, 2), endian="<", dtype=np.int16):
    """An image with a header that has something in every corner."""
    image = kind(np.ones(shape, dtype), SFORM)
    header = image.header.as_byteswapped(endian)
    header.set_sform(SFORM, code=codes[0])
    header.set_qform(QFORM, code=codes[1])
    header.set_xyzt_units("mm", "sec")
    header.set_slope_inter(2, -1000)
    header["cal_max"], header["descrip"] = 900, b"a scan"
    header.extensions.append(Nifti1Extension("comment", b"Jane Doe"))
    return kind(np.ones(shape, dtype), None, header)


def saved(path, image):
    nibabel.save(image, path)
    return Case("case", Path(path), None)


def label_beside(case, tmp_path, num_channels=1, dtype=np.uint8):
    """The case's grid and a map written on it, read again."""
    grid = image_grid(case, num_channels)
    label_map = np.arange(np.prod(grid.shape)).reshape(grid.shape).astype(dtype)
    write_label_map(tmp_path / "label.nii.gz", label_map, grid)
    written = nibabel.load(tmp_path / "label.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), label_map)
    return grid, written


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("options", [
    {}, {"codes": (0, 1)}, {"codes": (2, 0)}, {"codes": (0, 0)}, {"endian": ">"},
    {"kind": nibabel.Nifti2Image}, {"dtype": np.float32}])
def test_the_header_is_the_images(tmp_path, options, name, dtype):
    case = saved(tmp_path / name, scan(**options))
    image = nibabel.load(case.image)
    _, written = label_beside(case, tmp_path, dtype=dtype)
    assert written.shape == image.shape and written.get_data_dtype() == dtype
    np.testing.assert_array_equal(written.affine, image.affine)
    assert written.header.get_zooms() == image.header.get_zooms()
    for field in KEPT:
        np.testing.assert_array_equal(written.header[field], image.header[field], err_msg=field)
    assert (written.dataobj.slope, written.dataobj.inter) == (1, 0)
    assert written.header["cal_max"] == 0 and not written.header.extensions  # no patient's name


@pytest.mark.parametrize(("shape", "num_channels"), [((5, 4, 3, 2), 2), ((5, 4, 3, 1), 1),
                                                     ((2, 5, 4, 3), 2)])
def test_channels_leave_a_spatial_grid(tmp_path, shape, num_channels):
    case = saved(tmp_path / "scan.nii.gz", scan(shape=shape))
    grid, written = label_beside(case, tmp_path, num_channels)
    assert written.shape == grid.shape == (5, 4, 3)
    np.testing.assert_array_equal(written.affine, nibabel.load(case.image).affine)
    assert written.header.get_zooms() == pytest.approx(
        nibabel.affines.voxel_sizes(written.affine) if shape[0] == 2
        else nibabel.load(case.image).header.get_zooms()[:3])


def test_channel_first_without_an_affine_keeps_its_voxel_sizes(tmp_path):
    image = scan(shape=(2, 5, 4, 3), codes=(0, 0))
    image.header.set_zooms((1, 0.5, 0.6, 0.7))
    grid, written = label_beside(saved(tmp_path / "scan.nii.gz", image), tmp_path, 2)
    assert written.header.get_zooms() == pytest.approx((0.5, 0.6, 0.7))
    np.testing.assert_allclose(written.affine, grid.affine)


def test_equal_maps_are_equal_files(tmp_path):
    grid = image_grid(saved(tmp_path / "scan.nii", scan()), 1)
    for name in ("a.nii.gz", "b.nii.gz"):
        write_label_map(tmp_path / name, np.ones(grid.shape, np.uint8), grid)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_probabilities_in_any_order(tmp_path):
    grid = image_grid(saved(tmp_path / "scan.nii", scan()), 1)
    values = np.random.default_rng(0).random((2, *grid.shape), np.float32)
    file = ProbabilityFile(tmp_path / "out" / "p.nii.gz", grid, 2)
    for planes in ([2], [1, 0]):
        file.put(planes, values[..., planes])
    assert not list((tmp_path / "out").glob("*.nii.gz"))
    file.close()
    written = nibabel.load(tmp_path / "out" / "p.nii.gz")
    np.testing.assert_array_equal(np.moveaxis(np.asarray(written.dataobj), -1, 0), values)
    np.testing.assert_array_equal(written.affine, grid.affine)
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_values_and_classes_are_inverse_to_each_other():
    values = values_of_classes(MMWHS)
    assert values.tolist() == [0, 205, 420, 500, 550, 600, 820, 850]  # 421 never appears
    assert values.dtype == np.uint16
    assert classes_of(values, MMWHS, "f").tolist() == list(range(8))
    assert classes_of(np.array([421.0]), MMWHS, "f").tolist() == [0]
    assert values_of_classes({0: 0, 4: 1, 2: 2}).tolist() == [0, 4, 2]
    assert values_of_classes({0: 0, 1: 1}).dtype == np.uint8


def test_an_unknown_value_is_an_error():
    with pytest.raises(ValueError, match="scan.nii: 2 voxels have values other than 0, 205"):
        classes_of(np.array([0, 7, 7, 205]), MMWHS, "scan.nii")


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 1)])
def test_a_label_is_on_the_grid_of_its_image(tmp_path, shape):
    """Once the two are accepted as one grid, rounding in the label's header counts for nothing."""
    rounded = QFORM.copy()
    rounded[0, 0] = 0.02
    nibabel.save(nibabel.Nifti1Image(np.full(shape, 850, np.int16), rounded), tmp_path / "l.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 4, 3), np.int16), QFORM), tmp_path / "i.nii.gz")
    case = Case("case", tmp_path / "i.nii.gz", tmp_path / "l.nii.gz")
    classes, grid = label_on_image_grid(case, MMWHS, 1)
    assert classes.shape == grid.shape == (5, 4, 3) and (classes == 7).all()
    np.testing.assert_allclose(grid.affine, QFORM, atol=1e-6)
    assert grid.spacing_mm == pytest.approx((0.8, 0.7, 2.5))


def test_a_label_of_another_shape_is_refused(tmp_path):
    for name, shape in (("i", (5, 4, 3)), ("l", (3, 4, 5))):
        image = nibabel.Nifti1Image(np.zeros(shape, np.int16), QFORM)
        nibabel.save(image, tmp_path / f"{name}.nii")
    with pytest.raises(ValueError, match="differs from the image's"):
        label_on_image_grid(Case("case", tmp_path / "i.nii", tmp_path / "l.nii"), MMWHS, 1)


def test_a_map_on_a_grid_of_no_file(tmp_path):
    affine = np.array([[0.0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 2.5, 1], [0, 0, 0, 1]])
    label_map = (np.arange(24).reshape(2, 3, 4) % 8).astype(np.uint8)
    path = tmp_path / "map.nii.gz"
    write_label_map(path, label_map, plain_grid((2, 3, 4), affine))
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.uint8
    assert np.array_equal(np.asanyarray(image.dataobj), label_map)
    np.testing.assert_allclose(image.affine, affine)
    assert image.header.get_zooms() == pytest.approx((1.5, 2.0, 2.5))
    assert image.header.get_xyzt_units()[0] == "mm"
    first = path.read_bytes()
    write_label_map(path, label_map, plain_grid((2, 3, 4), affine))
    assert path.read_bytes() == first  # no date inside
    assert list(tmp_path.iterdir()) == [path]
