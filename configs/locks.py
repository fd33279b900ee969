"""A lock that a process keeps until its end, however that comes."""

import errno
import fcntl
import os
from pathlib import Path

# What a lock that another process holds answers; anything else is a file system without locks.
TAKEN = (errno.EACCES, errno.EAGAIN)


def claim(path: Path, refusal: str, wait: bool = False) -> None:
    """Lock a file, which is made where it is not, as long as this process lives.

    Args:
        refusal: what to say where another process has it.
        wait: for that process to end, rather than to refuse.

    Raises:
        ValueError: another process has it.
    """
    # Never closed: the end of the process does that, and gives the claim up.
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in TAKEN:
            raise ValueError(refusal) from error
