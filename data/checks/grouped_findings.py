"""Many findings of one kind as one entry: a count, the remedy and a few examples."""

from collections.abc import Sequence

from system.text_files import printable

from ..sets.cases import Problem

SHOWN = 3   # findings of a kind; more than that are one entry
NAMED = 20  # cases that an entry names besides


def grouped(problems: Sequence[Problem]) -> list[str]:
    """Entries for people, each of one line or, for a kind with more than SHOWN findings, several.

    Findings with the same remedy are of one kind; kinds are in the order of their first finding.
    """
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.remedy, []).append(problem)
    entries = []
    for same in kinds.values():
        entries += [str(problem) for problem in same] if len(same) <= SHOWN else [_entry(same)]
    return entries


def _entry(same: Sequence[Problem]) -> str:
    rest = same[SHOWN:]
    names = f": {', '.join(one.shown_id for one in rest)}" if len(rest) <= NAMED else ""
    return "\n".join([
        f"  {len(same)} findings alike, {SHOWN} of them below; {same[0].remedy}.",
        *(printable(f"    {one.case_id}: {one.path}: {one.found}") for one in same[:SHOWN]),
        f"    and {len(rest)} more{names}"])
