"""What predict.py keeps, replaces and refuses in its output folder."""

import dataclasses
import multiprocessing
import os

import nibabel
import numpy as np
import pytest
import torch

from data import DATASETS
from managers.inference import output_folder as prediction_folder
from managers.inference.ensemble import load_members, mean_predictor
from managers.inference.output_folder import PredictionFolder
from managers.inference.predict import cases_to_predict, predict_cases
from managers.runs.run_locks import output_held

CPU = torch.device("cpu")
HIPPOCAMPUS = DATASETS["hippocampus"]


def prepared(config):
    """Members, predictor and folder of a configuration."""
    members = load_members(config.experiments, config.saved_model)
    predictor = mean_predictor(members, config, CPU)
    return members, predictor, PredictionFolder(config, members, predictor)


def predicted(config):
    """Predict all that is pending; the ids of those cases."""
    _, predictor, output = prepared(config)
    _, pending = cases_to_predict(config, HIPPOCAMPUS, output)
    output.open()
    for case, seconds in predict_cases(pending, HIPPOCAMPUS, predictor, output):
        output.add(case, seconds)
    return [case.case_id for case in pending]


def test_an_image_is_known_by_its_content(experiment, settings, images):
    run = experiment()
    predicted(settings([run]))
    moved = images.rename(images.with_name("elsewhere"))
    other = dataclasses.replace(settings([run]), inputs=(str(moved),))
    assert predicted(other) == []
    (moved / "case_2.nii.gz").write_bytes((moved / "case_3.nii.gz").read_bytes())
    with pytest.raises(ValueError, match="other files with these names:\n  case_2: is of .*/images/"
                                         "case_2.nii.gz, not .*/elsewhere/case_2.nii.gz.\nGive"):
        predicted(other)
    assert predicted(dataclasses.replace(other, overwrite=True)) == ["case_1", "case_2", "case_3"]


def test_a_prediction_is_not_kept_for_another_image_under_the_same_path(experiment, settings,
                                                                        images, tmp_path):
    run, path = experiment(), images / "case_2.nii.gz"
    predicted(settings([run]))
    times = path.stat()
    other = np.random.default_rng(1).random((8, 9, 10), np.float32)
    nibabel.save(nibabel.Nifti1Image(other, np.eye(4)), path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ValueError, match="case_2: is of what was .*case_2.nii.gz then; the file "
                                         "has changed since.\nGive another folder, or --overwrite"):
        predicted(settings([run]))
    predicted(settings([run], "--overwrite"))
    assert nibabel.load(tmp_path / "out" / "case_2.nii.gz").shape == (8, 9, 10)


def test_predictions_of_other_code_are_not_kept(experiment, settings, monkeypatch):
    predicted(settings([experiment()]))
    monkeypatch.setattr(prediction_folder, "CODE", prediction_folder.CODE[1:])
    with pytest.raises(ValueError, match="made otherwise .*code [0-9a-f]{12}, now [0-9a-f]{12}"):
        predicted(settings([experiment()]))


def test_the_code_that_makes_label_maps_is_found():
    for pattern in prediction_folder.CODE:
        assert list(prediction_folder.ROOT.glob(pattern)), pattern


def test_two_at_once_in_one_folder_are_refused(experiment, settings, tmp_path):
    config = settings([experiment()])
    _, _, output = prepared(config)
    cases_to_predict(config, HIPPOCAMPUS, output)
    (tmp_path / "out").mkdir()
    context = multiprocessing.get_context("fork")
    held, end = context.Event(), context.Event()

    def hold():
        with output_held(tmp_path / "out"):
            held.set()
            end.wait(60)

    other = context.Process(target=hold)
    other.start()
    assert held.wait(60)
    with pytest.raises(ValueError, match="out: another predict.py writes there now"):
        output.open()
    assert not (tmp_path / "out" / "prediction.json").exists()
    end.set()
    other.join(60)
    output.open()


def test_what_another_call_has_written_meanwhile_is_not_lost(experiment, settings, tmp_path):
    config = settings([experiment()])
    _, _, output = prepared(config)
    cases_to_predict(config, HIPPOCAMPUS, output)
    predicted(config)  # the other call, from its beginning to its end
    before = (tmp_path / "out" / "prediction.json").read_bytes()
    with pytest.raises(ValueError, match="has written there since this one began"):
        output.open()
    assert (tmp_path / "out" / "prediction.json").read_bytes() == before


def test_scores_go_with_the_label_maps_that_they_are_of(experiment, settings, tmp_path):
    config, out = settings([experiment()]), tmp_path / "out"
    predicted(config)
    (out / "summary.json").write_text("{}")
    predicted(config)
    assert (out / "summary.json").exists()
    _, _, output = prepared(dataclasses.replace(config, overwrite=True))
    cases_to_predict(output.config, HIPPOCAMPUS, output)
    output.open()
    assert not (out / "summary.json").exists()


@pytest.mark.parametrize("name", ["per_case.csv", "summary.json"])
def test_scores_of_another_program_are_never_replaced(experiment, settings, images, tmp_path,
                                                         name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("years of work")
    with pytest.raises(ValueError, match=f"holds {name}, but no prediction.json"):
        predicted(settings([experiment()], "--labels", images))
    assert (tmp_path / "out" / name).read_text() == "years of work"
