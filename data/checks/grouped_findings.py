"""Many findings of one kind in one entry: a count, the remedy and a few examples."""

from collections.abc import Sequence

from system.text_files import printable

from ..sets.cases import Problem

SHOWN = 3   # findings of a kind; more than that share one entry
NAMED = 20  # further cases that an entry names


def grouped(problems: Sequence[Problem]) -> list[str]:
    """Entries for a message: a line each, or several for a kind with more than SHOWN findings.

    Findings with the same remedy are of one kind; kinds are in the order of their first finding.
    """
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.remedy, []).append(problem)
    entries = []
    for same in kinds.values():
        if len(same) <= SHOWN:
            entries += map(str, same)
        else:
            entries.append(_entry(same))
    return entries


def _entry(same: Sequence[Problem]) -> str:
    lines = [f"  {len(same)} findings alike, {SHOWN} of them below; {same[0].remedy}."]
    for one in same[:SHOWN]:
        lines.append(printable(f"    {one.case_id}: {one.path}: {one.found}"))
    rest = same[SHOWN:]
    last = f"    and {len(rest)} more"
    if len(rest) <= NAMED:
        last += f": {', '.join(one.shown_id for one in rest)}"
    return "\n".join([*lines, last])
