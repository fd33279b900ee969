"""Which runs of a study are begun, continued, skipped and scored."""

import signal

import pytest

from managers.runs.state import ABSENT, FINISHED
from studies import execute as studies
from studies.gather import progress_of
from studies.plans.matrix import study_plan
from system.exit import TrainingInterruptedError
from tests.studies.stand_ins import NAMES, calls, config, run, states


def test_every_run_is_trained_and_scored_once(workplace):
    assert states(config()) == [ABSENT] * 4
    assert run(config()) == {}
    assert calls(workplace) == [word for name in NAMES for word in (name, f"score {name}")]
    assert states(config()) == [FINISHED] * 4
    assert all(one.is_gathered for one in progress_of(config()).values())
    assert run(config()) == {} and calls(workplace) == []


def test_runs_of_other_data_folders_and_devices_are_the_same_runs(workplace):
    run(config("--seeds", 100))
    calls(workplace)
    (workplace / "moved").mkdir()
    with pytest.warns(UserWarning, match="was trained on the data in"):
        made = study_plan(["mine.json", "--data", "moved", "--output", "out", "--seeds", "100",
                             "--device", "cpu", "--", "--num_workers", "2", "--cache", "off"])
        assert run(made) == {}
    assert calls(workplace) == []


def test_runs_of_other_settings_are_refused_together(workplace):
    run(config("--seeds", 100))
    with pytest.raises(ValueError) as error:
        progress_of(config("--epochs", 5, "--", "--lr", "0.1"))
    said = str(error.value)
    assert "lr 0.001 -> 0.1" in said and "epochs 3 -> 5" in said
    assert all(name in said for name in NAMES[:2]) and NAMES[2] not in said


def test_a_run_is_scored_again_after_an_evaluation_of_other_cases_but_not_if_gathered(workplace):
    made = config("--seeds", 100, "--methods", "basic")
    run(made)
    calls(workplace)
    folder = workplace / "out" / f"{NAMES[0]}.exp"
    (folder / "summary.json").write_text('{"group": "validation", "saved_model": "best"}')
    assert run(made) == {} and calls(workplace) == []
    (made.folder / "cases" / f"{NAMES[0]}.csv").unlink()
    assert not progress_of(made)[NAMES[0]].is_gathered
    assert run(made) == {} and calls(workplace) == [f"score {NAMES[0]}"]


def test_a_failure_does_not_keep_the_others_from_running(workplace):
    (workplace / "data" / "fail").touch()
    failures = run(config("--seeds", 100))
    assert list(failures) == [NAMES[0]] and "nothing to train on" in failures[NAMES[0]]
    assert states(config())[:2] == [ABSENT, FINISHED]


def test_a_signal_to_the_training_ends_the_study(workplace):
    (workplace / "data" / "stopped").touch()
    with pytest.raises(TrainingInterruptedError, match=NAMES[0]) as stop:
        run(config())
    assert stop.value.number == signal.SIGTERM
    assert calls(workplace) == [NAMES[0]]


def test_a_damaged_record_says_so(workplace):
    made = config()
    made.folder.mkdir(parents=True)
    (made.folder / "gathered.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="gathered.json: is damaged"):
        progress_of(made)


def test_jobs_train_then_score_and_a_failure_is_told(workplace, monkeypatch):
    (workplace / "data" / "fail").touch()
    run_jobs = studies.run_jobs
    monkeypatch.setattr(studies, "run_jobs", lambda *given, **named: run_jobs(
        *given, poll_seconds=0.1, **named))
    made = config("--executor", "submitit-local")
    failures = run(made)
    assert sorted(failures) == [NAMES[0], NAMES[2]]
    assert "nothing to train on" in failures[NAMES[0]]
    done = calls(workplace)
    assert sorted(done[:4]) == sorted(NAMES)
    assert sorted(done[4:]) == [f"score {NAMES[1]}", f"score {NAMES[3]}"]
    assert states(made) == [ABSENT, FINISHED, ABSENT, FINISHED]
