"""From settings to cases: which are trained on, which may be scored, and what is refused."""

import json
import re
import shutil
import warnings
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from configs import training_config
from data import DataError, Split, cases_to_score, select_cases

SIZE = (20, 18, 16)
IDS = [f"ct_train_{n}" for n in range(1001, 1006)]


@pytest.fixture(scope="module")
def hearts(phantoms):
    """Five phantom hearts."""
    return phantoms("mmwhs-ct", 5, SIZE)


def run_of(folder, *flags, dataset="mmwhs-ct"):
    """The settings of a training run."""
    return training_config("basic", [str(folder), "_", "--dataset", dataset, "--network", "unetr",
                                     "--experiment", "A.exp", *map(str, flags)])


def evaluation(**changes):
    """What cases_to_score reads of the settings of an evaluation."""
    values = dict(data=None, mode="validation", cases=(), include_training_cases=False,
                  native_space=False)
    return SimpleNamespace(**values | changes)


def ids_of(cases):
    return [case.case_id for case in cases]


@pytest.mark.parametrize("fold", [1, 2, 5])
def test_the_fold_that_is_asked_for_is_the_fold_that_is_held_out(fold, hearts):
    selection = select_cases(run_of(hearts, "--training_split", 1, "--fold", fold))
    assert ids_of(selection.group("validation")) == [IDS[fold - 1]]
    assert ids_of(selection.group("training")) == IDS[:fold - 1] + IDS[fold:]
    assert selection.group("testing") == []
    assert len(selection.folds) == 5
    assert selection.dataset.name == "mmwhs-ct"
    assert list(selection.cases) == IDS


@pytest.mark.parametrize(("held_out", "fold", "folds"), [(1, 6, 5), (2, 3, 2), (3, 2, 1)])
def test_a_fold_that_does_not_exist_is_refused(held_out, fold, folds, hearts):
    with pytest.raises(ValueError, match=rf"--fold {fold}: there are {folds} fold"):
        select_cases(run_of(hearts, "--training_split", held_out, "--fold", fold))


def test_a_fold_that_the_file_lacks_is_refused(hearts, tmp_path):
    path = tmp_path / "splits.json"
    path.write_text(json.dumps([{"train": IDS[:2], "val": IDS[2:]}]))
    with pytest.raises(ValueError, match="--fold 2: there are 1 fold"):
        select_cases(run_of(hearts, "--splits", path, "--fold", 2))


def test_a_file_of_splits_overrides_the_sizes(hearts, tmp_path):
    path = tmp_path / "splits.json"
    path.write_text(json.dumps([{"train": IDS[:1], "val": IDS[1:2]},
                                {"train": IDS[4:], "val": IDS[3:4], "test": IDS[:2]}]))
    selection = select_cases(run_of(hearts, "--splits", path, "--fold", 2, "--training_split", 99))
    assert selection.split == Split((IDS[4],), (IDS[3],), tuple(IDS[:2]))
    assert ids_of(selection.group("testing")) == IDS[:2]


def test_folds_by_their_number(hearts):
    selection = select_cases(run_of(hearts, "--num_folds", 2, "--fold", 2))
    assert [fold.validation for fold in selection.folds] == [tuple(IDS[:2]), tuple(IDS[2:])]
    assert ids_of(selection.group("validation")) == IDS[2:]
    with pytest.raises(ValueError, match="--fold 3: there are 2 fold"):
        select_cases(run_of(hearts, "--num_folds", 2, "--fold", 3))


def test_the_run_s_own_intensities_are_those_of_its_dataset(hearts):
    run = run_of(hearts, "--training_split", 1, "--intensity", "minmax")
    assert select_cases(run).dataset.intensity == "minmax"
    assert cases_to_score(evaluation(cases=(IDS[3],)), run, SPLIT)[0].intensity == "minmax"


def test_the_published_fold_size_needs_more_than_four_hearts(phantoms):
    with pytest.raises(ValueError, match="3 cases cannot be split into folds of 4"):
        select_cases(run_of(phantoms("mmwhs-ct", 3, SIZE)))


def test_sizes_of_both_groups_of_the_hippocampus(phantoms):
    folder = phantoms("hippocampus", 5, SIZE)
    selection = select_cases(run_of(folder, "--training_split", 2, "--validation_split", 1,
                                    dataset="hippocampus"))
    assert [len(selection.group(name)) for name in ("training", "validation", "testing")] == [
        2, 1, 2]
    with pytest.raises(ValueError, match="5 cases cannot be split into 60 for the test"):
        select_cases(run_of(folder, dataset="hippocampus"))


def test_broken_files_are_refused_before_anything_is_trained(hearts, tmp_path):
    folder = shutil.copytree(hearts, tmp_path / "copy")
    for number in (1002, 1004):
        path = folder / "imagesTraining" / f"ct_train_{number}_image.nii.gz"
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"2 problem\(s\) in 5 cases") as raised:
        select_cases(run_of(folder, "--training_split", 1))
    assert "ct_train_1002" in str(raised.value)
    assert "ct_train_1004" in str(raised.value)


SPLIT = Split(tuple(IDS[:3]), (IDS[4], IDS[3]))


