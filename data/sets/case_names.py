"""Case ids become file names and text; unfit ones are reported before any work is done."""

from collections.abc import Sequence

from system.text_files import is_control

from .cases import Case, Problem

# What the longest file name adds to a case id, in bytes, with the ending of its temporary name
# (system.files); file systems allow 255.
AROUND_ID = max(len("._probabilities.nii.gz.12345678"), len(".validation_median_.png.12345678"))
MAX_NAME_BYTES = 255 - AROUND_ID


def name_fault(name: str, max_bytes: int = MAX_NAME_BYTES) -> str | None:
    """What makes a name unfit for files, tables and logs; None if it is fit."""
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if any(map(is_control, name)):
        return "its name has control characters"
    if size > max_bytes:
        return f"its name has {size} bytes, so the names of its results would be too long"
    return None


def name_problems(cases: Sequence[Case]) -> list[Problem]:
    """A problem for each case whose results could not be written under its id."""
    problems = []
    for case in cases:
        fault = name_fault(case.case_id)
        if fault is not None:
            problems.append(Problem(case.case_id, case.image, fault,
                                    f"rename the file: no control characters, at most "
                                    f"{MAX_NAME_BYTES} bytes before its ending"))
    return problems
