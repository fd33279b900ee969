"""Whether the scores in a folder come from one complete evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from system.files import sha256_of

ROWS = "per_case_sha256"  # in summary.json: the digest of the per_case.csv beside it


def are_of_one_evaluation(folder: Path, summary: Mapping[str, Any]) -> bool:
    """Whether summary.json belongs to per_case.csv; True for one of an older version."""
    return ROWS not in summary or sha256_of(folder / "per_case.csv") == summary[ROWS]
