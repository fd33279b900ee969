"""nnU-Net's raw layout with two channels, through every script that a user would run."""

import csv
import json
import shutil

import nibabel
import numpy as np
import pytest

CHANNELS = {"0": "FLAIR", "1": "T1w"}
LABELS = {"background": 0, "edema": 1, "non-enhancing tumour": 2, "enhancing tumour": 3}
SMALL = ("--network", "nnunet", "--filters", 4, 8, 8, "--device", "cpu", "--training_split", 1,
         "--validation_split", 1)
PLAN = {"img_size": [20, 20, 16], "spacing_mm": None, "intensity": "zscore", "window": None,
        "crop_centres": "classes", "num_crops": 3,  # one of three classes is rare
        "network_options": {"filters": [4, 8, 8]}}  # 20 x 18 x 16 voxels, halved twice
NAME = "Mine.exp"


@pytest.fixture(scope="session")
def raw(phantoms, tmp_path_factory):
    """Five phantom brains, their first two channels, as nnU-Net has them on disk."""
    task = phantoms("msd-brats", 5, (20, 18, 16)) / "Task01_BrainTumour"
    root = tmp_path_factory.mktemp("Dataset901_Mine")
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir()
    for path in sorted((task / "imagesTr").iterdir()):
        case_id, image = path.name.removesuffix(".nii.gz"), nibabel.load(path)
        for number in range(2):
            nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj)[..., number], image.affine),
                         root / "imagesTr" / f"{case_id}_000{number}.nii.gz")
        shutil.copy(task / "labelsTr" / path.name, root / "labelsTr")
    (root / "dataset.json").write_text(json.dumps({
        "channel_names": CHANNELS, "labels": LABELS, "numTraining": 5, "file_ending": ".nii.gz"}))
    return root


@pytest.fixture
def copy(raw, tmp_path):
    """A copy to spoil, and its third case."""
    folder = tmp_path / "raw"
    shutil.copytree(raw, folder)
    return folder, "BRATS_003"


def test_verify_train_evaluate_and_predict(raw, run_script, tmp_path):
    done = run_script("scripts/verify_dataset.py", raw, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert f"5 cases of {raw.name}, 0 error(s)" in done.stdout
    assert "  img_size 20,20,16: median image 20 x 18 x 16 voxels of 1 x 1 x 1 mm" in done.stdout

    done = run_script("train_basic.py", raw, "_", "--experiment", NAME, "--epochs", 1, *SMALL)
    assert done.returncode == 0, done.stderr
    assert f"Planned from the images of {raw}; flags override it:\n" in done.stdout
    path = tmp_path / "experiments" / NAME / "config.json"
    config = json.loads(path.read_text())
    assert config["dataset_definition"]["channels"] == ["FLAIR", "T1w"]
    assert {name: config[name] for name in PLAN} == PLAN and config["epochs"] == 1

    done = run_script("train_basic.py", raw, "_", "--experiment", NAME, "--epochs", 2, "--resume",
                      *SMALL)
    assert done.returncode == 0, done.stderr
    assert "Planned from" not in done.stdout
    config = json.loads(path.read_text())
    assert {name: config[name] for name in PLAN} == PLAN and config["epochs"] == 2

    done = run_script("eval.py", "--experiment", NAME, "--mode", "testing", "--device", "cpu",
                      "--native_space")
    assert done.returncode == 0, done.stderr
    scores = tmp_path / "experiments" / NAME / "per_case.csv"
    expected = [row for row in csv.DictReader(scores.open())]
    assert {row["case_id"] for row in expected} == {"BRATS_005"}

    done = run_script("predict.py", "--experiment", NAME, "--input", raw / "imagesTr", "--labels",
                      raw / "labelsTr", "--output", "out", "--device", "cpu", "--preview")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == [
        f"BRATS_00{number}.nii.gz" for number in range(1, 6)]
    found = [row for row in csv.DictReader((tmp_path / "out" / "per_case.csv").open())
             if row["case_id"] == "BRATS_005"]
    assert [row["dice"] for row in found] == [row["dice"] for row in expected]

    changed = tmp_path / "changed"
    shutil.copytree(raw / "imagesTr", changed)
    first, second = (changed / f"BRATS_001_000{number}.nii.gz" for number in range(2))
    shutil.copy(first, second)
    arguments = ("predict.py", "--experiment", NAME, "--input", changed, "--output", "out",
                 "--device", "cpu")
    done = run_script(*arguments)
    assert done.returncode == 2 and "BRATS_001: is of " in done.stderr
    second.unlink()
    done = run_script(*arguments)
    assert done.returncode == 2
    assert "lacks channel 1 (T1w), BRATS_001_0001.nii.gz" in done.stderr


def lose_channels(folder, case_id):
    for name in (case_id, "BRATS_001"):
        (folder / "imagesTr" / f"{name}_0001.nii.gz").unlink()
    return f"{case_id}: ", "BRATS_001: ", f"lacks channel 1 (T1w), {case_id}_0001.nii.gz"


def move_a_channel(folder, case_id):
    path = folder / "imagesTr" / f"{case_id}_0001.nii.gz"
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj)[:-2], image.affine), path)
    return f"{case_id}: ", "channel T1w lies on another grid, 18 x 18 x 16", "20 x 18 x 16 voxels"


def make_regions(folder, case_id):
    path = folder / "dataset.json"
    content = json.loads(path.read_text())
    content["labels"] = {"background": 0, "whole tumour": [1, 2, 3], "core": [2, 3]}
    content["file_ending"] = ".mha"
    path.write_text(json.dumps(content))
    return ("labels 'whole tumour': is a region of the values [1, 2, 3]", "labels 'core'",
            "file_ending '.mha'")


@pytest.mark.parametrize("spoil", [lose_channels, move_a_channel, make_regions])
def test_what_cannot_be_used_is_told_by_every_script(spoil, copy, run_script, tmp_path):
    folder, case_id = copy
    said = spoil(folder, case_id)
    for script, arguments in (("scripts/verify_dataset.py", ("--workers", 1)),
                              ("train_basic.py", ("_", "--experiment", NAME, *SMALL))):
        done = run_script(script, folder, *arguments)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        for words in said:
            assert words in done.stdout + done.stderr, script
    assert not (tmp_path / "experiments").exists()
