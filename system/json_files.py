"""JSON files that a run keeps of itself, read so that a damaged one is named."""

import json
from pathlib import Path
from typing import Any

from .files import read_json

AGAIN = "restore it, or train or evaluate the run again"


def read_object(path: str | Path) -> dict[str, Any]:
    """The object that a .json file holds.

    Raises:
        ValueError: the file is absent or unreadable, or holds anything else.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path}: is damaged (no JSON object); {AGAIN}.")
    return found


def read_lines(path: str | Path, *required: str) -> list[dict[str, Any]]:
    """The objects of a .jsonl file, one a line; none where there is no such file.

    Args:
        required: keys whose values must be numbers in every line.

    Raises:
        ValueError: a line is damaged; with its number.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is damaged ({error}); {AGAIN}.") from error
    return [_read_line(path, number, line, required) for number, line in enumerate(lines, 1)]


def _read_line(path: Path, number: int, line: str, required: tuple[str, ...]) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: line {number} is damaged ({error}); {AGAIN}.") from error
    if not isinstance(found, dict) or not all(_is_number(found.get(key)) for key in required):
        raise ValueError(f"{path}: line {number} is damaged (no object with numbers as "
                         f"{', '.join(required)}); {AGAIN}.")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
