"""Runs as predictors, the folder they write to, and what is written for a case."""

import csv
import dataclasses
import hashlib
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage

from data import Case, DataError
from managers import load_predictor, read_run
from managers.inference import output_folder as prediction_folder
from managers.inference.ensemble import load_members, warn_of_training_cases
from managers.inference.postprocessing import Postprocessing, write_rule
from managers.inference.predict import (
    cases_to_predict,
    predict_cases,
    score_files,
    write_statistics,
)
from system.files import read_json, write_json
from tests.managers.inference.predict_steps import CPU, HIPPOCAMPUS, predicted, prepared

LPS = np.array([[-1.0, 0, 0, 9], [0, 0, -1.2, 8], [0, 0.9, 0, 7], [0, 0, 0, 1]])


def test_a_member_knows_its_checkpoint(experiment):
    path = experiment()
    member, = load_members([path], "best")
    with open(f"{path}/best.model", "rb") as file:
        sha256 = hashlib.sha256(file.read()).hexdigest()
    assert member.about == {"experiment": path, "checkpoint": "best.model", "sha256": sha256,
                            "epoch": 4}
    expected = load_predictor(*read_run(path)[:2], "best", CPU)[0].network.state_dict()
    assert all(torch.equal(value, expected[name])
               for name, value in member.network.state_dict().items())


def test_runs_of_other_volumes_cannot_be_averaged(experiment):
    runs = [experiment(), experiment("two", intensity="zscore", spacing_mm=(1.0, 1.0, 2.0)),
            experiment("three", img_size=(16, 8, 8))]
    with pytest.raises(ValueError, match="cannot be averaged") as raised:
        load_members(runs, "best")
    lines = str(raised.value).splitlines()[1:]
    assert len(lines) == 3
    assert "two.exp: intensity zscore, but minmax in" in lines[0]
    assert "two.exp: spacing_mm (1.0, 1.0, 2.0), but None in" in lines[1]
    assert "three.exp: img_size (16, 8, 8), but (8, 8, 8) in" in lines[2]


def test_weights_of_another_network_are_refused(experiment):
    path = experiment()
    config = read_json(f"{path}/config.json")
    config["network_options"]["filters"] = [2, 3, 5]
    write_json(f"{path}/config.json", config)
    with pytest.raises(ValueError, match="does not fit the network of config.json"):
        load_members([path], "best")
    with pytest.raises(ValueError, match="last.model: no such checkpoint; beside it: best.model"):
        load_members([path], "last")


def test_the_window_is_the_runs_unless_flags_say_otherwise(experiment, settings):
    runs = [experiment(overlap=0.5, window_batch=3), experiment("two", 1, overlap=0.5)]
    _, predictor, _ = prepared(settings(runs))
    assert (predictor.roi_size, predictor.overlap, predictor.window_batch) == ((8, 8, 8), 0.5, 3)
    assert len(predictor.network.networks) == 2 and predictor.network.flips == [()]
    flags = ("--overlap", 0, "--window_batch", 1, "--tta_axes", "A", "S")
    _, predictor, _ = prepared(settings(runs, *flags))
    assert (predictor.overlap, predictor.window_batch) == (0, 1)
    assert predictor.network.flips == [(), (3,), (4,), (3, 4)]


def test_overlaps_that_differ_must_be_decided(experiment, settings):
    runs = [experiment(), experiment("two", overlap=0.5)]
    with pytest.raises(ValueError, match=r"--overlap: the experiments have \[0.25, 0.5\]"):
        prepared(settings(runs))
    assert prepared(settings(runs, "--overlap", 0.5))[1].overlap == 0.5


