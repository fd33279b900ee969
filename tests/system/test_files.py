"""Files are written whole or not at all, and read with errors that name them."""

import json
import os

import pytest

from system.files import read_json, write_bytes, write_json, write_text, write_with


@pytest.fixture
def with_umask():
    """with_umask(mask) sets the process's mask until the test ends."""
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


def fail_halfway(file):
    """A writer that stops in the middle."""
    file.write(b"half")
    raise RuntimeError("disk on fire")


def test_content_arrives_and_folders_are_made(tmp_path):
    write_bytes(tmp_path / "a" / "b" / "x.bin", b"\x00\x01")
    write_text(tmp_path / "a" / "y.txt", "5 mm\n")
    assert (tmp_path / "a" / "b" / "x.bin").read_bytes() == b"\x00\x01"
    assert (tmp_path / "a" / "y.txt").read_text(encoding="utf-8") == "5 mm\n"


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "best.model"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError, match="disk on fire"):
        write_with(path, fail_halfway)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_first_write_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="disk on fire"):
        write_with(tmp_path / "best.model", fail_halfway)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path):
    def interrupted(file):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_with(tmp_path / "best.model", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
    path, seen = tmp_path / "last.model", []
    write_bytes(path, b"old")

    def write(file):
        file.write(b"new")
        file.flush()
        seen.append(path.read_bytes())

    write_with(path, write)
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


def test_a_target_that_is_a_folder_leaves_no_temporary_file(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(OSError):
        write_bytes(tmp_path / "run", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_permissions_follow_the_umask(mask, mode, tmp_path, with_umask):
    with_umask(mask)
    write_text(tmp_path / "x", "x")
    assert (tmp_path / "x").stat().st_mode & 0o777 == mode
    assert with_umask(mask) == mask, "the mask must be as it was"


def test_json_returns_as_it_went(tmp_path):
    value = {"a": [1, 2.5, None, True], "b": {"c": "d"}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert (tmp_path / "x.json").read_text().endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_refuses_what_is_not_a_json_number(value, tmp_path):
    write_json(tmp_path / "x.json", {"dice": 1.0})
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"dice": value})
    assert json.loads((tmp_path / "x.json").read_text()) == {"dice": 1.0}


@pytest.mark.parametrize(("content", "words"), [
    (None, "cannot be read"), (b"{", "not valid JSON"), (b"", "not valid JSON"),
    (b"\xff\xfe\x00", "not valid JSON")])
def test_read_errors_name_the_file(content, words, tmp_path):
    path = tmp_path / "splits.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as raised:
        read_json(path)
    assert str(path) in str(raised.value)


def test_a_folder_cannot_be_read_as_json(tmp_path):
    with pytest.raises(ValueError, match="cannot be read") as raised:
        read_json(tmp_path)
    assert str(tmp_path) in str(raised.value)
