"""CASE_0000, CASE_0001 are the channels of one case; whatever lacks is named."""

import nibabel
import numpy as np
import pytest

from data.checks.inputs import find_inputs
from data.sets.cases import find_cases
from data.sets.one_case import Layout

TWO = ("T1", "T2")
LAYOUT = (Layout("imagesTr", "labelsTr"),)


@pytest.fixture
def files(tmp_path):
    """files("imagesTr/a_0000.nii.gz", ...) -> their folder; of 4 x 3 x 2 voxels, or `shape`."""

    def make(*names, shape=(4, 3, 2)):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), path)
        return tmp_path

    return make


def names_of(cases):
    return {case.case_id: [path.name for path in case.images] for case in cases}


def test_channels_are_joined_in_their_order(files):
    root = files("imagesTr/b_0001.nii.gz", "imagesTr/b_0000.nii.gz", "labelsTr/b.nii.gz",
                 "imagesTr/a_0000.nii", "imagesTr/a_0001.NII.GZ", "labelsTr/a.nii.gz")
    cases, problems = find_cases(root, LAYOUT, TWO)
    assert problems == []
    assert names_of(cases) == {"a": ["a_0000.nii", "a_0001.NII.GZ"],
                               "b": ["b_0000.nii.gz", "b_0001.nii.gz"]}


def test_half_of_the_channels_missing_is_one_problem_for_each_case(files):
    root = files("imagesTr/a_0000.nii.gz", "imagesTr/b_0001.nii.gz", "imagesTr/c_0000.nii.gz",
                 "imagesTr/c_0001.nii.gz", *[f"labelsTr/{case}.nii.gz" for case in "abc"])
    cases, problems = find_cases(root, LAYOUT, TWO)
    assert list(names_of(cases)) == ["c"]
    first, second = map(str, problems)
    assert first.startswith("  a: ") and "lacks channel 1 (T2), a_0001.nii.gz; add it to" in first
    assert second.startswith("  b: ") and "lacks channel 0 (T1), b_0000.nii.gz" in second


def test_a_channel_too_many_and_a_label_too_few(files):
    root = files(*[f"imagesTr/a_000{n}.nii.gz" for n in range(3)], "labelsTr/a.nii.gz",
                 *[f"imagesTr/b_000{n}.nii.gz" for n in range(2)])
    cases, problems = find_cases(root, LAYOUT, TWO)
    assert cases == []
    assert [problem.case_id for problem in problems] == ["a", "b"]
    assert "is channel 2, but the dataset has 2 channel(s): T1, T2" in problems[0].found
    assert "without its label" in problems[1].found


def test_numbered_cases_whose_files_hold_all_channels_stay_cases(files):
    root = files("imagesTr/liver_0000.nii.gz", "imagesTr/liver_0001.nii.gz", shape=(4, 3, 2, 2))
    assert list(names_of(find_inputs([root / "imagesTr"], None, TWO)[0])) == [
        "liver_0000", "liver_0001"]
    files("labelsTr/liver_0000.nii.gz", "labelsTr/liver_0001.nii.gz")
    cases, problems = find_cases(root, LAYOUT, TWO)
    assert problems == [] and list(names_of(cases)) == ["liver_0000", "liver_0001"]


def test_one_file_of_all_channels_may_keep_its_0000(files):
    root = files("imagesTr/a_0000.nii.gz", shape=(4, 3, 2, 2))
    files("labelsTr/a.nii.gz")
    cases, problems = find_cases(root, LAYOUT, TWO)
    assert problems == [] and names_of(cases) == {"a": ["a_0000.nii.gz"]}


def test_inputs_are_joined_with_and_without_labels(files):
    root = files("i/a_0000.nii.gz", "i/a_0001.nii.gz", "i/b_0000.nii.gz", "l/a.nii.gz",
                 "l/b.nii.gz")
    for labels in (None, root / "l"):
        cases, (problem,) = find_inputs([root / "i"], labels, TWO)
        assert names_of(cases) == {"a": ["a_0000.nii.gz", "a_0001.nii.gz"]}
        assert problem.case_id == "b" and "lacks channel 1 (T2), b_0001.nii.gz" in problem.found
    alone = [root / "i/a_0001.nii.gz", root / "i/a_0000.nii.gz"]
    assert list(names_of(find_inputs(alone, None, TWO)[0])) == ["a"]


@pytest.mark.parametrize(("numbered", "case_id"), [(True, "a"), (False, "a_0000")])
def test_a_single_channel_loses_its_number_where_the_layout_has_them(numbered, case_id, files):
    root = files("i/a_0000.nii.gz")
    assert list(names_of(find_inputs([root / "i"], None, ("CT",), numbered)[0])) == [case_id]


def test_a_name_such_as_those_of_bids_is_a_case(files):
    root = files(*[f"{folder}/sub-0{n}_ses-0001_T1w.nii.gz" for folder in ("imagesTr", "labelsTr")
                   for n in (1, 2)])
    cases, problems = find_cases(root, LAYOUT, ("T1w",), True)
    assert problems == []
    assert list(names_of(cases)) == ["sub-01_ses-0001_T1w", "sub-02_ses-0001_T1w"]
