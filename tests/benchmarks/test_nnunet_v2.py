"""The comparison with nnU-Net v2 without nnU-Net: the raw folder and the scores of label maps."""

import csv
import json
import shutil

import pytest

from benchmarks.nnunet_v2 import score, write_raw


@pytest.fixture
def data(phantoms):
    return phantoms("hippocampus", 4, (24, 24, 24)) / "Task04_Hippocampus"


def case_ids(data):
    return sorted(path.name.removesuffix(".nii.gz")
                  for path in (data / "labelsTr").glob("*.nii.gz"))


def test_test_cases_have_no_label_in_the_raw_folder(data, tmp_path):
    first, second, third, last = case_ids(data)
    names = json.loads((data / "dataset.json").read_text())["labels"]
    write_raw(data, tmp_path, {"train": [first, second], "val": [third], "test": [last]}, names)
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.nii.gz")}
    known = (first, second, third)
    assert there == {*(f"imagesTr/{case}_0000.nii.gz" for case in known),
                     *(f"labelsTr/{case}.nii.gz" for case in known),
                     f"imagesTs/{last}_0000.nii.gz"}
    about = json.loads((tmp_path / "dataset.json").read_text())
    assert about["numTraining"] == 3 and about["labels"][names["0"]] == 0


@pytest.mark.parametrize("is_right", [True, False])
def test_label_maps_are_scored_against_their_labels(data, tmp_path, is_right):
    """The prediction is the case's own label, or that of another case."""
    *_, other, case = case_ids(data)
    predicted = other
    if is_right:
        predicted = case
    (tmp_path / "predicted").mkdir()
    shutil.copy(data / "labelsTr" / f"{predicted}.nii.gz",
                tmp_path / "predicted" / f"{case}.nii.gz")
    score(data, tmp_path, [case], ["background", "front", "back"])
    with (tmp_path / "per_case.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case_id"], row["class_name"]) for row in rows] == [
        (case, "front"), (case, "back")]
    assert all((float(row["dice"]) == 1) == is_right for row in rows)
