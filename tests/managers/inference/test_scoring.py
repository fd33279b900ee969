"""Scoring volumes whose prediction is known."""

import dataclasses
import json
import math
from functools import partial

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

from data import DATASETS, Case
from managers import Predictor, write_scores
from managers.compute.distributed import Processes
from managers.inference import scoring as evaluation
from managers.inference.scoring import (
    best_median_worst,
    note_predictions,
    publish_scores,
    retract_predictions,
    retract_scores,
)
from managers.inference.segment import native_volumes, segment_native
from reports.scores import are_of_one_evaluation
from reports.volumes import read_volumes

NAMES = ("background", "anterior", "posterior")
AFFINE = np.array([[1.5, 0, 0, -10], [0, 0, 2.5, 20], [0, -2, 0, 30], [0, 0, 0, 1.0]])


class Oracle(nn.Module):
    """Predicts the class that the image's value names."""

    windows = 0  # that it has been given

    def forward(self, images):
        self.windows += len(images)
        return torch.cat([-(images - k) ** 2 for k in range(3)], dim=1)


@pytest.fixture
def predictor():
    """The oracle with 8^3 windows."""
    return Predictor(Oracle(), (8, 8, 8), overlap=0.5)


def score(predictor, volumes, num_volumes, **options):
    """Scores of this one process."""
    return evaluation.score(predictor, volumes, num_volumes, NAMES, Processes(), **options)


def score_native(predictor, cases, dataset, **options):
    """Scores on the grid of the cases' files."""
    return score(predictor, native_volumes(cases.values(), dataset), len(cases),
                 segment=partial(segment_native, dataset=dataset), **options)


def volume(case_id, prediction, label):
    """A volume of 10 x 6 x 9 voxels; prediction and label are {class: slice of the first axis}."""
    maps = []
    for layers in (prediction, label):
        maps.append(torch.zeros(1, 10, 6, 9))
        for value, layer in layers.items():
            maps[-1][:, layer] = value
    return {"case_id": case_id, "image": maps[0], "label": maps[1].to(torch.uint8),
            "spacing_mm": torch.tensor([1.5, 2.0, 2.5]), "affine": torch.from_numpy(AFFINE)}


VOLUMES = [
    volume("perfect", {1: slice(0, 3), 2: slice(5, 8)}, {1: slice(0, 3), 2: slice(5, 8)}),
    # anterior: 2 of 3 + 2 layers shared, so 4/5, its third layer 1.5 mm away; posterior missed
    volume("poor", {1: slice(0, 2)}, {1: slice(0, 3), 2: slice(5, 8)}),
    volume("middling", {1: slice(0, 2), 2: slice(5, 8)}, {1: slice(0, 3), 2: slice(5, 8)}),
]


def test_rows_and_summary_by_hand(predictor):
    scores = score(predictor, iter(VOLUMES), 3)
    assert [(row["case_id"], row["class_name"]) for row in scores.rows] == [
        (case, name) for case in ("perfect", "poor", "middling") for name in NAMES[1:]]
    assert [row["dice"] for row in scores.rows] == pytest.approx([1, 1, 0.8, 0, 0.8, 1])
    diagonal_mm = math.sqrt(15**2 + 12**2 + 22.5**2)
    assert [row["hd95_mm"] for row in scores.rows] == pytest.approx(
        [0, 0, 1.5, diagonal_mm, 1.5, 0])
    assert [row["empty"] for row in scores.rows] == ["", "", "", "prediction", "", ""]
    assert scores.summary["num_cases"] == 3
    assert scores.summary["mean_foreground_dice"] == pytest.approx(4.6 / 6)
    assert "anterior" in scores.table and "3 cases" in scores.table


def test_paper_metrics_are_in_voxels(predictor):
    rows = score(predictor, VOLUMES[2:], 1, paper_metrics=True).rows
    assert rows[0]["hd95_voxels"] == 1 and "hd95_mm" not in rows[0]