def test_the_group_is_scored_in_the_order_of_the_split(hearts):
    dataset, cases = cases_to_score(evaluation(), run_of(hearts), SPLIT)
    assert dataset.name == "mmwhs-ct"
    assert list(cases) == [IDS[4], IDS[3]]
    assert all(case_id == case.case_id for case_id, case in cases.items())


def test_chosen_cases_override_the_group(hearts):
    chosen = evaluation(mode="testing", cases=(IDS[3],))
    assert list(cases_to_score(chosen, run_of(hearts), SPLIT)[1]) == [IDS[3]]


@pytest.mark.parametrize("changes", [{"mode": "training"}, {"cases": (IDS[3], IDS[1])}])
def test_training_cases_are_refused_unless_asked_for(changes, hearts):
    with pytest.raises(ValueError, match="was trained on.*--include_training_cases") as raised:
        cases_to_score(evaluation(**changes), run_of(hearts), SPLIT)
    assert IDS[1] in str(raised.value)
    allowed = evaluation(**changes, include_training_cases=True)
    assert IDS[1] in cases_to_score(allowed, run_of(hearts), SPLIT)[1]


def test_an_empty_group_states_the_sizes(hearts):
    with pytest.raises(ValueError, match="--mode testing.*'validation': 2, 'testing': 0"):
        cases_to_score(evaluation(mode="testing"), run_of(hearts), SPLIT)


def test_cases_that_are_not_there_are_named(hearts):
    with pytest.raises(ValueError, match="lacks 1 of the 2 cases: ct_train_9999") as raised:
        cases_to_score(evaluation(cases=(IDS[3], "ct_train_9999")), run_of(hearts), SPLIT)
    assert str(hearts) in str(raised.value)


def test_data_that_have_moved_are_found_where_the_user_says(hearts, tmp_path):
    moved = run_of(tmp_path / "gone")
    cases = cases_to_score(evaluation(data=str(hearts)), moved, SPLIT)[1]
    assert all(hearts in case.image.parents for case in cases.values())
    with pytest.raises(ValueError, match="gone.*no such directory"):
        cases_to_score(evaluation(), moved, SPLIT)


def test_only_the_cases_to_be_scored_must_be_sound(hearts, tmp_path):
    folder = shutil.copytree(hearts, tmp_path / "copy")
    (folder / "labelsTraining" / f"{IDS[3]}_label.nii.gz").write_bytes(b"")
    assert list(cases_to_score(evaluation(cases=(IDS[4],)), run_of(folder), SPLIT)[1]) == [IDS[4]]
    with pytest.raises(ValueError, match=f"{IDS[3]}.*cannot be read"):
        cases_to_score(evaluation(), run_of(folder), SPLIT)


@pytest.mark.parametrize(("symmetric", "flags", "said"), [
    (False, (), "left part, right part can hardly .*: give --augmentation anatomical"),
    (True, ("--augmentation", "anatomical"), 'take "symmetric" out of dataset.json and give'),
    (False, ("--augmentation", "anatomical"), None)])
def test_sides_and_mirror_images_do_not_go_together(phantoms, tmp_path, symmetric, flags, said):
    root = tmp_path / "Task04_Hippocampus"
    shutil.copytree(next(path for path in phantoms("hippocampus", 5, SIZE).iterdir()
                         if path.is_dir()), root)
    content = json.loads((root / "dataset.json").read_text())
    content["labels"] = {"0": "background", "1": "left part", "2": "right part"}
    (root / "dataset.json").write_text(json.dumps(content | {"symmetric": symmetric}))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        select_cases(run_of(root, *flags, dataset=str(root / "dataset.json")))
    told = [str(warning.message) for warning in told if "flipped" in str(warning.message)]
    assert len(told) == (said is not None)
    assert all(re.search(said, text) for text in told)


def test_sheared_grids_are_refused_where_their_own_grid_is_needed(hearts, tmp_path):
    """Runs that were trained on them are resumed, and scored on the resampled grid."""
    folder = shutil.copytree(hearts, tmp_path / "sheared")
    for path in [*folder.glob("*Training/*")]:
        file = nibabel.load(path)
        affine = file.affine.copy()
        affine[1, 2] += 0.5
        nibabel.save(nibabel.Nifti1Image(np.asanyarray(file.dataobj), affine), path)
    for refused in (lambda: select_cases(run_of(folder, "--training_split", 1)),
                    lambda: cases_to_score(evaluation(native_space=True), run_of(folder), SPLIT)):
        with pytest.raises(DataError, match="sheared"):
            refused()
    for warned in (lambda: select_cases(run_of(folder, "--training_split", 1, "--resume")),
                   lambda: cases_to_score(evaluation(), run_of(folder), SPLIT)):
        with pytest.warns(UserWarning, match="sheared"):
            assert warned()


def test_a_split_that_lacks_cases_tells_what_was_passed_over(hearts, tmp_path):
    folder = shutil.copytree(hearts, tmp_path / "hearts")
    for case_id in IDS[1:]:
        image = folder / "imagesTraining" / f"{case_id}_image.nii.gz"
        image.rename(image.with_suffix(".bak"))
        (folder / "labelsTraining" / f"{case_id}_label.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"4 file\(s\), each NIfTI by its content, passed over"):
        select_cases(run_of(folder, "--training_split", 1))
