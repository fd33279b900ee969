"""Locks that keep other processes out, and end with the process that holds them at the latest."""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What a lock that another process holds answers; anything else is a file system without locks.
TAKEN = (errno.EACCES, errno.EAGAIN)


@contextmanager
def held(path: Path, refusal: str, wait: bool = False) -> Iterator[None]:
    """Within, no other process holds this file, which is made where it is not.

    Args:
        refusal: what to say where another process has it.
        wait: for that process, rather than to refuse.

    Raises:
        ValueError: another process has it.
    """
    with open(path, "ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in TAKEN:
                raise ValueError(refusal) from error
        yield