def test_predictions_are_written_on_the_volumes_grid(predictor, tmp_path):
    score(predictor, VOLUMES[:2], 2, predictions_dir=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["perfect.nii.gz", "poor.nii.gz"]
    image = nibabel.load(tmp_path / "poor.nii.gz")
    assert np.array_equal(image.get_fdata(), VOLUMES[1]["image"][0].numpy())
    np.testing.assert_allclose(image.affine, AFFINE)


def native_case(folder, label, affine=AFFINE):
    """A case of two files, whose image says the class to be predicted."""
    for name, array in (("image", label.astype(np.float32)), ("label", label)):
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{name}.nii.gz")
    return {"one": Case("one", folder / "image.nii.gz", folder / "label.nii.gz")}


@pytest.mark.parametrize("spacing_mm", [None, (1.0, 2.0, 2.0)])
def test_native_space_is_the_label_files_own(predictor, tmp_path, spacing_mm):
    """A prediction that is right, on an oblique grid of 1.5 x 2 x 2.5 mm, resampled or not."""
    label = np.zeros((20, 16, 14), np.uint8)
    label[4:9, 3:12, 3:11], label[11:16, 3:12, 3:11] = 1, 2
    turned = AFFINE.copy()
    turned[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]] @ AFFINE[:3, :3]
    dataset = dataclasses.replace(DATASETS["hippocampus"], intensity="none", spacing_mm=spacing_mm,
                                  label_values={0: 0, 5: 1, 300: 2})
    cases = native_case(tmp_path, np.array([0, 5, 300], np.int16)[label], turned)
    cases["one"].image.unlink()
    nibabel.save(nibabel.Nifti1Image(label.astype(np.float32), turned), cases["one"].image)
    scores = score_native(predictor, cases, dataset, predictions_dir=tmp_path / "predictions")
    written = nibabel.load(tmp_path / "predictions" / "one.nii.gz")
    assert written.shape == label.shape and set(np.unique(written.dataobj)) == {0, 5, 300}
    np.testing.assert_allclose(written.affine, turned, atol=1e-6)
    for row in scores.rows:
        assert row["dice"] == 1 if spacing_mm is None else row["dice"] > 0.85


def test_distances_in_native_space_are_of_the_files_voxels(predictor, tmp_path):
    """The prediction lacks the last layer, 2.5 mm away; resampled voxels would be 1 mm."""
    label = np.zeros((10, 6, 9), np.uint8)
    label[:, :, :4], label[:, :, 8] = 1, 2
    cases = native_case(tmp_path, label)
    predicted = label.copy()
    predicted[:, :, 3] = predicted[:, :, 8] = 0
    nibabel.save(nibabel.Nifti1Image(predicted.astype(np.float32), AFFINE), cases["one"].image)
    dataset = dataclasses.replace(DATASETS["hippocampus"], intensity="none")
    scores = score_native(predictor, cases, dataset)
    rows, axial = scores.rows, scores.planes["one"].slices[0]
    steps_mm = nibabel.affines.voxel_sizes(AFFINE)
    assert rows[0]["hd95_mm"] == pytest.approx(steps_mm[2])
    assert rows[0]["dice"] == pytest.approx(6 / 7)
    assert [row["empty"] for row in rows] == ["", "prediction"]
    assert axial.prediction.shape == (10, 9)  # of the file's voxels, in RAS+ order
    # Of the prediction, the last layer's inner 8 x 4 voxels lie 2.5 mm or less from the label's.
    assert rows[0]["msd_mm"] < rows[0]["msd_label_to_pred_mm"]


def test_a_case_without_a_way_back_is_named(predictor, tmp_path):
    sheared = np.diag([1.0, 1.0, 1.0, 1.0])
    sheared[0, 1] = 0.4
    cases = native_case(tmp_path, np.arange(729).reshape(9, 9, 9).astype(np.uint8) % 3, sheared)
    dataset = dataclasses.replace(DATASETS["hippocampus"], spacing_mm=(2.0, 2.0, 2.0))
    with pytest.raises(ValueError, match="one: the axes of its affine are sheared"):
        score_native(predictor, cases, dataset)


def rows_of(**dice):
    """Rows with only what best_median_worst reads."""
    return [{"case_id": case_id, "dice": value} for case_id, values in dice.items()
            for value in values]


@pytest.mark.parametrize(("dice", "expected"), [
    ({"a": [0.5, 0.7], "b": [0.9, 0.9], "c": [0.1, 0.3]},
     {"best": ("b", 0.9), "median": ("a", 0.6), "worst": ("c", 0.2)}),
    ({"only": [0.5, 0.5]}, dict.fromkeys(["best", "median", "worst"], ("only", 0.5))),
    ({"b": [0.5], "a": [0.5]},
     {"best": ("a", 0.5), "median": ("b", 0.5), "worst": ("b", 0.5)}),
    ({"a": [math.nan, 0.4], "b": [math.nan], "c": [0.2, 0.2]},   # undefined by the papers' rule
     {"best": ("a", 0.4), "median": ("c", 0.2), "worst": ("b", 0.0)}),
])
def test_best_median_worst(dice, expected):
    found = best_median_worst(rows_of(**dice))
    assert {rank: case_id for rank, (case_id, _) in found.items()} == {
        rank: case_id for rank, (case_id, _) in expected.items()}
    assert [value for _, value in found.values()] == pytest.approx(
        [value for _, value in expected.values()])


