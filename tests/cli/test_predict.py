"""predict.py, and eval.py in native space, on phantoms and a run that was trained on them."""

import csv
import gzip
import json
import os

import nibabel
import numpy as np
import pytest

NAME = "CT_MMWHS_nnUnet_Basic.exp"
VALUES = {0, 205, 420, 500, 550, 600, 820, 850}


@pytest.fixture(scope="module")
def data(phantoms):
    """Five phantom hearts, DATA folder."""
    return phantoms("mmwhs-ct", 5, (32, 30, 28))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory, run_script_in):
    """The folder in which one epoch has been trained on case 1, 2 and 3."""
    folder = tmp_path_factory.mktemp("trained")
    done = run_script_in(folder, "train_basic.py", data, "_", "--experiment", NAME, "--filters",
                         4, 8, 8, "--img_size", 16, 16, 16, "--epochs", 1, "--training_split", 2,
                         "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def predict(trained, run_script):
    """predict(*arguments) -> the finished process, run where the experiments are."""

    def run(*arguments):
        return run_script("predict.py", "--device", "cpu", *arguments, cwd=trained)

    return run


def maps_of(folder):
    """Label maps below a folder by case id."""
    return {path.name.removesuffix(".nii.gz"): nibabel.load(path)
            for path in sorted(folder.glob("ct_train_????.nii.gz"))}


def test_predict_skip_and_score(data, predict, tmp_path):
    arguments = ("--experiment", NAME, "--input", data / "imagesTraining", "--output", tmp_path)
    done = predict(*arguments)
    assert done.returncode == 0, done.stderr
    found = maps_of(tmp_path)
    assert list(found) == [f"ct_train_100{number}" for number in range(1, 6)]
    for case_id, written in found.items():
        image = nibabel.load(data / "imagesTraining" / f"{case_id}_image.nii.gz")
        assert written.shape == image.shape
        np.testing.assert_array_equal(written.affine, image.affine)
        for field in ("pixdim", "sform_code", "qform_code", "srow_x", "quatern_b", "xyzt_units"):
            np.testing.assert_array_equal(written.header[field], image.header[field])
        assert set(np.unique(written.dataobj)) <= VALUES
    record = json.loads((tmp_path / "prediction.json").read_text())
    assert record["experiments"][0]["epoch"] == 1 and len(record["cases"]) == 5

    done = predict(*arguments, "--labels", data / "labelsTraining")
    assert done.returncode == 0, done.stderr
    assert "0 predicted by 1 network(s), 5 were there already" in done.stdout
    assert "HD95 [mm]" in done.stdout and "was trained on cases of these names" in done.stderr
    with open(tmp_path / "per_case.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 5 * 7
    assert json.loads((tmp_path / "summary.json").read_text())["space"] == "native"


def test_what_lies_in_the_input_folder_is_taken_or_told(data, predict, tmp_path):
    source, folder = data / "imagesTraining", tmp_path / "in"
    folder.mkdir()
    content = (source / "ct_train_1004_image.nii.gz").read_bytes()
    (folder / "PACKED.NII.GZ").write_bytes(content)
    (folder / "plain.nii.gz").write_bytes(gzip.decompress(content))
    (folder / "other.mha").write_bytes(b"ObjectType = Image\n")
    (folder / "IM0001").write_bytes(bytes(128) + b"DICM")
    done = predict("--experiment", NAME, "--input", folder, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        ".lock", "PACKED.nii.gz", "plain.nii.gz", "prediction.json"}
    assert "1 file(s), each a MetaImage, passed over: other.mha" in done.stderr
    assert "IM0001; convert its series to NIfTI with dcm2niix" in done.stderr


@pytest.mark.timeout(200)  # a pipe that is waited for has no end
def test_a_pipe_among_the_inputs_is_not_waited_for(predict, tmp_path):
    os.mkfifo(tmp_path / "a.nii.gz")
    done = predict("--experiment", NAME, "--input", tmp_path, "--output", tmp_path / "out")
    assert done.returncode == 2 and "a.nii.gz: cannot be read (is a pipe" in done.stderr
    assert not (tmp_path / "out").exists()


def test_folds_flips_and_probabilities(trained, data, predict, tmp_path):
    (trained / "experiments" / "CT.cv").mkdir(exist_ok=True)
    (trained / "experiments" / "CT.cv" / "cv.json").write_text(json.dumps({"experiments": [NAME]}))
    image = data / "imagesTraining" / "ct_train_1004_image.nii.gz"
    done = predict("--experiment", "CT.cv", "--input", image, "--output", tmp_path,
                   "--tta_axes", "A", "S", "--save_probabilities", "--preview", "--show_verbose")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        ".lock", "ct_train_1004.nii.gz", "ct_train_1004_probabilities.nii.gz", "ct_train_1004.png",
        "prediction.json"}
    probabilities = nibabel.load(tmp_path / "ct_train_1004_probabilities.nii.gz")
    assert probabilities.shape == (32, 30, 28, 8)
    np.testing.assert_array_equal(np.array(sorted(VALUES))[probabilities.get_fdata().argmax(-1)],
                                  np.asarray(maps_of(tmp_path)["ct_train_1004"].dataobj))


def test_problems_end_with_status_2_before_anything_is_written(data, predict, tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"no gzip")
    done = predict("--experiment", NAME, "--input", data / "imagesTraining", tmp_path,
                   data / "absent.nii.gz", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "2 problem(s)" in done.stderr and "broken" in done.stderr and "absent" in done.stderr
    assert not (tmp_path / "out").exists()


def test_eval_in_native_space(trained, data, run_script, predict, tmp_path):
    """The same label maps and scores as predict.py gives for these cases."""
    done = run_script("eval.py", "--experiment", NAME, "--native_space", "--save_predictions",
                      "--device", "cpu", "--no-show_verbose", cwd=trained)
    assert done.returncode == 0, done.stderr
    run = trained / "experiments" / NAME
    summary = json.loads((run / "summary.json").read_text())
    assert summary["space"] == "native" and summary["group"] == "validation"
    written = maps_of(run / "predictions")
    assert len(written) == 2
    images = [data / "imagesTraining" / f"{case_id}_image.nii.gz" for case_id in written]
    done = predict("--experiment", NAME, "--input", *images, "--output", tmp_path,
                   "--labels", data / "labelsTraining")
    assert done.returncode == 0, done.stderr
    for case_id, expected in maps_of(tmp_path).items():
        np.testing.assert_array_equal(written[case_id].dataobj, expected.dataobj)
    assert json.loads((tmp_path / "summary.json").read_text())["metrics"] == summary["metrics"]


def test_post_processing_is_learnt_and_applied(data, predict, trained, run_script, tmp_path):
    plain = predict("--experiment", NAME, "--input", data / "imagesTraining", "--output",
                    tmp_path / "plain", "--postprocessing")
    assert plain.returncode == 2 and "--tune_postprocessing" in plain.stderr
    done = run_script("eval.py", "--experiment", NAME, "--mode", "validation", "--device", "cpu",
                      "--tune_postprocessing", "--tolerance_mm", 2, "--no-show_verbose",
                      cwd=trained)
    assert done.returncode == 0, done.stderr
    assert "Surface Dice 2 mm" in done.stdout and "--min_volume_ml" in done.stdout
    folder = trained / "experiments" / NAME
    learnt = json.loads((folder / "postprocessing.json").read_text())
    assert learnt["about"]["group"] == "validation"
    better = [line["class"] for line in learnt["tried"] if line["rule"].startswith("keep_largest")
              and line["dice"] > line["without"]]
    assert learnt["keep_largest"] == better
    rows = list(csv.DictReader((folder / "per_case.csv").open()))
    assert all(0 <= float(row["surface_dice_2mm"]) <= 1 for row in rows)

    done = predict("--experiment", NAME, "--input", data / "imagesTraining", "--output",
                   tmp_path / "cleaned", "--postprocessing", "--statistics")
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "cleaned" / "prediction.json").read_text())["postprocessing"]
    expected = {"keep_largest": better, "min_volume_ml": learnt["min_volume_ml"]}
    assert about == (expected if better or learnt["min_volume_ml"] else None)
    rows = list(csv.DictReader((tmp_path / "cleaned" / "statistics.csv").open()))
    assert len(rows) == 5 * 7 and {"volume_ml", "mean_CT"} <= set(rows[0])
