"""Many warnings of one kind are one entry with a count and three examples."""

from pathlib import Path

import pytest

from data.checks.grouped_findings import grouped
from data.checks.verify_report import Report
from data.sets.cases import Problem


def small(number):
    return Problem(f"c{number}", Path(f"c{number}.nii"), f"its {number} voxels are few", "pad it")


OTHER = Problem("c7", Path("c7.nii"), "every voxel is 0", "leave it out")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_are_told_one_by_one(count):
    found = [small(number) for number in range(count)]
    assert grouped([*found, OTHER]) == [*map(str, found), str(OTHER)]


def test_many_are_counted_with_three_examples():
    first, other = grouped([*(small(number) for number in range(260)), OTHER])
    lines = first.splitlines()
    assert lines[0] == "  260 findings alike, 3 of them below; pad it."
    assert lines[1:4] == [f"    c{n}: c{n}.nii: its {n} voxels are few" for n in range(3)]
    assert lines[4:] == ["    and 257 more"] and other == str(OTHER)


def test_a_handful_more_is_named():
    assert grouped([small(number) for number in range(5)])[0].endswith("and 2 more: c3, c4")


def test_the_report_counts_all_and_keeps_all():
    found = [small(number) for number in range(260)]
    report = Report("a", "b", 260, [], found)
    assert "0 error(s), 260 warning(s)" in report.text
    assert report.text.count("warning: ") == 1 and len(report.to_dict()["warnings"]) == 260