def test_pictures_of_the_best_median_worst(predictor, tmp_path):
    scores = score(predictor, VOLUMES, 3)
    assert sorted(scores.planes) == ["middling", "perfect", "poor"]
    paths = publish_scores(tmp_path, scores, {"group": "testing"}, NAMES)
    assert [path.name for path in paths] == [
        "testing_best_perfect.png", "testing_median_middling.png", "testing_worst_poor.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert json.loads((tmp_path / "summary.json").read_text())["num_cases"] == 3


def test_each_case_is_segmented_once(predictor, tmp_path):
    predictor.label_map(VOLUMES[0]["image"])
    once, predictor.network.windows = predictor.network.windows, 0
    publish_scores(tmp_path, score(predictor, iter(VOLUMES), 3), {"group": "testing"}, NAMES)
    assert predictor.network.windows == 3 * once


def test_pictures_show_what_was_scored(predictor):
    """One slice a plane, where the label has most foreground; the rest is not kept."""
    axial, coronal, sagittal = score(predictor, VOLUMES[1:2], 1).planes["poor"].slices
    turned = VOLUMES[1]["label"][0].numpy().transpose(0, 2, 1)[:, :, ::-1]  # to RAS+
    np.testing.assert_array_equal(axial.label, turned[:, :, axial.index])
    np.testing.assert_array_equal(coronal.label, turned[:, coronal.index])
    np.testing.assert_array_equal(sagittal.prediction, np.full((9, 6), 1))


def test_written_scores(predictor, tmp_path):
    for number, volumes in enumerate((VOLUMES, VOLUMES[:1]), start=1):
        scores = score(predictor, volumes, len(volumes))
        write_scores(tmp_path, scores, {"group": "testing", "epoch": number})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["epoch"], summary["num_cases"]) == (2, 1)
    history = [json.loads(line)
               for line in (tmp_path / "evaluations.jsonl").read_text().splitlines()]
    assert [line["num_cases"] for line in history] == [3, 1] and history[1] == summary
    assert len((tmp_path / "per_case.csv").read_text().splitlines()) == 1 + 2
    volumes = read_volumes(tmp_path, tmp_path / "per_case.csv")
    assert [(row["case_id"], row["class_name"]) for row in volumes] == [
        (scores.rows[0]["case_id"], name) for name in NAMES[1:]]


@pytest.mark.parametrize("broken", ["per_case_csv", "write_volumes", "write_views", "sha256_of",
                                    "write_bytes"])
def test_an_evaluation_that_is_killed_leaves_no_word_of_being_complete(predictor, tmp_path,
                                                                       monkeypatch, broken):
    """Else per_case.csv of one checkpoint would lie under the summary of another."""
    scores = score(predictor, VOLUMES, 3)
    write_scores(tmp_path, scores, {"saved_model": "best"})

    def killed(*_):
        raise KeyboardInterrupt
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, broken, killed)
        with pytest.raises(KeyboardInterrupt):
            write_scores(tmp_path, scores, {"saved_model": "last"})
    assert not (tmp_path / "summary.json").exists()
    write_scores(tmp_path, scores, {"saved_model": "last"})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["saved_model"] == "last" and are_of_one_evaluation(tmp_path, summary)
    (tmp_path / "per_case.csv").write_text("of another evaluation")
    assert not are_of_one_evaluation(tmp_path, summary)


def test_scores_are_taken_back_with_what_shows_them(tmp_path):
    names = ("summary.json", "report.html", "pictures/testing_best_a.png",
             "pictures/testing_worst_b.png")
    kept = ("per_case.csv", "evaluations.jsonl", "pictures/validation_best_a.png",
            "pictures/testing_of_mine.png", "thesis.tex")
    (tmp_path / "pictures").mkdir()
    for name in (*names, *kept):
        (tmp_path / name).touch()
    retract_scores(tmp_path, "testing")
    assert not any((tmp_path / name).exists() for name in names)
    assert all((tmp_path / name).exists() for name in kept)
    retract_scores(tmp_path / "none", "testing")


def test_label_maps_say_what_they_are_of(tmp_path):
    path = tmp_path / "predictions.json"
    note_predictions(path.parent, ["a", "b"], {"saved_model": "best"})
    retract_predictions(path.parent, ["b", "c"])
    assert json.loads(path.read_text()) == {"a": {"saved_model": "best"}}
    note_predictions(path.parent, ["b", "c"], {"saved_model": "last"})
    assert [one["saved_model"] for one in json.loads(path.read_text()).values()] == [
        "best", "last", "last"]