def test_flipping_left_and_right_is_warned_of_where_names_have_sides(experiment, settings):
    heart = experiment("heart", dataset="mmwhs-ct")
    with pytest.warns(UserWarning, match="--tta_axes R: flips left and right, which left atrium"):
        prepared(settings([heart], "--tta_axes", "R"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(settings([heart], "--tta_axes", "A", "S"))
        prepared(settings([experiment()], "--tta_axes", "R"))


def test_a_label_map_is_the_runs_on_the_files_grid(experiment, settings, images, tmp_path):
    path = experiment()
    assert predicted(settings([path], "--save_probabilities", "--preview")) == [
        "case_1", "case_2", "case_3"]
    predictor, _ = load_predictor(*read_run(path)[:2], "best", CPU)
    image = nibabel.load(images / "case_2.nii.gz")
    ras = nibabel.as_closest_canonical(image).get_fdata(dtype=np.float32)
    ras = (ras - ras.min()) / (ras.max() - ras.min())
    expected = predictor.label_map(torch.from_numpy(ras.copy())[None]).numpy()
    written = nibabel.load(tmp_path / "out" / "case_2.nii.gz")
    assert written.get_data_dtype() == np.uint8 and len(np.unique(expected)) == 3
    np.testing.assert_array_equal(written.affine, image.affine)
    np.testing.assert_array_equal(
        np.asarray(nibabel.as_closest_canonical(written).dataobj), expected)
    probabilities = nibabel.load(tmp_path / "out" / "case_2_probabilities.nii.gz").get_fdata()
    assert probabilities.shape == (9, 12, 10, 3)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-6)
    np.testing.assert_array_equal(probabilities.argmax(-1), np.asarray(written.dataobj))
    assert (tmp_path / "out" / "case_2.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_averaged_with_its_copy_is_that_run(experiment, settings, tmp_path):
    runs = [experiment(), experiment("copy")]
    predicted(settings(runs[:1]))
    alone = np.asarray(nibabel.load(tmp_path / "out" / "case_1.nii.gz").dataobj)
    predicted(settings(runs, "--overwrite"))
    both = np.asarray(nibabel.load(tmp_path / "out" / "case_1.nii.gz").dataobj)
    np.testing.assert_array_equal(alone, both)


def test_what_is_there_is_skipped(experiment, settings, tmp_path):
    run, out = experiment(), tmp_path / "out"
    assert predicted(settings([run])) == ["case_1", "case_2", "case_3"]
    record = read_json(out / "prediction.json")
    assert list(record["cases"]) == ["case_1", "case_2", "case_3"]
    assert record["experiments"][0]["epoch"] == 4 and record["environment"]["packages"]["torch"]
    assert record["label_values"] == {"background": 0, "anterior": 1, "posterior": 2}
    assert predicted(settings([run])) == []
    (out / "case_2.nii.gz").unlink()
    assert predicted(settings([run])) == ["case_2"]
    assert predicted(settings([run], "--preview")) == ["case_1", "case_2", "case_3"]
    assert predicted(settings([run], "--overwrite")) == ["case_1", "case_2", "case_3"]
    assert read_json(out / "prediction.json")["cases"].keys() == {
        "case_1", "case_2", "case_3"}


def test_a_file_that_an_interruption_left_is_made_again(experiment, settings, tmp_path):
    run, out = experiment(), tmp_path / "out"
    predicted(settings([run]))
    record = read_json(out / "prediction.json")
    del record["cases"]["case_3"]
    write_json(out / "prediction.json", record)
    assert predicted(settings([run])) == ["case_3"]


def test_predictions_of_other_weights_are_neither_kept_nor_replaced(experiment, settings):
    predicted(settings([experiment()]))
    for other, said in (
            (settings([experiment("two", seed=1)]), r"checkpoints \(sha256\) \['"),
            (settings([experiment()], "--tta_axes", "A"), r"tta_axes \[\], now \['A'\]"),
            (settings([experiment()], "--overlap", 0.5), "overlap 0.25, now 0.5")):
        with pytest.raises(ValueError, match=f"made otherwise .*{said}"):
            predicted(other)
    other = settings([experiment("two", seed=1)], "--overwrite")
    assert predicted(other) == ["case_1", "case_2", "case_3"]


def test_other_cases_of_other_weights_do_not_join_a_folder(experiment, settings, images):
    predicted(settings([experiment()]))
    for path in images.iterdir():
        path.rename(path.with_name(f"new_{path.name}"))
    with pytest.raises(ValueError, match="made otherwise"):
        predicted(settings([experiment("two", seed=1)]))
    assert len(predicted(settings([experiment()]))) == 3


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_files_of_another_program_are_never_replaced(experiment, settings, tmp_path, flags):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "case_1.nii.gz").write_bytes(b"a doctor's work")
    with pytest.raises(ValueError, match="no prediction.json, so predict.py did not write it"):
        predicted(settings([experiment()], *flags))
    assert (tmp_path / "out" / "case_1.nii.gz").read_bytes() == b"a doctor's work"


def test_the_output_is_not_the_input(experiment, settings, images):
    config = dataclasses.replace(settings([experiment()]), output=str(images))
    with pytest.raises(DataError, match="3 problem") as raised:
        predicted(config)
    assert "case_1.nii.gz: lies in the output folder; give another --output" in str(raised.value)
    for path in (images / "case_1.nii.gz", images / "case_1.nii.gz" / "below"):
        with pytest.raises(ValueError, match="case_1.nii.gz is a file; give a folder"):
            prepared(dataclasses.replace(config, output=str(path)))


def test_an_output_that_cannot_be_written_to_is_said(experiment, settings, monkeypatch):
    _, _, output = prepared(settings([experiment()]))

    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(prediction_folder, "write_json", full)
    with pytest.raises(ValueError, match=r"cannot be written to \(No space left on device\)"):
        output.open()
    monkeypatch.setattr(prediction_folder.os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"cannot be written to \(no permission\)"):
        prepared(settings([experiment()]))


def test_an_empty_list_is_said(experiment, settings, tmp_path):
    (tmp_path / "list.txt").write_text("\n")
    config = dataclasses.replace(settings([experiment()]), inputs=(str(tmp_path / "list.txt"),))
    with pytest.raises(ValueError, match="lists no images"):
        predicted(config)


def test_scores_by_hand(experiment, settings, tmp_path):
    run, out, labels = experiment(), tmp_path / "out", tmp_path / "labels"
    predicted(settings([run]))
    labels.mkdir()
    for path in out.glob("*.nii.gz"):  # a label that is the prediction, but in one case
        image = nibabel.load(path)
        array = np.asarray(image.dataobj).copy()
        if path.name == "case_3.nii.gz":
            array[array == 2] = 0
            array[0, 0, 0] = 2
        nibabel.save(nibabel.Nifti1Image(array, image.affine), labels / path.name)
    config = settings([run], "--labels", labels)
    members, _, output = prepared(config)
    cases, pending = cases_to_predict(config, HIPPOCAMPUS, output)
    assert not pending
    scores = score_files(cases, HIPPOCAMPUS, output)
    dice = {(row["case_id"], row["class"]): row["dice"] for row in scores.rows}
    assert [dice[case, 1] for case in ("case_1", "case_2", "case_3")] == [1, 1, 1]
    assert dice["case_1", 2] == 1 and dice["case_3", 2] < 0.1
    assert scores.summary["num_cases"] == 3


def test_scores_of_training_cases_are_warned_of(experiment, tmp_path):
    members = load_members([experiment()], "best")
    with pytest.warns(UserWarning, match=r"was trained on cases of these names \(seen\)"):
        warn_of_training_cases([Case("seen", tmp_path, None)], members)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_training_cases([Case("case_2", tmp_path, None)], members)


def test_a_case_that_cannot_be_read_costs_none_of_those_before_it(experiment, settings, images):
    config = settings([experiment()])
    _, predictor, output = prepared(config)
    _, pending = cases_to_predict(config, HIPPOCAMPUS, output)
    (images / "case_3.nii.gz").write_bytes(b"no image any more")
    done = []
    with pytest.raises(RuntimeError, match="case_3: cannot be prepared"):
        for case, _ in predict_cases(pending, HIPPOCAMPUS, predictor, output):
            done.append(case.case_id)
            assert output.label_map(case).is_file()
    assert done == ["case_1", "case_2"]


def test_mixed_precision_is_another_prediction(experiment, settings, tmp_path):
    run, kinds = experiment(), []
    config = settings([run], "--amp", "bf16")
    _, predictor, _ = prepared(config)
    predictor.network.networks[0].register_forward_hook(
        lambda _, __, logits: kinds.append(logits.dtype))
    assert predictor.logits(torch.rand(1, 8, 8, 8)).dtype == torch.float32
    assert kinds == [torch.bfloat16]
    predicted(config)
    assert read_json(tmp_path / "out" / "prediction.json")["amp"] == "bf16"
    with pytest.raises(ValueError, match="made otherwise .*amp bf16, now off"):
        predicted(settings([run]))


def test_a_cpu_takes_one_window_at_a_time(experiment, settings):
    config, sizes = settings([experiment()], "--window_batch", 3), []
    _, predictor, _ = prepared(config)
    predictor.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    predictor.logits(torch.rand(1, 8, 16, 8))
    assert predictor.window_batch == 3 and sizes == [1, 1, 1]


def voxels_of(output, case_id, value):
    return int((np.asarray(nibabel.load(output / f"{case_id}.nii.gz").dataobj) == value).sum())


def test_specks_are_removed_and_volumes_written(experiment, settings, images, tmp_path):
    run = experiment()
    predicted(settings([run]))
    whole, about = tmp_path / "out", read_json(tmp_path / "out" / "prediction.json")
    assert about["postprocessing"] is None
    config = settings([run], "--keep_largest", "anterior", "--output", tmp_path / "cleaned")
    ids = predicted(config)
    about = read_json(tmp_path / "cleaned" / "prediction.json")
    assert about["postprocessing"] == {"keep_largest": ["anterior"], "min_volume_ml": 0.0}
    removed = 0
    for case_id in ids:
        label_map = np.asarray(nibabel.load(whole / f"{case_id}.nii.gz").dataobj)
        components, number = ndimage.label(label_map == 1, np.ones((3, 3, 3)))
        largest = int(np.bincount(components.reshape(-1))[1:].max(initial=0))
        assert voxels_of(tmp_path / "cleaned", case_id, 1) == largest
        assert voxels_of(tmp_path / "cleaned", case_id, 2) == int((label_map == 2).sum())
        removed += number > 1
    assert removed > 0  # an untrained network leaves specks

    _, _, output = prepared(config)
    cases, _ = cases_to_predict(config, HIPPOCAMPUS, output)
    table, _ = write_statistics(cases, HIPPOCAMPUS, output)
    rows = list(csv.DictReader(table.open()))
    assert [row["case_id"] for row in rows[::2]] == ids
    for row in rows:
        number = voxels_of(tmp_path / "cleaned", row["case_id"], int(row["class"]))
        header = nibabel.load(tmp_path / "cleaned" / f"{row['case_id']}.nii.gz").header
        assert int(row["voxels"]) == number
        assert float(row["volume_ml"]) == pytest.approx(
            number * np.prod(header.get_zooms()) / 1000, abs=1e-6)
    assert [row["volume_ml"] for row in read_json(output.folder / "statistics.json")] == [
        pytest.approx(float(row["volume_ml"]), abs=1e-6) for row in rows]


def test_what_the_runs_have_learnt_is_applied_when_asked_for(experiment, settings):
    runs = [experiment(), experiment("two", 1)]
    with pytest.raises(ValueError, match="two.exp: has no postprocessing.json; learn it"):
        write_rule(Path(runs[0]), Postprocessing(("anterior",), 0.3), {})
        prepared(settings(runs, "--postprocessing"))
    write_rule(Path(runs[1]), Postprocessing(("posterior", "anterior"), 0.1), {})
    rule = prepared(settings(runs, "--postprocessing"))[2].rule
    assert rule == Postprocessing(("anterior",), 0.1)
    rule = prepared(settings(runs, "--postprocessing", "--min_volume_ml", 2))[2].rule
    assert rule == Postprocessing(("anterior",), 2.0)
    assert not prepared(settings(runs))[2].rule
    with pytest.raises(ValueError, match="--keep_largest liver: no class of these runs; they have "
                                         "anterior, posterior"):
        prepared(settings(runs, "--keep_largest", "liver"))
