"""CT of one's own: the plan of its intensities and crops, and what is told of bad volumes."""

import json
import shutil

import nibabel
import numpy as np
import pytest

from data.phantoms.layouts import PHANTOMS

LABELS = PHANTOMS["mmwhs-ct"].labels
SMALL = ("--network", "nnunet", "--filters", 4, 8, 8, "--device", "cpu", "--training_split", 1,
         "--validation_split", 1)
NAME = "Heart.exp"


@pytest.fixture
def raw(phantoms, tmp_path):
    """Five phantom hearts as nnU-Net has them on disk, and their case ids."""
    made = phantoms("mmwhs-ct", 5, (32, 32, 24))
    root = tmp_path / "Dataset902_Heart"
    (root / "imagesTr").mkdir(parents=True)
    (root / "labelsTr").mkdir()
    case_ids = []
    for path in sorted((made / "imagesTraining").iterdir()):
        case_id = path.name.removesuffix("_image.nii.gz")
        case_ids.append(case_id)
        shutil.copy(path, root / f"imagesTr/{case_id}_0000.nii.gz")
        shutil.copy(made / f"labelsTraining/{case_id}_label.nii.gz",
                    root / f"labelsTr/{case_id}.nii.gz")
    (root / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "CT"}, "numTraining": 5, "file_ending": ".nii.gz",
        "labels": {name: value for value, name in LABELS.items()}}))
    return root, case_ids


def voxels(path):
    return np.asarray(nibabel.load(path).dataobj)


def test_the_window_comes_from_the_labelled_voxels_outside_the_test(raw, run_script, tmp_path):
    root, case_ids = raw
    done = run_script("train_basic.py", root, "_", "--experiment", NAME, "--epochs", 1, *SMALL)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "experiments" / NAME
    config = json.loads((folder / "config.json").read_text())
    fold, = json.loads((folder / "splits.json").read_text())
    learnt = fold["train"] + fold["val"]
    labelled = []
    for case_id in learnt:
        image = voxels(root / f"imagesTr/{case_id}_0000.nii.gz")
        labelled.append(image[voxels(root / f"labelsTr/{case_id}.nii.gz") > 0])
    expected = np.percentile(np.concatenate(labelled), (0.5, 99.5))
    assert config["intensity"] == "hu"
    assert config["window"] == pytest.approx(expected, abs=10)  # there each case counts the same
    assert f"Reading {len(learnt)} volumes" in done.stderr
    assert "of the labelled voxels of 4 cases, as in nnU-Net" in done.stdout
    assert config["crop_centres"] == "classes" and config["num_crops"] == 7
    assert " ml in the median case, " in done.stdout

    # Nothing is planned or read again: the run goes on, and is scored, as it was trained.
    done = run_script("train_basic.py", root, "_", "--experiment", NAME, "--epochs", 2, "--resume",
                      *SMALL)
    assert done.returncode == 0, done.stderr
    assert "Reading" not in done.stderr
    again = json.loads((folder / "config.json").read_text())
    for name in ("intensity", "window", "crop_centres", "num_crops"):
        assert again[name] == config[name]

    done = run_script("train_basic.py", root, "_", "--network", "nnunet", "--show_settings",
                      "--window", -100, 300, "--crop_centres", "foreground", "--num_crops", 3)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line}
    assert rows["window"] == ["-100.0,300.0", "flag"] and rows["intensity"] == ["hu", "plan"]
    assert rows["crop_centres"] == ["foreground", "flag"] and rows["num_crops"] == ["3", "flag"]
    assert not any(words[-2:-1] == ["-"] for words in rows.values())


def test_bad_volumes_are_told_in_one_message(raw, run_script, tmp_path):
    """Whatever the plan could read of them; a label of background alone is only doubtful."""
    root, case_ids = raw
    for number, damage in enumerate(("cut", "nan", "empty")):
        image = root / f"imagesTr/{case_ids[number]}_0000.nii.gz"
        label = root / f"labelsTr/{case_ids[number]}.nii.gz"
        if damage == "cut":
            image.write_bytes(image.read_bytes()[:2000])
        elif damage == "nan":
            array = voxels(image).astype(np.float32)
            array[3, 4, 5] = np.nan
            nibabel.save(nibabel.Nifti1Image(array, nibabel.load(image).affine), image)
        else:
            nibabel.save(nibabel.Nifti1Image(np.zeros_like(voxels(label)),
                                             nibabel.load(label).affine), label)
    done = run_script("train_basic.py", root, "_", "--experiment", NAME, "--epochs", 1, *SMALL)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "2 problem(s) in 5 cases" in done.stderr
    assert f"{case_ids[0]}: " in done.stderr and "cannot be read" in done.stderr
    assert f"{case_ids[1]}: " in done.stderr and "1 voxels are NaN or infinite" in done.stderr
    assert not (tmp_path / "experiments").exists()
    done = run_script("scripts/verify_dataset.py", root, "--workers", 1)
    assert done.returncode == 2
    for said in ("cannot be read", "1 voxels are NaN or infinite", "has no foreground voxel"):
        assert said in done.stdout
