"""Files that cannot be read whole are named before anything is computed from them."""

import gzip
import zlib

import nibabel
import numpy as np
import pytest

from data import Case


@pytest.fixture
def case(write_case):
    """A case of hearts that is in order."""
    label = np.zeros((10, 9, 8), np.int16)
    label[0, 0, 0] = 205
    image = np.random.default_rng(0).integers(-500, 500, label.shape).astype(np.int16)
    return write_case(image, label)


@pytest.mark.parametrize("change", [
    lambda data: data[:len(data) // 2], lambda data: data[:40], lambda data: b"",
    lambda data: b"not a NIfTI file at all" * 40, lambda data: gzip.compress(b"neither" * 100),
    lambda data: gzip.compress(gzip.decompress(data)[:-100])],
    ids=["half", "head", "empty", "text", "zipped text", "zipped half"])
@pytest.mark.parametrize("role", ["image", "label"])
def test_a_truncated_or_foreign_file_cannot_be_read(change, role, case, only_problem):
    path = getattr(case, role)
    path.write_bytes(change(path.read_bytes()))
    only_problem(case, str(path), "cannot be read", "download it again")


def test_an_absent_file_cannot_be_read(case, tmp_path, only_problem):
    gone = tmp_path / "gone.nii.gz"
    only_problem(Case("gone", gone, case.label), str(gone), "cannot be read")


@pytest.mark.parametrize("role", ["image", "label"])
def test_colours_and_complex_numbers_are_no_values(role, case, only_problem):
    path = getattr(case, role)
    colours = np.zeros((10, 9, 8), [("R", np.uint8), ("G", np.uint8), ("B", np.uint8)])
    for array in (colours, np.zeros((10, 9, 8), np.complex64)):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
        only_problem(case, str(path), "one real number per voxel")


def test_a_compressed_stream_that_breaks_after_the_header_cannot_be_read(case, only_problem):
    content, stream = gzip.decompress(case.image.read_bytes()), zlib.compressobj(wbits=31)
    good = stream.compress(content[:800]) + stream.flush(zlib.Z_FULL_FLUSH)
    case.image.write_bytes(good + b"\xff" * 50)  # no valid block begins so
    only_problem(case, str(case.image), "cannot be read")


def test_voxels_that_fail_the_checksum_of_their_file_cannot_be_read(case, only_problem):
    """One bit changed in a file that is stored without compression, so it still unpacks."""
    data = bytearray(gzip.compress(gzip.decompress(case.image.read_bytes()), compresslevel=0))
    data[len(data) // 2] ^= 64
    case.image.write_bytes(data)
    only_problem(case, str(case.image), "cannot be read")


def test_a_header_with_an_unknown_type_cannot_be_read(case, only_problem):
    header_and_voxels = bytearray(gzip.decompress(case.image.read_bytes()))
    header_and_voxels[70:72] = (9999).to_bytes(2, "little")
    case.image.write_bytes(gzip.compress(header_and_voxels))
    only_problem(case, str(case.image), "cannot be read")
