"""Writing files whole or not at all: temporary file, fsync, rename; and digests of files."""

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from .text_files import read_text


def write_with(path: str | os.PathLike, write: Callable[[BinaryIO], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it to `path`.

    A reader sees the old file or the new one, never a part, whatever happens in between.

    Raises:
        OSError: it could not be written; with the name of `path`, whatever `write` made of it.
    """
    path = Path(path)
    try:
        _write_whole(path, write)
    except Exception as error:
        cause = error
        while not isinstance(cause, OSError) and (cause.__cause__ or cause.__context__):
            cause = cause.__cause__ or cause.__context__  # torch hides it behind its own
        if isinstance(cause, OSError) and cause.errno is not None:
            raise OSError(cause.errno, os.strerror(cause.errno), str(path)) from None
        raise


def _write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp gives 0600; a run folder is shared with colleagues like any other file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Write bytes whole."""
    write_with(path, lambda file: file.write(data))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write UTF-8 text whole."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write indented JSON whole; NaN and infinity are refused, since JSON has no such numbers."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read JSON.

    Raises:
        ValueError: the file is absent, unreadable or not JSON; the message names it.
    """
    try:
        return json.loads(read_text(path))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # the latter: brackets by the thousand
        raise ValueError(f"{path}: is not valid JSON ({error}).") from error


def sha256_of(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's content, in hexadecimal: two files with one are the same."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def crc32_of(file: BinaryIO, value: int = 0) -> int:
    """The CRC-32 of an open file's bytes from where it is to its end; tells damage, not forgery.

    Args:
        value: CRC-32 of what comes before.
    """
    while part := file.read(2**20):
        value = zlib.crc32(part, value)
    return value
