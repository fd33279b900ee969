"""Each fault of a file has its own cure, and what can be read is read, whatever its name."""

import gzip
import os

import nibabel
import numpy as np
import pytest

from data.nifti.file_kinds import foreign_hint, kind_of_file
from data.nifti.images import read_volume
from data.nifti.nifti_stream import UnreadableError, load_nifti, read_header, read_nifti

DICOM = bytes(128) + b"DICM" + bytes(200)
BARE_DICOM = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(100)
VALUES = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def content(kind=nibabel.Nifti1Image, **fields):
    """A NIfTI file of VALUES on voxels of 2 x 3 x 4 mm, some fields of its header overwritten."""
    whole = kind(VALUES, np.diag([2.0, 3.0, 4.0, 1.0])).to_bytes()
    size = kind.header_class.sizeof_hdr
    header = kind.header_class(whole[:size])
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + whole[size:]


def fault_of(path, data):
    path.write_bytes(data)
    with pytest.raises(UnreadableError) as raised:
        read_nifti(path)
    return str(raised.value), raised.value.remedy


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize(("name", "packed"), [
    ("a.nii.gz", False), ("a.nii", True), ("A.NII.GZ", True), ("A.NII", False)])
def test_content_counts_and_not_the_name(tmp_path, kind, name, packed):
    data = content(kind)
    (tmp_path / name).write_bytes(gzip.compress(data, mtime=0) if packed else data)
    voxels, affine = read_volume(tmp_path / name, 1)
    assert np.array_equal(voxels[0], VALUES)
    assert np.array_equal(affine, np.diag([2.0, 3.0, 4.0, 1.0]))
    assert read_header(tmp_path / name).shape == (2, 3, 4)


def test_scale_and_byte_order_are_those_of_nibabel(tmp_path):
    header = nibabel.Nifti1Image(VALUES, np.eye(4)).header.as_byteswapped(">")
    image = nibabel.Nifti1Image(VALUES, None, header)
    image.header.set_slope_inter(0.1, -1024)
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    expected = np.asanyarray(nibabel.load(tmp_path / "a.nii").dataobj)
    for file in (read_nifti(tmp_path / "a.nii")[0], load_nifti(tmp_path / "a.nii")):
        assert file.dataobj.dtype == expected.dtype and np.array_equal(file.dataobj, expected)


@pytest.mark.parametrize(("data", "found", "remedy"), [
    (DICOM, "is DICOM", "dcm2niix"), (BARE_DICOM, "is DICOM", "dcm2niix"),
    (gzip.compress(DICOM, mtime=0), "is DICOM", "dcm2niix"),
    (b"NRRD0004\n", "is an NRRD file", "export"),
    (b"ObjectType = Image\n", "is a MetaImage", "export"), (b"PK\x03\x04" + bytes(50), "archive",
                                                            "unpack"),
    (b"<!DOCTYPE html><html>", "is a web page", "download it again"),
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
    (content(magic=b"ni1"), "holds its own voxels", "convert the .hdr/.img pair"),
    (content()[:380], "cannot hold", "copy or download it again"),
    (gzip.compress(content(), mtime=0)[:60], "ended before", "copy or download it again"),
    (content(datatype=9999), "unknown data type", "rewrite the header"),
    (content(qform_code=1, sform_code=0, quatern_b=0.8, quatern_c=0.8), "its quaternion has",
     "rewrite the header"),
    (b"some text " * 100, "is no NIfTI file", "damaged or not NIfTI"), (b"", "is empty", "copy"),
])
def test_each_fault_has_its_own_cure(tmp_path, data, found, remedy):
    fault, cure = fault_of(tmp_path / "a.nii.gz", data)
    assert found in fault and remedy in cure


@pytest.mark.parametrize("excess", [1e-6, 1e-5, 4e-4])
def test_a_quaternion_that_rounding_made_too_long_is_read(tmp_path, excess):
    """nibabel refuses it ("w2 should be positive"); a half turn about (1, 1, 0) is meant."""
    side = np.sqrt((1 + excess) / 2)
    data = content(qform_code=1, sform_code=0, quatern_b=side, quatern_c=side, quatern_d=0)
    (tmp_path / "a.nii").write_bytes(data)
    expected = [[0, 3, 0], [2, 0, 0], [0, 0, -4]]
    for file in (read_nifti(tmp_path / "a.nii")[0], read_header(tmp_path / "a.nii"),
                 load_nifti(tmp_path / "a.nii")):
        np.testing.assert_allclose(file.affine[:3, :3], expected, atol=0.01)


def test_a_quaternion_that_is_not_used_may_be_anything(tmp_path):
    (tmp_path / "a.nii").write_bytes(content(quatern_b=5))
    assert np.array_equal(read_nifti(tmp_path / "a.nii")[0].affine[:3, :3], np.diag([2, 3, 4]))


@pytest.mark.timeout(5)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.nii.gz")
    for read in (read_nifti, read_header, load_nifti):
        with pytest.raises(UnreadableError, match="is a pipe, socket or device"):
            read(tmp_path / "a.nii.gz")
    assert kind_of_file(tmp_path / "a.nii.gz") is None


def test_absent_and_forbidden_files_are_no_damage(tmp_path):
    with pytest.raises(UnreadableError, match="is not there") as raised:
        read_nifti(tmp_path / "a.nii")
    assert raised.value.remedy == "copy it there"
    (tmp_path / "b.nii").mkdir()
    with pytest.raises(UnreadableError, match="is a folder"):
        read_nifti(tmp_path / "b.nii")


@pytest.mark.parametrize(("name", "data", "found", "remedy"), [
    ("IM0001", DICOM, "is DICOM", "dcm2niix"), ("a.DCM", b"", "is DICOM", "dcm2niix"),
    ("a.hdr", b"", "half of an .hdr/.img pair", ".nii.gz"),
    ("a.nii.gz.bak", gzip.compress(content(), mtime=0), "is NIfTI", "ends in .nii.gz"),
    ("a", content(), "is NIfTI", "ends in .nii")])
def test_a_file_is_known_by_its_bytes(tmp_path, name, data, found, remedy):
    (tmp_path / name).write_bytes(data)
    kind = kind_of_file(tmp_path / name)
    assert found in kind.found and kind.remedy.endswith(remedy) or remedy in kind.remedy
    assert name in foreign_hint(tmp_path)


def test_nifti_files_are_not_foreign(tmp_path):
    (tmp_path / "a.nii").write_bytes(content())
    assert kind_of_file(tmp_path / "a.nii") is None and foreign_hint(tmp_path) == ""
