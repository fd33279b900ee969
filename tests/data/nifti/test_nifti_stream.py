"""Headers that claim what is not there are refused before memory is spent; no bytes break it."""

import gzip
import tracemalloc

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import DATASETS, Case
from data.checks.verification import case_findings
from data.nifti.nifti_stream import MAX_BYTES, SLACK, UnreadableError, read_nifti


def nifti_bytes(shape=(6, 5, 4), claimed=None, dtype=np.int16):
    array = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    content = bytearray(nibabel.Nifti1Image(array, np.eye(4)).to_bytes())
    if claimed is not None:
        content[42:42 + 2 * len(claimed)] = np.array(claimed, "<i2").tobytes()
    return bytes(content)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_in_order_is_read_whole(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    content = nifti_bytes()
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    file, found = read_nifti(path)
    assert found == content
    np.testing.assert_array_equal(np.asarray(file.dataobj), np.arange(120).reshape(6, 5, 4))


def peak_of_refusal(path, words):
    tracemalloc.start()
    with pytest.raises(UnreadableError, match=words):
        read_nifti(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("claimed", "words"), [
    ((30000, 30000, 30000), f"more than {MAX_BYTES}"), ((900, 900, 900), "cannot hold")])
def test_a_header_that_claims_too_much_is_refused_unread(tmp_path, suffix, claimed, words):
    path = tmp_path / f"a{suffix}"
    content = nifti_bytes(claimed=claimed)
    path.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
    assert peak_of_refusal(path, words) < 2**20


def test_a_million_voxels_a_side_are_refused_unread(tmp_path):
    """NIfTI-2 has 64-bit dimensions."""
    header = nibabel.Nifti2Header()
    header["dim"][:4] = 3, 10**6, 10**6, 10**6
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4 + 1000)))
    assert peak_of_refusal(path, f"more than {MAX_BYTES}") < 2**20


def test_a_stream_that_unpacks_to_more_than_its_header_is_cut_off(tmp_path):
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(nifti_bytes() + bytes(64 * SLACK)))
    assert peak_of_refusal(path, "holds more than the") < 8 * SLACK


@settings(deadline=None, max_examples=200)
@given(changes=st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), max_size=12),
       cut=st.none() | st.integers(0, 600), packed=st.booleans())
def test_no_header_gives_another_error(tmp_path_factory, changes, cut, packed):
    content = bytearray(nifti_bytes())
    for place, value in changes:
        content[place] = value
    path = tmp_path_factory.getbasetemp() / f"fuzz.nii{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content[:cut], 1) if packed else content[:cut])
    try:
        file, found = read_nifti(path)
        assert len(found) == len(content[:cut]) and file.shape
    except UnreadableError as error:
        assert str(error)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_a_small_file_of_a_large_volume_costs_little_more_than_that(tmp_path, kind):
    """Image and label of 32 MiB in 33 kB each, which are in order; they are held one at a time."""
    size = 32 * 2**20
    header = nibabel.Nifti1Image(np.zeros((1, 1, 1), kind), np.eye(4)).header
    header.set_data_shape((256, 256, size // 256**2 // np.dtype(kind).itemsize))
    header.set_data_offset(352)
    packed = gzip.compress(header.binaryblock + bytes(4 + size), 6)
    assert len(packed) < size / 900
    for name in ("i.nii.gz", "l.nii.gz"):
        (tmp_path / name).write_bytes(packed)
    tracemalloc.start()
    case_findings(Case("a", tmp_path / "i.nii.gz", tmp_path / "l.nii.gz"), DATASETS["hippocampus"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.4 * size
