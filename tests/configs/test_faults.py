"""Errors of disk and memory are answered with what to change; others are left alone."""

import errno
import os

import pytest

from configs.cli import exit_with
from configs.faults import DISK, remedy
from configs.files import write_bytes, write_with


class OutOfMemoryError(RuntimeError):
    """Named as torch's own for a GPU."""


def hidden(error, by):
    """`by`, raised while `error` was handled, as libraries do."""
    try:
        try:
            raise error
        except type(error):
            raise by  # noqa: B904
    except type(by) as shown:
        return shown


@pytest.mark.parametrize(("error", "words"), [
    (OSError(errno.ENOSPC, "full"), "disk is full"),
    (PermissionError(errno.EACCES, "no"), "may not read or write"),
    (OSError(errno.EROFS, "no"), "cannot be written to"),
    (hidden(OSError(errno.EDQUOT, "no"), RuntimeError("enforce fail")), "quota"),
    (OutOfMemoryError("CUDA out of memory"), "lower --batch_size"),
    (RuntimeError("x_backward does not have a deterministic implementation, but you set ..."),
     "Leave out --deterministic"),
    (MemoryError(), "--num_workers"),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "--num_workers"),
    (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
     "memory is full"),
])
def test_what_to_do(error, words, capsys):
    assert words in remedy(error) and "--resume" in remedy(error)

    def main():
        raise RuntimeError(f"epoch 2, step 3: {error}") from error
    with pytest.raises(SystemExit) as stop:
        exit_with(main)
    shown = capsys.readouterr().err
    assert stop.value.code == 1 and shown.startswith("failed: epoch 2, step 3: ")
    assert words in shown and len(shown.splitlines()) == 1


def test_other_errors_have_none():
    assert remedy(RuntimeError("shapes do not fit")) is None
    assert remedy(FileNotFoundError(errno.ENOENT, "no such file")) is None


@pytest.mark.parametrize("number", DISK)
def test_a_file_that_cannot_be_written_is_named_and_the_old_one_stays(tmp_path, monkeypatch,
                                                                      number):
    path = tmp_path / "last.model"
    write_bytes(path, b"old")

    def fail(_):
        raise OSError(number, os.strerror(number))
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="last.model") as raised:
        write_bytes(path, b"new")
    assert raised.value.errno == number
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_the_cause_is_shown_when_a_writer_hides_it(tmp_path):
    def write(file):
        raise hidden(OSError(errno.ENOSPC, "full"), RuntimeError("unexpected pos 30 vs 0"))
    with pytest.raises(OSError, match="No space left on device.*x.model"):
        write_with(tmp_path / "x.model", write)
