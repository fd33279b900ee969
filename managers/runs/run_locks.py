"""Locks on folders and files, released when the process that holds them ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from system.locks import TAKEN, held


@contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of a file, created if need be; yields False if another process holds it.

    Args:
        shared: together with other processes that ask for a shared lock.
    """
    mode = fcntl.LOCK_EX
    if shared:
        mode = fcntl.LOCK_SH
    with open(path, "a") as file:
        yield _try_lock(file.fileno(), mode)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Within, others that ask for this folder wait. Locks nothing if it is missing or read-only."""
    with ExitStack() as held:
        with suppress(OSError):
            fcntl.flock(held.enter_context(open(folder / ".alone", "a")), fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Whether any process, this one included, holds the lock of a file."""
    if not path.exists():
        return False
    with open(path) as file:
        return not _try_lock(file.fileno(), fcntl.LOCK_SH)


def claim_run(folder: Path) -> None:
    """Keep other processes from training this run until this one ends; ValueError if one does."""
    # Never closed: the claim ends when the process does.
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in TAKEN:
            raise ValueError(f"{folder}: another process trains this run now. Wait for it or stop "
                             f"it, or choose another name.") from error


def is_claimed(folder: Path) -> bool:
    """Whether another process trains the run in a folder."""
    try:
        with open(folder / ".lock", "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in TAKEN
    return False


def scores_held(folder: Path, wait: bool = False) -> AbstractContextManager[None]:
    """Within, no other process writes scores of this run.

    Args:
        wait: for the other process to finish, instead of raising.

    Raises:
        ValueError: another process scores it.
    """
    return held(folder / ".scores.lock", f"{folder}: another process scores this run now. Wait "
                                         f"for it or stop it.", wait)


def output_held(folder: Path) -> AbstractContextManager[None]:
    """Within, no other predict.py writes to this folder; ValueError if one does."""
    return held(folder / ".lock", f"--output {folder}: another predict.py writes there now. Wait "
                                  f"for it or stop it, or give another folder.")


def _try_lock(file: int, mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in TAKEN
    return True
