"""Images and labels pair by case id in every layout; whatever does not pair is named."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import DATASETS, DataError, Layout
from data import find_cases as find

TWO_FOLDERS = (Layout("imagesTr", "labelsTr"),)
CHALLENGE = ["{m}_train_1001_image.nii.gz", "{m}_train_1001_label.nii.gz",
             "{m}_train_1002_image.nii.gz", "{m}_train_1002_label.nii.gz"]


def touch(root, *names):
    """Empty files below root; finding cases reads no content."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def pairs(root, ids, image="imagesTr/{}.nii.gz", label="labelsTr/{}.nii.gz"):
    """An image and a label file for each case id."""
    touch(root, *[pattern.format(case_id) for case_id in ids for pattern in (image, label)])


def ids_of(cases):
    return [case.case_id for case in cases]


def find_cases(root, layouts):
    """The pairs, where there is nothing wrong."""
    cases, problems = find(root, layouts)
    assert problems == []
    return cases


def find_problems(root, layouts):
    """What is wrong, as it is told."""
    return [str(problem) for problem in find(root, layouts)[1]]


@pytest.mark.parametrize("modality", ["ct", "mr"])
@pytest.mark.parametrize("below_modality", [False, True])
def test_hearts_in_image_and_label_folders(modality, below_modality, tmp_path):
    root = tmp_path / modality.upper() if below_modality else tmp_path
    pairs(root, [f"{modality}_train_100{n}" for n in (2, 1)],
          "imagesTraining/{}_image.nii.gz", "labelsTraining/{}_label.nii.gz")
    for data_dir in {tmp_path, root}:
        cases = DATASETS[f"mmwhs-{modality}"].find_cases(data_dir)[0]
        assert ids_of(cases) == [f"{modality}_train_1001", f"{modality}_train_1002"]
        assert cases[0].image == root / f"imagesTraining/{modality}_train_1001_image.nii.gz"
        assert cases[0].label == root / f"labelsTraining/{modality}_train_1001_label.nii.gz"


def test_one_parent_serves_both_modalities(tmp_path):
    for modality in ("ct", "mr"):
        pairs(tmp_path / modality.upper(), [f"{modality}_train_1001"],
              "imagesTraining/{}_image.nii.gz", "labelsTraining/{}_label.nii.gz")
        assert ids_of(DATASETS[f"mmwhs-{modality}"].find_cases(tmp_path)[0]) == [
            f"{modality}_train_1001"]


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_hearts_side_by_side_with_both_modalities_in_one_folder(modality, tmp_path):
    touch(tmp_path, *[name.format(m=m) for name in CHALLENGE for m in ("ct", "mr")], "readme.txt")
    cases = DATASETS[f"mmwhs-{modality}"].find_cases(tmp_path)[0]
    assert ids_of(cases) == [f"{modality}_train_1001", f"{modality}_train_1002"]
    for case in cases:
        assert case.image == tmp_path / f"{case.case_id}_image.nii.gz"
        assert case.label == tmp_path / f"{case.case_id}_label.nii.gz"


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_hearts_in_the_folders_of_the_archives(modality, tmp_path):
    for m in ("ct", "mr"):
        touch(tmp_path / f"{m}_train", *[name.format(m=m) for name in CHALLENGE])
    for data_dir in (tmp_path, tmp_path / f"{modality}_train"):
        cases = DATASETS[f"mmwhs-{modality}"].find_cases(data_dir)[0]
        assert ids_of(cases) == [f"{modality}_train_1001", f"{modality}_train_1002"]


def test_hippocampus_and_its_parent(tmp_path):
    root = tmp_path / "Task04_Hippocampus"
    pairs(root, ["hippocampus_003", "hippocampus_001"])
    touch(root, "imagesTs/hippocampus_002.nii.gz", "dataset.json")
    found = [DATASETS["hippocampus"].find_cases(folder)[0] for folder in (root, tmp_path)]
    assert found[0] == found[1]
    assert ids_of(found[0]) == ["hippocampus_001", "hippocampus_003"]


@pytest.mark.parametrize(("images", "labels"), [
    ("Images.Training", "Labels.Training"), ("imagesTr", "labelsTr"),
    ("Task01_BrainTumour/imagesTr", "Task01_BrainTumour/labelsTr")])
def test_brains_in_every_layout(images, labels, tmp_path):
    pairs(tmp_path, ["BRATS_002", "BRATS_001"], images + "/{}.nii.gz", labels + "/{}.nii.gz")
    cases = DATASETS["msd-brats"].find_cases(tmp_path)[0]
    assert ids_of(cases) == ["BRATS_001", "BRATS_002"]
    assert cases[0].image == tmp_path / images / "BRATS_001.nii.gz"
    assert cases[0].label == tmp_path / labels / "BRATS_001.nii.gz"


def test_channel_numbers_of_nnunet_are_no_part_of_the_case_id(tmp_path):
    pairs(tmp_path, ["a", "b_0000", "c_1234"], image="imagesTr/{}_0000.nii.gz")
    cases = find_cases(tmp_path, TWO_FOLDERS)
    assert ids_of(cases) == ["a", "b_0000", "c_1234"]
    assert cases[0].image.name == "a_0000.nii.gz"


