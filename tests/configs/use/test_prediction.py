"""The settings of predict.py."""

import pytest

from configs.use.prediction import prediction_config, prediction_parser
from system.files import write_json

NEEDED = ("--experiment", "A.exp", "--input", "images", "--output", "out")


def config(*flags):
    return prediction_config([*NEEDED, *map(str, flags)])


def test_little_needs_to_be_said():
    found = config()
    assert (found.experiments, found.inputs, found.output) == (("A.exp",), ("images",), "out")
    assert (found.saved_model, found.device, found.labels) == ("best", "auto", None)
    assert (found.tta_axes, found.overlap, found.window_batch) == ((), None, None)
    assert not any((found.save_probabilities, found.preview, found.overwrite, found.show_verbose))


def test_every_flag_is_heard():
    found = config("--experiment", "A", "B.exp", "--input", "a.nii", "b", "--labels", "L",
                   "--saved_model", "last", "--device", "cpu", "--tta_axes", "S", "R", "S",
                   "--overlap", 0.5, "--window_batch", 2, "--save_probabilities", "--preview",
                   "--overwrite", "--show_verbose")
    assert (found.experiments, found.inputs) == (("A", "B.exp"), ("a.nii", "b"))
    assert (found.labels, found.saved_model, found.device) == ("L", "last", "cpu")
    assert found.tta_axes == ("R", "S")  # in the order of the array's axes, each once
    assert (found.overlap, found.window_batch) == (0.5, 2)
    assert all((found.save_probabilities, found.preview, found.overwrite, found.show_verbose))


@pytest.mark.parametrize("name", ["CT.cv", "experiments/CT.cv", "experiments/CT.cv/"])
def test_a_cross_validation_stands_for_its_folds(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_json("experiments/CT.cv/cv.json", {"experiments": ["CT_Fold1.exp", "CT_Fold2.exp"]})
    assert config("--experiment", name, "C.exp").experiments == (
        "experiments/CT_Fold1.exp", "experiments/CT_Fold2.exp", "C.exp")


def test_the_folds_of_a_cross_validation_from_elsewhere_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "server" / "experiments"
    write_json(there / "CT.cv" / "cv.json", {"experiments": ["CT_Fold1.exp"], "complete": True})
    for folder in (tmp_path / "experiments", there):
        (folder / "CT_Fold1.exp").mkdir(parents=True)
    assert config("--experiment", there / "CT.cv").experiments == (str(there / "CT_Fold1.exp"),)


def test_an_unfinished_cross_validation_is_not_averaged(tmp_path):
    write_json(tmp_path / "CT.cv" / "cv.json", {"experiments": ["A.exp"], "complete": False})
    with pytest.raises(ValueError, match="CT.cv is not finished.*cross_validate.py"):
        config("--experiment", tmp_path / "CT.cv")


def test_all_problems_in_one_message(tmp_path):
    write_json(tmp_path / "empty.cv" / "cv.json", {"experiments": []})
    with pytest.raises(ValueError, match="These settings cannot be used") as raised:
        config("--experiment", tmp_path / "empty.cv", tmp_path / "absent.cv", "B.exp", "B.exp",
               "--overlap", 1, "--window_batch", 0)
    lines = str(raised.value).splitlines()[1:]
    for words in ("--overlap 1.0: must be at least 0 and below 1", "--window_batch 0",
                  "empty.cv/cv.json lists no experiments",
                  "absent.cv: no cross-validation here. Beside it: empty.cv",
                  "B.exp given more than once"):
        assert sum(words in line for line in lines) == 1
    assert len(lines) == 5


@pytest.mark.parametrize("argv", [[], NEEDED[:4], [*NEEDED, "--tta_axes", "X"],
                                  [*NEEDED, "--saved_model", "final"], [*NEEDED, "stray"]])
def test_flags_that_the_parser_refuses_exit_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        prediction_config(list(argv))
    assert stop.value.code == 2 and "error" in capsys.readouterr().err


def test_every_flag_has_its_help():
    assert all(action.help for action in prediction_parser()._actions)


@pytest.mark.parametrize(("output", "kind"), [
    ("experiments/A.exp", "a run"), ("A.exp/", "a run"), ("A.cv", "a cross-validation"),
    ("A.study", "a study"), ("A.exp/predictions", "a part of a run")])
def test_a_folder_with_other_scores_is_no_output(output, kind):
    with pytest.raises(ValueError, match=f"--output {output}: is {kind}, whose scores would be "
                                         f"overwritten; give a folder of its own"):
        prediction_config(["--experiment", "A.exp", "--input", "x.nii", "--output", output])
