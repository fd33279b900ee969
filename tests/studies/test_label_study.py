"""Running a script of its own for a study: its end, whatever it is, is told."""

import signal

import pytest

from configs.study.label_studies import LabelStudyConfig
from studies import label_study
from studies.label_study import run_label_study
from system.exit import StatedError, TrainingInterruptedError


@pytest.fixture
def config(tmp_path, monkeypatch):
    """config(code, budget) of a script of that code."""
    monkeypatch.setattr(label_study, "ROOT", tmp_path)
    (tmp_path / "benchmarks").mkdir()

    def make(code, budget=None, dry_run=False):
        (tmp_path / label_study.SCRIPT).write_text(f"import os, sys\n{code}\n")
        return LabelStudyConfig(tmp_path / "out" / "desd.study", ("--data", "x"), budget, dry_run,
                                False)

    return make


def test_its_output_is_kept(config):
    made = config("print(sys.argv[1:])")
    run_label_study(made)
    assert made.folder.with_name("desd.study.log").read_text() == "['--data', 'x']\n"
    assert not made.folder.exists()


def test_a_plan_leaves_nothing(config):
    made = config("print('plan')", dry_run=True)
    run_label_study(made)
    assert not made.folder.parent.exists()


def test_a_failure_is_told(config):
    with pytest.raises(StatedError, match="exit status 2, log .*desd.study.log"):
        run_label_study(config("sys.exit(2)"))


def test_the_end_of_the_budget_is_no_failure(config):
    made = config("import signal\nsignal.pause()", 0.2 / 60)
    run_label_study(made)
    assert made.folder.with_name("desd.study.log").is_file()


def test_another_signal_is_told(config):
    with pytest.raises(TrainingInterruptedError):
        run_label_study(config(f"sys.exit({128 + signal.SIGTERM})", 60))
