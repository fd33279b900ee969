"""Lists of tiles: every line is checked before training, and tiles are read as slices first."""

import gzip
import os
import warnings

import nibabel
import numpy as np
import pytest

from data import read_tile_list
from data.nifti import nifti_stream
from data.views.tile_list import read_tile, tile_problem

SHAPE = (6, 5, 4)


def voxels(shape=SHAPE, dtype=np.int16):
    """Every voxel another value."""
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def listed(folder, *lines, name="list.txt"):
    """A list of these lines."""
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder / name


def bad_gzip(path, cut):
    """Keep all but the last bytes of a file."""
    path.write_bytes(path.read_bytes()[:-cut])
    return path


def problems(folder, list_path):
    """The lines of the error that refuses a list."""
    with pytest.raises(ValueError) as raised:
        read_tile_list(folder, list_path)
    return str(raised.value).splitlines()


def test_lines_are_paths_below_the_folder(tmp_path, save):
    save(tmp_path / "tiles" / "a.nii", voxels())
    save(tmp_path / "tiles" / "b.nii.gz", voxels())
    elsewhere = save(tmp_path / "c.nii", voxels())
    text = f"\ufefftiles/b.nii.gz  0.8 1.0\r\n\r\n\ttiles/a.nii\r\n   \r\n{elsewhere}"
    (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    for folder in (tmp_path, str(tmp_path) + "/"):
        assert read_tile_list(folder, str(tmp_path / "list.txt")) == [
            tmp_path / "tiles" / "b.nii.gz", tmp_path / "tiles" / "a.nii", elsewhere]


def test_every_unusable_tile_is_in_one_error(tmp_path, save):
    save(tmp_path / "good.nii", voxels())
    save(tmp_path / "flat.nii", voxels((6, 5)))
    save(tmp_path / "series.nii", voxels((6, 5, 4, 2)))
    save(tmp_path / "complex.nii", voxels(dtype=np.complex64))
    (tmp_path / "empty.nii").touch()
    (tmp_path / "empty.nii.gz").touch()
    (tmp_path / "text.nii").write_text("no header " * 100)
    (tmp_path / "text.nii.gz").write_text("no header " * 100)
    (tmp_path / "folder.nii").mkdir()
    save(tmp_path / "pair.img", voxels())
    found = problems(tmp_path, listed(
        tmp_path, "good.nii", "absent.nii", "flat.nii", "series.nii", "complex.nii", "empty.nii",
        "empty.nii.gz", "text.nii", "text.nii.gz", "folder.nii", "pair.img"))
    assert found[0].startswith(f"{tmp_path / 'list.txt'}: 10 of 11 tiles cannot be used")
    expected = {
        "absent.nii": "does not exist",
        "flat.nii": "has shape (6, 5); expected (rows, cols, slices)",
        "series.nii": "has shape (6, 5, 4, 2); expected (rows, cols, slices)",
        "complex.nii": "holds complex64 values",
        "empty.nii": "is empty", "empty.nii.gz": "is empty",
        "text.nii": "is no NIfTI file", "text.nii.gz": "is no NIfTI file",
        "folder.nii": "is a folder", "pair.img": "is no .nii.gz or .nii file",
    }
    assert len(found) == 11
    for line, (name, words) in zip(found[1:], expected.items(), strict=True):
        assert line.startswith(f"  {tmp_path / name}: {words}"), line


def test_only_the_first_of_many_problems_are_shown(tmp_path):
    found = problems(tmp_path, listed(tmp_path, *(f"{index}.nii" for index in range(500))))
    assert "500 of 500 tiles" in found[0]
    assert found[1:11] == [f"  {tmp_path / f'{index}.nii'}: does not exist" for index in range(10)]
    assert found[11:] == ["  ... and 490 more"]


@pytest.mark.parametrize("cut", [1, 100, 239])
def test_a_truncated_file_is_found_by_its_size(tmp_path, save, cut):
    path = bad_gzip(save(tmp_path / "a.nii", voxels()), cut)
    assert tile_problem(path) == f"is truncated: {592 - cut} of 592 bytes"


@pytest.mark.parametrize("cut", [1, 4, 8, 60, 300])
def test_a_truncated_gzip_file_is_found(tmp_path, save, cut):
    noise = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 8)).astype(np.int16)
    path = bad_gzip(save(tmp_path / "a.nii.gz", noise), cut)
    assert tile_problem(path) == "is truncated"


def test_a_gzip_file_of_too_few_voxels_is_found(tmp_path, save):
    content = save(tmp_path / "a.nii", voxels()).read_bytes()[:-10]
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    assert tile_problem(tmp_path / "a.nii.gz") == "is truncated: 582 of 592 bytes"


def test_a_gzip_file_in_parts_is_a_tile(tmp_path, save):
    content = save(tmp_path / "a.nii", voxels()).read_bytes()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    assert tile_problem(path) is None
    assert np.array_equal(read_tile(path), voxels().transpose(2, 0, 1))


def test_nifti_2_and_either_byte_order_are_tiles(tmp_path):
    nibabel.save(nibabel.Nifti2Image(voxels(), np.eye(4)), tmp_path / "two.nii")
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(voxels(), np.eye(4), header), tmp_path / "big.nii")
    for path in read_tile_list(tmp_path, listed(tmp_path, "two.nii", "big.nii")):
        assert np.array_equal(read_tile(path), voxels().transpose(2, 0, 1))


