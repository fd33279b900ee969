"""Text files as editors, Excel and PowerShell write them, and text for the terminal."""

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8 or UTF-16, with or without a byte order mark.

    Line ends stay as they are; `str.splitlines` and csv know both kinds.

    Raises:
        OSError: the file cannot be read, or is none (a pipe may never end).
        ValueError: it is in neither encoding.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(None, "is no regular file")
    content = path.read_bytes()
    # From the first four bytes, which suffices for every text that begins with ASCII.
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"is no UTF-8 or UTF-16 text (byte {error.start}), save it as "
                         f"UTF-8") from error


def listed_path(line: str, below: Path = Path()) -> Path:
    """The path that a line of a list names, with separators of either kind.

    Args:
        below: the folder that relative paths start from.
    """
    path = below / line
    if "\\" in line and not path.exists():
        return below / line.replace("\\", "/")
    return path


def few(names: Sequence[str], most: int) -> str:
    """The first `most` names, separated by commas; "..." at the end when there are more."""
    shown = ", ".join(names[:most])
    if len(names) > most:
        shown += ", ..."
    return shown


def is_control(character: str) -> bool:
    """Whether a character ends a line, steers the terminal, or stands for no text."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def printable(text: str) -> str:
    """Text with escapes for what cannot be printed, such as a file name that is not UTF-8."""
    return "".join(ascii(each)[1:-1] if is_control(each) else each for each in text)
