"""Errors of disk and memory are answered with what to change; others are left alone."""

import errno
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from system import faults
from system.exit import exit_with
from system.faults import ADVICE, DISK, remedy, without_traceback
from system.files import write_bytes, write_with

ROOT = Path(__file__).resolve().parents[2]


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
    (OutOfMemoryError("CUDA out of memory"), "lower --img_size, --batch_size, --num_crops"),
    (RuntimeError("x_backward does not have a deterministic implementation, but you set ..."),
     "Leave out --deterministic"),
    (MemoryError(), "--num_workers"),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "--num_workers"),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
                  "dataloader's workers are out of shared memory."), "--shm-size=8g"),
    (RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left "
                  "on device (28)"), "give --num_workers 0"),
    (OSError(errno.ENOSPC, "No space left on device", "/dev/shm/sem.mp-1"), "/dev/shm"),
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


def test_a_full_disk_is_not_taken_for_dev_shm_nor_the_other_way(monkeypatch):
    monkeypatch.setattr(faults.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    assert "disk is full" in remedy(OSError(errno.ENOSPC, "full", "/data/last.model"))
    assert "/dev/shm" in remedy(OSError(errno.ENOSPC, "full"))  # as of a semaphore
    monkeypatch.setattr(faults.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**30))
    assert "disk is full" in remedy(OSError(errno.ENOSPC, "full"))


FAULTS = (OutOfMemoryError("CUDA out of memory"), MemoryError(), OSError(errno.ENOSPC, "full", "x"),
          OSError(errno.EROFS, "no", "x"))


@pytest.mark.parametrize("script", ["train_basic.py", *ADVICE])
def test_the_remedies_are_flags_of_the_script_that_runs(script, run_script):
    """Of cross_validate.py those of the training script, too, which it hands on."""
    path = script if (ROOT / script).is_file() else f"scripts/{script}"
    steps = {"preprocess_deeplesion.py": ["all"]}.get(script, [])
    known = run_script(path, *steps, "--help").stdout
    if script == "cross_validate.py":
        known += run_script("train_basic.py", "--help").stdout
    for error in FAULTS:
        for flag in re.findall(r"--\w+|OUTPUT", remedy(error, script)):
            assert re.search(rf"{flag}\b", known), f"{script}: {flag}"


def test_predict_does_not_speak_of_batches_or_resuming():
    for error in FAULTS:
        found = remedy(error, "predict.py")
        assert "--batch_size" not in found and "--resume" not in found
    assert "--window_batch" in remedy(FAULTS[0], "predict.py")


def test_a_loader_process_is_quoted_without_its_traceback():
    text = ("Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent "
            "call last):\n  File \"worker.py\", line 3, in loop\n    data = fetch(index)\n"
            "           ^^^^^^^^^^^^\n  File \"a.py\", line 1, in f\n    raise\nDataError: two "
            "problems:\n  one\n  two\n")
    assert without_traceback(text) == "DataError: two problems:\n  one\n  two"
    assert without_traceback("RuntimeError: plain\n") == "RuntimeError: plain\n"


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


def test_a_python_without_the_packages_is_told_where_they_are():
    """The usual slip: `python train_basic.py` in a shell that has not activated .venv."""
    missing = ModuleNotFoundError("No module named 'nibabel'", name="nibabel")
    assert ".venv/bin/python" in remedy(missing) and "--resume" not in remedy(missing)
    own = ModuleNotFoundError("No module named 'my_nets'", name="my_nets")
    assert remedy(own) is None
