"""scripts/verify_dataset.py as a user runs it."""

import json
import shutil

import pytest

SCRIPT = "scripts/verify_dataset.py"


@pytest.fixture
def data(phantoms, tmp_path):
    """A copy of four phantoms to spoil."""
    copy = tmp_path / "data"
    shutil.copytree(phantoms("hippocampus", 4, (36, 34, 32)), copy)
    return copy


def images_of(data):
    return sorted((data / "Task04_Hippocampus" / "imagesTr").iterdir())


def test_data_in_order_give_status_0_and_an_empty_report(data, run_script, tmp_path):
    done = run_script(SCRIPT, data, "--dataset", "hippocampus", "--json", "report.json")
    assert done.returncode == 0, done.stderr
    assert "4 cases of hippocampus, 0 error(s), 0 warning(s)" in done.stdout
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "dataset": "hippocampus", "data_dir": str(data), "num_cases": 4, "errors": [],
        "warnings": []}


def test_errors_give_status_2_and_all_of_them_a_line_and_an_entry(data, run_script, tmp_path):
    first, second, third, fourth = images_of(data)
    first.write_bytes(first.read_bytes()[:-200])
    shutil.copy(second, third)
    (data / "Task04_Hippocampus" / "labelsTr" / fourth.name).unlink()
    done = run_script(SCRIPT, data, "--dataset", "hippocampus", "--workers", 2, "--json", "r.json")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert {(one["path"], one["found"].split(" (")[0]) for one in report["errors"]} == {
        (str(first), "cannot be read"), (str(fourth), "is an image without its label")}
    twin, = report["warnings"]
    assert twin["path"] == str(third) and "byte-identical" in twin["found"]
    assert all(one["remedy"] for one in report["errors"] + report["warnings"])
    for kind in ("errors", "warnings"):
        for one in report[kind]:
            line, = (line for line in done.stdout.splitlines()
                     if one["found"] in line and one["path"] in line)
            assert line.startswith(f"{kind[:-1]}: ")


def test_files_of_other_formats_are_told_and_upper_case_endings_taken(data, run_script):
    first, second, *_ = images_of(data)
    label = second.parents[1] / "labelsTr" / second.name
    for path in (second, label):
        path.rename(path.with_name(path.name.upper()))
    (first.parent / "scan.nrrd").write_bytes(b"NRRD0004")
    done = run_script(SCRIPT, data, "--dataset", "hippocampus", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "4 cases of hippocampus, 0 error(s), 1 warning(s)" in done.stdout
    assert "1 file(s), each an NRRD file, passed over: scan.nrrd" in done.stdout


def test_one_image_in_two_groups_of_a_fold_is_an_error(data, run_script, tmp_path):
    images = images_of(data)
    shutil.copy(images[0], images[1])
    ids = [path.name.removesuffix(".nii.gz") for path in images]
    (tmp_path / "splits.json").write_text(json.dumps([
        {"train": [ids[0], ids[2]], "val": [ids[3]], "test": [ids[1]]}]))
    done = run_script(SCRIPT, data, "--dataset", "hippocampus", "--splits", "splits.json",
                      "--workers", 1)
    assert done.returncode == 2
    assert f"is the image of {ids[0]}: fold 1 has one in training, the other in testing" \
        in done.stdout


@pytest.mark.parametrize(("flags", "says"), [
    (("--dataset", "liver"), "msd-brats"), (("--dataset", "no.json"), "no.json"),
    (("--dataset", "hippocampus", "--workers", 0), "--workers 0"),
    (("--dataset", "hippocampus", "--splits", "no.json"), "no.json"),
    ((), "--dataset")])
def test_wrong_arguments_give_status_2(data, run_script, flags, says):
    done = run_script(SCRIPT, data, *flags)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_the_real_set_is_in_order(hippocampus_dir, run_script):
    done = run_script(SCRIPT, hippocampus_dir, "--dataset", "hippocampus")
    assert done.returncode == 0, done.stderr
    assert "260 cases of hippocampus, 0 error(s)" in done.stdout