def test_a_header_whose_voxels_are_elsewhere_is_no_tile(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(voxels(), np.eye(4)), tmp_path / "a.img")
    (tmp_path / "a.hdr").rename(tmp_path / "a.nii")
    assert tile_problem(tmp_path / "a.nii") == "is no NIfTI file that holds its own voxels"


def test_folder_and_list_are_checked_first(tmp_path):
    lines = problems(tmp_path / "nowhere", tmp_path / "absent.txt")
    assert len(lines) == 2
    assert "nowhere: is no folder" in lines[0]
    assert "absent.txt: cannot be read (No such file or directory)" in lines[1]


@pytest.mark.parametrize(("content", "words"), [
    (b"", "names no tile"), (b"\n \n\t\n", "names no tile"),
    (b"\xe9t\xe9.nii", "is no UTF-8 or UTF-16 text"),
])
def test_a_list_without_tiles_is_refused(tmp_path, content, words):
    (tmp_path / "list.txt").write_bytes(content)
    (line,) = problems(tmp_path, tmp_path / "list.txt")
    assert f"list.txt: {words}" in line


def test_a_tile_is_slices_first_and_only_mapped(tmp_path, save):
    tile = read_tile(save(tmp_path / "a.nii", voxels(), np.diag([-1, -2, 3, 1])))
    assert tile.shape == (4, 6, 5)
    assert tile[3, 5, 2] == voxels()[5, 2, 3]
    assert isinstance(tile, np.memmap)


def test_the_scale_of_a_header_is_applied(tmp_path):
    image = nibabel.Nifti1Image(voxels(dtype=np.uint16), np.eye(4))
    image.header.set_slope_inter(2, -1000)
    nibabel.save(image, tmp_path / "a.nii")
    stored = nibabel.load(tmp_path / "a.nii")
    assert stored.dataobj.slope == 2
    assert np.array_equal(read_tile(tmp_path / "a.nii"), stored.get_fdata().transpose(2, 0, 1))


def test_a_tile_that_goes_bad_later_is_named(tmp_path, save):
    path = save(tmp_path / "a.nii", voxels())
    bad_gzip(path, 50)
    with pytest.raises(RuntimeError, match="a.nii: cannot be read"):
        read_tile(path)


@pytest.mark.parametrize("value", [-1025, 1025, 3071])
def test_values_that_were_not_clipped_are_warned_of_once(tmp_path, save, value):
    array = voxels()
    array[0, 0, 0] = value
    save(tmp_path / "a.nii", voxels())
    save(tmp_path / "b.nii", array)
    lines = ["a.nii", *["b.nii"] * 3]
    with pytest.warns(UserWarning, match="b.nii holds values from") as caught:
        assert len(read_tile_list(tmp_path, listed(tmp_path, *lines))) == 4
    assert len(caught) == 1
    assert str(value) in str(caught[0].message)


def test_nan_is_refused_and_clipped_values_are_neither_that_nor_warned_of(tmp_path, save):
    array = voxels(dtype=np.float32)
    array[0, 0, :2] = -1024, 1024
    save(tmp_path / "a.nii", array)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_tile_list(tmp_path, listed(tmp_path, "a.nii"))
    array[1, 1, 1] = np.nan
    save(tmp_path / "a.nii", array)
    with pytest.raises(ValueError, match="a.nii: 1 voxels are NaN or infinite; make the tile"):
        read_tile_list(tmp_path, listed(tmp_path, "a.nii"))


def test_a_gzip_file_damaged_inside_is_refused_where_it_is_looked_at(tmp_path, save):
    noise = np.random.default_rng(0).integers(-1000, 1000, (40, 40, 40)).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", noise)
    content = bytearray(path.read_bytes())
    content[len(content) // 2:len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)
    (line,) = problems(tmp_path, listed(tmp_path, "a.nii.gz"))
    assert "a.nii.gz: cannot be read" in line
    assert "make the tile again" in line


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path, save, monkeypatch):
    """A tile's header and voxels, and a hundred times as many bytes behind them."""
    content = save(tmp_path / "a.nii", voxels()).read_bytes()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(content + bytes(100 * len(content))))
    monkeypatch.setattr(nifti_stream, "SLACK", len(content))
    with pytest.raises(RuntimeError, match="holds more than"):
        read_tile(path)


def test_lists_and_tiles_as_windows_writes_them(tmp_path, save):
    tile = save(tmp_path / "tiles" / "a.nii", voxels())
    tile.rename(tile.with_name("A.NII"))
    (tmp_path / "tiles" / "b.nii.gz").write_bytes((tmp_path / "tiles" / "A.NII").read_bytes())
    (tmp_path / "list.txt").write_bytes("tiles\\A.NII\r\ntiles\\b.nii.gz\r\n".encode("utf-16"))
    found = read_tile_list(tmp_path, tmp_path / "list.txt")
    assert found == [tmp_path / "tiles" / "A.NII", tmp_path / "tiles" / "b.nii.gz"]
    for path in found:  # the second is not packed, whatever its name says
        assert np.array_equal(read_tile(path), voxels().transpose(2, 0, 1))


@pytest.mark.timeout(5)
def test_a_pipe_is_no_tile(tmp_path):
    os.mkfifo(tmp_path / "a.nii")
    assert tile_problem(tmp_path / "a.nii") == "is a pipe, socket or device, not a file"