def test_cases_may_be_numbered_by_four_digits(tmp_path):
    pairs(tmp_path, ["liver_0000", "liver_0001"])
    assert ids_of(find_cases(tmp_path, TWO_FOLDERS)) == ["liver_0000", "liver_0001"]


def test_a_numbered_image_without_any_label_keeps_its_name(tmp_path):
    pairs(tmp_path, ["a"])
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz")
    first, second = find_problems(tmp_path, TWO_FOLDERS)
    assert "a_0000: " in first and "b_0000: " in second
    assert "without its label" in first and "without its label" in second


def test_channels_that_the_dataset_does_not_have_are_named(tmp_path):
    pairs(tmp_path, ["a"], image="imagesTr/{}_0000.nii.gz")
    touch(tmp_path, "imagesTr/a_0001.nii.gz")
    line, = find_problems(tmp_path, TWO_FOLDERS)
    assert "a_0001.nii.gz: is channel 1, but the dataset has 1 channel(s): image" in line


def test_hidden_and_other_files_are_passed_over(tmp_path):
    pairs(tmp_path, ["a"])
    touch(tmp_path, "imagesTr/._a.nii.gz", "imagesTr/.a.nii.gz.part", "labelsTr/notes.txt",
          "imagesTr/._b.nii.gz", "imagesTr/a.json")
    assert ids_of(find_cases(tmp_path, TWO_FOLDERS)) == ["a"]


def test_both_suffixes_pair_with_each_other(tmp_path):
    touch(tmp_path, "imagesTr/a.nii", "labelsTr/a.nii.gz")
    assert ids_of(find_cases(tmp_path, TWO_FOLDERS)) == ["a"]


def test_one_missing_file_shifts_no_other_pair(tmp_path):
    pairs(tmp_path, ["a", "b", "c"])
    (tmp_path / "labelsTr/a.nii.gz").unlink()
    touch(tmp_path, "labelsTr/d.nii.gz")
    cases, problems = find(tmp_path, TWO_FOLDERS)
    assert ids_of(cases) == ["b", "c"]
    first, second = map(str, problems)
    assert f"a: {tmp_path / 'imagesTr/a.nii.gz'}: is an image without its label" in first
    assert f"add the label to {tmp_path / 'labelsTr'}" in first and "or remove this file" in first
    assert f"d: {tmp_path / 'labelsTr/d.nii.gz'}: is a label without its image" in second


def test_a_case_that_occurs_twice_names_both_files(tmp_path):
    pairs(tmp_path, ["a"])
    touch(tmp_path, "imagesTr/a.nii")
    problem, = find_problems(tmp_path, TWO_FOLDERS)
    assert str(tmp_path / "imagesTr/a.nii") in problem
    assert "a.nii.gz" in problem and "remove one" in problem


def test_cases_of_the_other_modality_are_named(tmp_path):
    pairs(tmp_path, ["ct_train_1001", "mr_train_1001"],
          "imagesTraining/{}_image.nii.gz", "labelsTraining/{}_label.nii.gz")
    for modality, other in (("ct", "mr"), ("mr", "ct")):
        problem, = DATASETS[f"mmwhs-{modality}"].find_cases(tmp_path)[1]
        assert problem.case_id == f"{other}_train_1001" and "--dataset" in str(problem)


def test_a_missing_folder_is_named_with_what_to_give(tmp_path):
    with pytest.raises(DataError, match="no such directory.*imagesTr/ and labelsTr/") as raised:
        find_cases(tmp_path / "typo", TWO_FOLDERS)
    assert str(tmp_path / "typo") in str(raised.value)


def test_a_folder_without_a_layout_says_what_it_holds_and_what_was_sought(tmp_path):
    touch(tmp_path, "images/a.nii.gz", "imagesTr/a.nii.gz")
    with pytest.raises(DataError, match="holds none of.*it holds images, imagesTr") as raised:
        DATASETS["hippocampus"].find_cases(tmp_path)[0]
    for folder in ("labelsTr", "Task04_Hippocampus/imagesTr"):
        assert str(tmp_path / folder) in str(raised.value)


def test_empty_folders_say_what_files_were_expected(tmp_path):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    with pytest.raises(DataError, match=r"no cases.*\*\.nii\.gz"):
        find_cases(tmp_path, TWO_FOLDERS)


@settings(deadline=None, max_examples=25)
@given(st.sets(st.sampled_from("abcdefgh"), min_size=1), st.sets(st.sampled_from("abcdefgh")))
def test_cases_are_the_ids_in_both_folders_or_an_error_names_the_others(images, labels):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "labelsTr").mkdir()
        touch(root, *[f"imagesTr/{i}.nii.gz" for i in images],
              *[f"labelsTr/{i}.nii.gz" for i in labels])
        if images & labels:
            assert ids_of(find(root, TWO_FOLDERS)[0]) == sorted(images & labels)
        named = {line.strip()[0] for line in find_problems(root, TWO_FOLDERS)}
    assert named == images ^ labels
