"""The study of pre-training with few labels: its file, and the command line that it becomes."""

import json

import pytest

from benchmarks.study_settings import study_of
from configs.study.label_studies import LabelStudyConfig, is_label_study
from configs.study.study_plan import study_config

GOOD = {"title": "A study", "label_study": {"labels": [5], "methods": ["basic"], "seeds": [0],
                                            "flags": ["--quick"]}}


def test_the_shipped_study_is_one_that_its_script_takes(tmp_path):
    config = study_config(["desd", "--data", "Task04", "--output", str(tmp_path)])
    assert isinstance(config, LabelStudyConfig) and config.folder == tmp_path / "desd.study"
    study, show = study_of(list(config.arguments))
    assert (study.labels, study.methods, study.seeds) == ((5, 10, 20), ("basic", "dsd"), (0, 1, 2))
    assert study.folder == config.folder and not show
    assert not is_label_study("hippocampus")


def test_flags_of_the_command_line(tmp_path):
    config = study_config(["desd", "--data", "Task04", "--output", str(tmp_path), "--methods",
                           "dsd", "--seeds", "7", "--device", "cpu", "--dry_run",
                           "--budget-minutes", "3", "--", "--quick"])
    study, show = study_of(list(config.arguments))
    assert (study.methods, study.seeds, study.device, study.arch, show) == (
        ("dsd",), (7,), "cpu", "res3d10", True)
    assert config.budget_minutes == 3 and config.dry_run


def test_flags_that_such_a_study_does_not_have():
    with pytest.raises(ValueError) as error:
        study_config(["desd", "--networks", "nnunet", "--epochs", "3", "--methods", "encoder_kl",
                      "--executor", "slurm", "--report_only", "--budget-minutes", "nan"])
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
        study_config([str(path), "--data", "Task04"])
    assert said in str(error.value)
