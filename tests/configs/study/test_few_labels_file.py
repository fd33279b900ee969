"""The file of a study of pre-training with few labels, and the study that it becomes."""

import json

import pytest

from configs.study.few_labels import FewLabelsCall
from configs.study.few_labels_file import call_of_file, is_label_study
from configs.study.study_parser import study_parser

GOOD = {"title": "A study", "label_study": {"labels": [5], "methods": ["basic"], "seeds": [0],
                                            "flags": ["--quick"]}}


def call_of(*words, passed_on=()) -> FewLabelsCall:
    return call_of_file(study_parser().parse_args(words), passed_on)


def test_the_shipped_study_is_the_one_of_the_papers_question(tmp_path):
    call = call_of("desd", "--data", "Task04", "--output", str(tmp_path))
    study = call.study
    assert (study.labels, study.methods, study.seeds) == ((5, 10, 20), ("basic", "dsd"), (0, 1, 2))
    assert study.folder == tmp_path / "desd.study" and not call.show_plan
    assert is_label_study("desd") and not is_label_study("hippocampus")


def test_flags_of_the_command_line(tmp_path):
    call = call_of("desd", "--data", "Task04", "--output", str(tmp_path), "--methods", "dsd",
                   "--seeds", "7", "--device", "cpu", "--dry_run", "--budget-minutes", "3",
                   passed_on=("--quick",))
    study = call.study
    assert (study.methods, study.seeds, study.device, study.arch) == (("dsd",), (7,), "cpu",
                                                                      "res3d10")
    assert call.budget_minutes == 3 and call.show_plan


@pytest.mark.parametrize(("passed_on", "said"), [
    (("--images", "many"), "argument --images: invalid int value: 'many'"),
    (("--labels", "7"), "--steps 2000: is no multiple of 10 validations times 7 labels")])
def test_what_is_wrong_with_its_settings_is_told_with_the_file(passed_on, said):
    with pytest.raises(ValueError, match="desd.json: ") as error:
        call_of("desd", "--data", "Task04", passed_on=passed_on)
    assert said in str(error.value)


def test_flags_that_such_a_study_does_not_have():
    with pytest.raises(ValueError) as error:
        call_of("desd", "--networks", "nnunet", "--epochs", "3", "--methods", "encoder_kl",
                "--executor", "slurm", "--report_only", "--budget-minutes", "nan")
    said = str(error.value)
    for part in ("--networks: is not for", "--epochs: is not for", "--report_only: is not for",
                 "--executor slurm", "--methods encoder_kl", "--data: give",
                 "--budget-minutes nan"):
        assert part in said, part


@pytest.mark.parametrize(("change", "said"), [
    ({"flags": ["--train_flags", "--overwrite"]}, "'--train_flags' must be one of --quick"),
    ({"flags": ["--arch", "res3d10", "stray"]}, "'stray' must be one of"),
    ({"flags": "--quick"}, "must be a list of texts"), ({"labels": [0]}, "labels: 0 must be"),
    ({"methods": ["hints"]}, "'hints' must be one of basic, dsd"),
    ({"seeds": [1, 1]}, "seeds: 1 occurs more than once"), ({"more": 1}, "must have labels")])
def test_what_is_wrong_with_a_file(tmp_path, change, said):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**GOOD, "label_study": {**GOOD["label_study"], **change}}))
    with pytest.raises(ValueError, match="cannot be used") as error:
        call_of(str(path), "--data", "Task04")
    assert said in str(error.value)
