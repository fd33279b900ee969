"""Which files on disk count as whole and made of the same."""

import os

import nibabel
import numpy as np
import pytest

from data.preparation import marked_files
from data.preparation.marked_files import is_whole, mark_of, write_volume

MARK, OTHER = (f"DeSD preparation {digit * 32}" for digit in "01")
VOLUME = np.random.default_rng(0).integers(-1000, 1000, (40, 70, 90)).astype(np.int16)


@pytest.fixture(params=["a.nii", "a.nii.gz"])
def written(request, tmp_path):
    path = tmp_path / request.param
    write_volume(path, VOLUME, np.diag([-1, -1, -2, 1]), MARK)
    return path


def test_what_was_written_is_whole_and_reads_back(written):
    assert is_whole(written, MARK)
    image = nibabel.load(written)
    assert (np.asanyarray(image.dataobj) == VOLUME).all()
    assert image.get_data_dtype() == np.int16
    assert np.allclose(image.affine, np.diag([-1, -1, -2, 1]))


def test_another_mark_is_not_the_same(written):
    assert not is_whole(written, OTHER)


def test_an_absent_file_is_not_whole(tmp_path):
    assert not is_whole(tmp_path / "a.nii", MARK)


@pytest.mark.parametrize("keep", [0, 3, 200, 352, 5000, -1])
def test_a_part_is_not_whole(written, keep):
    written.write_bytes(written.read_bytes()[:keep])
    assert not is_whole(written, MARK)


def test_anything_else_is_not_whole(written):
    written.write_bytes(bytes(range(256)) * 8)
    assert not is_whole(written, MARK)


@pytest.mark.parametrize("place", [3, 120, 260, 352, 400_000, -1])
def test_one_wrong_bit_is_found(tmp_path, place):
    path = tmp_path / "a.nii"
    write_volume(path, VOLUME, np.eye(4), MARK)
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    assert not is_whole(path, MARK)


def test_the_mark_changes_with_settings_and_the_content_of_every_input(tmp_path):
    paths = [tmp_path / "1.png", tmp_path / "2.png"]
    for path in paths:
        path.write_text(path.name)
        os.utime(path, (1000, 1000))
    first = mark_of(paths, {"spacing_mm": 1.0})
    assert len(first) < 70  # room in a NIfTI header, with a checksum
    assert mark_of(paths, {"spacing_mm": 1.0}) == first
    assert mark_of(paths, {"spacing_mm": 1.5}) != first
    assert mark_of(paths[:1], {"spacing_mm": 1.0}) != first
    os.utime(paths[1], (2000, 2000))
    assert mark_of(paths, {"spacing_mm": 1.0}) == first
    paths[1].write_text("3.png")  # of the same size, at the same time
    os.utime(paths[1], (1000, 1000))
    assert mark_of(paths, {"spacing_mm": 1.0}) != first


@pytest.mark.parametrize(("name", "value"), [
    ("version", lambda name: "99"), ("CODE", marked_files.CODE[1:])])
def test_the_mark_changes_with_the_code(tmp_path, monkeypatch, name, value):
    path = tmp_path / "1.png"
    path.touch()
    first = mark_of([path], {})
    monkeypatch.setattr(marked_files, name, value)
    assert mark_of([path], {}) != first
