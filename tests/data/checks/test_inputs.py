"""What is taken from the files, folders and lists that predict.py is given."""

from pathlib import Path

import numpy as np
import pytest

from data import DATASETS, DataError
from data.checks.inputs import find_inputs, verify_inputs

CT = DATASETS["mmwhs-ct"]


@pytest.fixture
def touch(tmp_path):
    """touch(*names) makes empty files below tmp_path."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def found(*inputs, labels=None):
    """Case ids and file names; no problem allowed."""
    cases, problems = find_inputs(inputs, labels)
    assert not problems
    return {case.case_id: case.image.name for case in cases}


def test_a_folder_gives_its_images_and_not_its_labels(touch):
    folder = touch("b_image.nii.gz", "b_label.nii.gz", "a.nii", "._c.nii.gz", "notes.txt",
                   "below/d.nii")
    assert found(folder) == {"a": "a.nii", "b": "b_image.nii.gz"}


def test_files_folders_and_lists_together(touch, monkeypatch):
    folder = touch("one/a.nii.gz", "two/b.nii.gz", "c.nii.gz")
    (folder / "list.txt").write_text("two/b.nii.gz\n\n  c.nii.gz \n")
    monkeypatch.chdir(folder)  # as the shell understands the paths of a list
    assert list(found("one", "list.txt")) == ["a", "b", "c"]


def problem_of(*inputs, labels=None):
    _, problems = find_inputs(inputs, labels)
    problem, = problems
    return str(problem)


def test_what_cannot_be_taken_is_said(touch):
    folder = touch("scan.raw", "scan.dcm", "data/imagesTr/a.nii.gz", "data/labelsTr/a.nii.gz",
                   "labels/a_label.nii.gz")
    assert "no such file or folder" in problem_of(folder / "absent.nii.gz")
    assert "is neither NIfTI nor a .txt list" in problem_of(folder / "scan.raw")
    assert "is DICOM; convert its series to NIfTI with dcm2niix" in problem_of(folder / "scan.dcm")
    assert "give imagesTr or labelsTr below it" in problem_of(folder / "data")
    assert "holds no NIfTI images" in problem_of(folder / "labels")


def test_two_files_of_one_case_id_are_a_problem(touch):
    folder = touch("one/a.nii.gz", "two/a_image.nii")
    assert "has the case id of" in problem_of(folder / "one", folder / "two")


def test_a_file_given_twice_is_taken_once(touch):
    folder = touch("one/a.nii.gz", "one/b.nii.gz")
    (folder / "link.nii.gz").symlink_to(folder / "one" / "a.nii.gz")
    assert found(folder / "one", folder / "one" / "a.nii.gz") == {"a": "a.nii.gz", "b": "b.nii.gz"}


def test_nothing_is_passed_over_in_silence(touch):
    folder = touch("lists/one.txt", "images/a.nii.gz")
    (folder / "lists" / "two.txt").write_text(f"{folder / 'lists' / 'one.txt'}\n")
    assert "lists/one.txt; list the images themselves" in problem_of(folder / "lists" / "two.txt")
    (folder / "lists" / "two.txt").write_bytes(b"scans/\xe9t\xe9.nii")
    assert "two.txt: cannot be read" in problem_of(folder / "lists" / "two.txt")
    (folder / "images" / "gone.nii.gz").symlink_to(folder / "nowhere")
    assert list(found(folder / "images")) == ["a", "gone"]  # which cannot be read, and that is said


def test_a_label_belongs_to_one_image(touch):
    folder = touch("i/a_0000.nii.gz", "i/a.nii.gz", "l/a.nii.gz")
    assert "a_0000.nii.gz: has no label" in problem_of(folder / "i", labels=folder / "l")


def test_labels_pair_by_case_id(touch):
    folder = touch("i/a_image.nii.gz", "i/b_0000.nii.gz", "l/a_label.nii.gz", "l/b.nii.gz",
                   "l/other.nii.gz")
    cases, problems = find_inputs([folder / "i"], folder / "l")
    assert not problems
    assert {case.case_id: case.label.name for case in cases} == {
        "a": "a_label.nii.gz", "b": "b.nii.gz"}


def test_images_and_labels_in_one_folder(touch):
    folder = touch("a_image.nii.gz", "a_label.nii.gz")
    (case,), _ = find_inputs([folder], folder)
    assert (case.image.name, case.label.name) == ("a_image.nii.gz", "a_label.nii.gz")


def test_a_missing_label_is_a_problem(touch):
    folder = touch("i/a.nii.gz", "l/b.nii.gz")
    assert "has no label" in problem_of(folder / "i", labels=folder / "l")
    assert "is no folder" in problem_of(folder / "i", labels=folder / "x")


def test_all_problems_are_told_at_once(save, tmp_path):
    shear = np.diag([0.8, 0.8, 2.0, 1.0])
    shear[1, 2] = 0.5
    image = np.arange(-364, 365, dtype=np.int16).reshape(9, 9, 9)
    save(tmp_path / "good.nii.gz", image, np.diag([0.8, 0.8, 2.0, 1.0]))
    save(tmp_path / "nan.nii.gz", np.full((9, 9, 9), np.nan, np.float32))
    save(tmp_path / "channels.nii.gz", np.zeros((9, 9, 9, 2), np.int16))
    save(tmp_path / "tilted.nii.gz", image, shear)
    (tmp_path / "broken.nii.gz").write_bytes(b"no gzip")
    cases, problems = find_inputs([tmp_path, tmp_path / "absent.nii"])
    with pytest.raises(DataError) as raised:
        verify_inputs(cases, CT, problems)
    text = str(raised.value)
    assert text.startswith("5 problem(s) with the inputs:") and "good" not in text
    for words in ("absent.nii: no such file", "nan.nii.gz: 729 voxels are NaN", "(9, 9, 9, 2)",
                  "tilted.nii.gz: the axes of its affine are sheared", "broken.nii.gz: cannot be"):
        assert words in text


def test_shear_matters_only_where_volumes_are_resampled(save, tmp_path):
    shear = np.eye(4)
    shear[1, 2] = 0.5
    save(tmp_path / "a.nii", np.arange(729, dtype=np.int16).reshape(9, 9, 9), shear)
    cases, _ = find_inputs([Path(tmp_path)])
    with pytest.warns(UserWarning, match="a.nii: the axes of its affine are sheared, by up to 4 v"):
        verify_inputs(cases, DATASETS["hippocampus"])
