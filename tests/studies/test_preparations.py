"""What runs need first, and runs whose models are discarded."""

from dataclasses import replace

import pytest

from studies.execute import execute
from studies.gather import gather, progress_of
from studies.plans.few_labels import FewLabelsPlan
from studies.plans.planned import Preparation
from system.exit import TrainingInterruptedError
from tests.studies.stand_ins import NAMES, calls, config

# Fails where it is told to, else writes down what it was called with.
PREPARE = """
import sys
from pathlib import Path
if sys.argv[2] != "0":
    sys.exit(int(sys.argv[2]))
if sys.argv[1] != "nothing":
    Path(sys.argv[1]).write_text(" ".join(sys.argv[3:]))
"""


def preparation(folder, name, status=0, result=None, **more):
    (folder / "prepare.py").write_text(PREPARE)
    return Preparation(name, str(folder / "prepare.py"),
                       (str(result or folder / name), str(status), "argument"),
                       (folder / name).is_file, **more)


def prepared(workplace, *preparations, **more):
    """Two runs, the second of which needs the first preparation; nothing has its settings."""
    runs = config("--seeds", 100).runs
    second = replace(runs[1], needs=(preparations[0].name,))
    return FewLabelsPlan(folder=workplace / "few", runs=(runs[0], second), study=None, source=None,
                         preparations=preparations, **more)


def test_a_failed_preparation_stops_only_what_needs_it(workplace):
    plan = prepared(workplace, preparation(workplace, "first", 3),
                    preparation(workplace, "second", needs=("first",)),
                    preparation(workplace, "third", flags_to_go_on=lambda: ["--resume"]),
                    preparation(workplace, "fourth", result="nothing"))
    failures = execute(plan)
    assert set(failures) == {"first", "second", "fourth", NAMES[1]}
    assert "exit status 3" in failures["first"] and "not run, it needs first" in failures["second"]
    assert "result is incomplete" in failures["fourth"] and "needs first" in failures[NAMES[1]]
    assert (workplace / "third").read_text() == "argument --resume"
    assert calls(workplace) == [NAMES[0], f"score {NAMES[0]}"]
    plan = prepared(workplace, preparation(workplace, "first"))
    assert execute(plan) == {}
    assert calls(workplace) == [NAMES[1], f"score {NAMES[1]}"]


def test_what_is_prepared_is_not_prepared_again(workplace):
    (workplace / "first").write_text("before")
    assert execute(prepared(workplace, preparation(workplace, "first"))) == {}
    assert (workplace / "first").read_text() == "before"


def test_a_signal_to_a_preparation_ends_the_study(workplace):
    with pytest.raises(TrainingInterruptedError, match="first"):
        execute(prepared(workplace, preparation(workplace, "first", 130)))
    assert calls(workplace) == []


def test_without_time_to_prepare_what_needs_it_waits_and_nothing_has_failed(workplace):
    plan = prepared(workplace, preparation(workplace, "first"), budget_minutes=1e-9)
    assert execute(plan) == {}
    assert calls(workplace) == [] and not (workplace / "first").exists()


def test_models_of_scored_runs_are_discarded_on_request_and_not_missed(workplace):
    plan = prepared(workplace, preparation(workplace, "first"), discard_models=True)
    assert execute(plan) == {}
    assert not list((workplace / "out").glob("*/*.model"))
    calls(workplace)
    assert execute(plan) == {} and calls(workplace) == []


def test_scores_without_models_or_a_copy_can_be_gathered(workplace):
    """As an older version left them, which had no copies."""
    plan = prepared(workplace, preparation(workplace, "first"), discard_models=True)
    execute(plan)
    calls(workplace)
    (plan.folder / "gathered.json").unlink()
    with pytest.raises(ValueError, match="last.model is gone"):
        progress_of(plan)
    assert not gather(plan, plan.runs[0])
    assert all(gather(plan, one, models_are_gone=True) for one in plan.runs)
    assert execute(plan) == {} and calls(workplace) == []
