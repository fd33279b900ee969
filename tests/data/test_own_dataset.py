"""A dataset of one's own, from its dataset.json to verified cases and folds."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from configs.dataset_json import read_dataset_json
from data import (
    DATASETS,
    DataError,
    dataset_from_definition,
    dataset_of,
    load_volumes,
    preprocessing,
    verify_cases,
)
from data.volumes.transforms import case_files

SIZE = (20, 18, 16)


def definition(**changes):
    """A definition as configs.dataset_json gives it."""
    values = {"name": "Mine", "channels": ["MR"], "cases": None,
              "labels": {"0": "background", "5": "wall", "200": "lumen"}}
    return values | changes


def listed(*ids):
    return [{"case_id": i, "image": f"scans/{i}.nii.gz", "label": f"masks/{i}.nii.gz"}
            for i in ids]


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize("name", ["hippocampus", "msd-brats"])
def test_a_decathlon_task_by_its_own_file_is_the_published_set(name, phantoms):
    root = phantoms(name, 5, SIZE)
    root = next(path for path in root.iterdir() if path.is_dir())
    own = dataset_from_definition(
        json.loads(json.dumps(read_dataset_json(root / "dataset.json"))))
    published = DATASETS[name]
    cases, problems = own.find_cases(root)
    assert (cases, problems) == published.find_cases(root)
    verify_cases(cases, own)
    assert len(own.channels) == len(published.channels)
    assert own.label_values == published.label_values
    (split,) = own.split([case.case_id for case in cases], None, None)
    assert [len(split.training), len(split.validation), len(split.testing)] == [3, 1, 1]
    volume = load_volumes(cases[:1], own)[0]
    assert torch.equal(volume["label"], load_volumes(cases[:1], published)[0]["label"])


def test_what_a_definition_leaves_open():
    own = dataset_from_definition(definition())
    assert own.class_names == ("background", "wall", "lumen")
    assert own.label_values == {0: 0, 5: 1, 200: 2}
    assert (own.intensity, own.spacing_mm, own.padding_mode) == ("zscore", None, "edge")
    assert own.augmentation == DATASETS["msd-brats"].augmentation


@pytest.mark.parametrize(("says", "axes"), [({}, ()), ({"symmetric": True}, (0,))])
def test_own_data_are_mirrored_where_their_file_says_so(says, axes):
    settings = dict.fromkeys(("intensity", "window", "spacing_mm", "num_crops"))
    own = dataset_of(SimpleNamespace(dataset="mine", dataset_definition=definition(**says),
                                     augmentation="anatomical", crop_centres="foreground",
                                     **settings))
    assert own.augmentation.flip_axes == axes


@pytest.mark.parametrize(("channels", "intensity"), [
    (["CT"], "ct"), (["ct"], "ct"), (["CT_venous"], "ct"), (["CT scan", "CT late"], "ct"),
    (["MRI"], "zscore"), (["CT", "PET"], "zscore"), (["factor"], "zscore")])
def test_ct_is_what_says_ct(channels, intensity):
    assert dataset_from_definition(definition(channels=channels)).intensity == intensity


def test_classes_are_numbered_by_their_values(write_case):
    label = np.zeros((6, 6, 6), np.int16)
    label.flat[:3] = 200, 5, 0
    own = dataset_from_definition(definition())
    volume = preprocessing(own)(case_files(write_case(np.ones((6, 6, 6)), label)))
    assert volume["label"].flatten()[:4].tolist() == [2, 1, 0, 0]


def test_a_run_s_settings_hold_for_it_too():
    config = SimpleNamespace(dataset="dataset.json", dataset_definition=definition(),
                             intensity="ct", window=(0, 100), spacing_mm=[1, 2, 3],
                             num_crops=4, crop_centres="classes", augmentation="published")
    own = dataset_of(config)
    assert (own.name, own.intensity, own.window, own.spacing_mm) == (
        "Mine", "ct", (0, 100), (1, 2, 3))
    assert (own.augmentation.num_crops, own.augmentation.centres) == (4, "classes")


@pytest.mark.parametrize(("number", "sizes"), [
    (3, (1, 1, 1)), (10, (7, 1, 2)), (100, (68, 12, 20)), (1000, (680, 120, 200))])
def test_a_fifth_tests_and_15_percent_of_the_rest_validate(number, sizes):
    ids = [f"case_{n:04d}" for n in range(number)]
    (split,) = dataset_from_definition(definition()).split(ids, None, None)
    assert (len(split.training), len(split.validation), len(split.testing)) == sizes
    assert split.testing == tuple(ids[-sizes[2]:])


def test_folds_and_sizes_of_one_s_own():
    ids, own = [f"c{n:02d}" for n in range(20)], dataset_from_definition(definition())
    folds = own.split(ids, None, None, 4)
    assert [len(fold.validation) for fold in folds] == [4, 4, 4, 4]
    assert {fold.testing for fold in folds} == {tuple(ids[16:])}
    (split,) = own.split(ids, 2, 5)
    assert (len(split.training), len(split.validation), len(split.testing)) == (13, 5, 2)


def test_listed_cases_are_found_and_others_passed_over(tmp_path):
    own = dataset_from_definition(definition(cases=listed("b", "a")))
    touch(tmp_path, *[f"{folder}/{i}.nii.gz" for folder in ("scans", "masks") for i in "abc"])
    cases, problems = own.find_cases(tmp_path)
    assert problems == []
    assert [case.case_id for case in cases] == ["a", "b"]
    assert cases[0].image == tmp_path / "scans/a.nii.gz"
    assert cases[0].label == tmp_path / "masks/a.nii.gz"


def test_listed_files_that_are_not_there_are_problems(tmp_path):
    own = dataset_from_definition(definition(cases=listed("a", "b", "c")))
    touch(tmp_path, "scans/a.nii.gz", "masks/a.nii.gz", "scans/b.nii.gz")
    cases, problems = own.find_cases(tmp_path)
    assert [case.case_id for case in cases] == ["a"]
    assert [problem.case_id for problem in problems] == ["b", "c", "c"]
    assert str(tmp_path / "masks/b.nii.gz") in str(problems[0])
    assert "is listed in dataset.json" in str(problems[0])


def test_the_wrong_folder_says_which_is_wanted(tmp_path):
    own = dataset_from_definition(definition(cases=listed("a", "b")))
    with pytest.raises(DataError, match="none of the 2 cases.*holds masks/ and scans/"):
        own.find_cases(tmp_path)
    with pytest.raises(DataError, match="no such directory.*masks/ and scans/"):
        own.find_cases(tmp_path / "gone")


def test_images_that_nnunet_numbered_after_listing_them_are_found(tmp_path):
    own = dataset_from_definition(definition(cases=listed("a")))
    touch(tmp_path, "scans/a_0000.nii.gz", "masks/a.nii.gz")
    (case,), problems = own.find_cases(tmp_path)
    assert problems == []
    assert (case.case_id, case.image.name) == ("a", "a_0000.nii.gz")
    touch(tmp_path, "scans/a_0001.nii.gz")
    cases, (problem,) = own.find_cases(tmp_path)
    assert cases == [] and "is channel 1, but the dataset has 1 channel(s): MR" in str(problem)
    two = dataset_from_definition(definition(cases=listed("a"), channels=["T1", "T2"]))
    (case,), problems = two.find_cases(tmp_path)
    assert problems == [] and [path.name for path in case.images] == [
        "a_0000.nii.gz", "a_0001.nii.gz"]


def test_a_list_may_name_a_file_for_each_channel(tmp_path):
    entry = {"case_id": "a", "image": ["t1/a.nii.gz", "t2/a.nii.gz"], "label": "masks/a.nii.gz"}
    own = dataset_from_definition(definition(cases=[entry], channels=["T1", "T2"]))
    touch(tmp_path, "t1/a.nii.gz", "masks/a.nii.gz")
    (problem,) = own.find_cases(tmp_path)[1]
    assert problem.path == tmp_path / "t2/a.nii.gz" and "is not there" in problem.found
    touch(tmp_path, "t2/a.nii.gz")
    (case,), problems = own.find_cases(tmp_path)
    assert problems == [] and case.images == (tmp_path / "t1/a.nii.gz", tmp_path / "t2/a.nii.gz")


def test_fewer_cases_than_numtraining_says_are_warned_of(tmp_path):
    own = dataset_from_definition(definition(num_training=3))
    touch(tmp_path, *[f"{folder}/{i}.nii.gz" for folder in ("imagesTr", "labelsTr") for i in "ab"])
    (said,) = own.passed_over(tmp_path)
    assert "says numTraining 3, but 2 cases can be taken" in str(said)
    assert dataset_from_definition(definition(num_training=2)).passed_over(tmp_path) == []


def test_without_a_list_all_of_nnunet_s_folders_is_used(phantoms, tmp_path):
    task = phantoms("hippocampus", 3, SIZE) / "Task04_Hippocampus"
    for folder, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        (tmp_path / folder).mkdir()
        for path in (task / folder).iterdir():
            name = path.name.removesuffix(".nii.gz") + ending
            shutil.copy(path, tmp_path / folder / name)
    (tmp_path / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "MRI"}, "labels": {"background": 0, "front": 1, "back": 2},
        "numTraining": 3, "file_ending": ".nii.gz"}))
    own = dataset_from_definition(read_dataset_json(tmp_path / "dataset.json"))
    cases, problems = own.find_cases(tmp_path)
    assert problems == []
    assert [case.case_id for case in cases] == [f"hippocampus_00{n}" for n in (1, 3, 4)]
    verify_cases(cases, own)
