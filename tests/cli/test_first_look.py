"""What training says about its data before it trains, as a user sees it."""

import json

import nibabel
import numpy as np
import pytest


@pytest.fixture
def make(tmp_path):
    """make(affine) -> DATA of four small cases with a dataset.json."""

    def write(affine):
        rng = np.random.default_rng(0)
        label = np.zeros((12, 12, 12), np.float32)
        label[3:8, 3:8, 3:8] = 0.99999994
        for number in range(4):
            image = rng.normal(100, 10, label.shape).astype(np.float32) + 50 * label
            for folder, array in (("imagesTr", image), ("labelsTr", label)):
                (tmp_path / folder).mkdir(exist_ok=True)
                nibabel.save(nibabel.Nifti1Image(array, affine),
                             tmp_path / folder / f"c{number}.nii")
        text = json.dumps({"name": "Set", "modality": {"0": "MR"},
                           "labels": {"0": "background", "1": "organ"}}, indent=1)
        (tmp_path / "dataset.json").write_bytes(text.replace("\n", "\r\n").encode("utf-16"))
        return tmp_path

    return write


@pytest.fixture
def train(run_script):
    def run(data, *flags):
        return run_script("train_basic.py", data, "_", "--dataset", data / "dataset.json",
                          "--network", "nnunet", "--filters", 4, 8, 8, "--img_size", 12, 12, 12,
                          "--epochs", 1, "--training_split", 1, "--device", "cpu", "--experiment",
                          "Set.exp", "--cache", "memory", *flags)

    return run


def test_a_gantry_tilt_is_found_before_training_and_gives_no_distances(make, train, tmp_path):
    tilted = np.eye(4)
    tilted[1, 2] = 0.3
    data = make(tilted)
    refused = train(data, "--spacing", 2, 2, 2)
    assert refused.returncode == 2 and not (tmp_path / "experiments").exists()
    assert "4 problem(s) in 4 cases" in refused.stderr and "sheared" in refused.stderr

    done = train(data)
    assert done.returncode == 0, done.stderr
    assert "4 findings alike, 3 of them below; resample it to right angles" in done.stderr
    summary = json.loads((tmp_path / "experiments" / "Set.exp" / "summary.json").read_text())
    assert summary["metrics"]["hd95_mm"] == {"mean": None, "std": None, "median": None, "n": 0}
    assert summary["metrics"]["dice"]["n"] == 1


def test_names_that_cannot_be_written_are_told_before_training(make, train, tmp_path):
    data = make(np.eye(4))
    for folder in ("imagesTr", "labelsTr"):
        (data / folder / "c0.nii").rename(data / folder / ("c" * 240 + ".nii"))
    done = train(data)
    assert done.returncode == 2 and "its name has 240 bytes" in done.stderr
    assert not (tmp_path / "experiments").exists()
