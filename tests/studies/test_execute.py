"""Which runs of a study are begun, continued, skipped and scored.

The scripts are ones that write a run folder at once; where "slow" is in the data folder, training
goes on until it is told to stop; where "stopped" is, someone has told it.
"""

import csv
import json
import signal
import threading
from dataclasses import replace

import pytest

from managers.runs import state as run_states
from managers.runs.run_locks import alone, locked
from managers.runs.state import ABSENT, BEGUN, FINISHED
from studies import execute as studies
from studies import executors
from studies.execute import execute, executor_of
from studies.gather import UNDER_WAY, gather, progress_of
from studies.planned_cases import planned_splits
from studies.plans.few_labels import FewLabelsPlan
from studies.plans.matrix import study_plan
from studies.plans.planned import Preparation
from studies.report_matrix import write_report
from system.exit import TrainingInterruptedError

TRAIN = """
import json, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from configs import experiment_dir, training_config
config = training_config({method!r})
folder = experiment_dir(config.experiment)
def write(epochs):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    (folder / "environment.json").write_text(json.dumps({{
        "command": ["train.py", *sys.argv[1:]], "python": "3", "packages": {{}}, "platform": "x",
        "device": "cpu", "device_name": "", "threads": 1, "cpus": 1, "git": None}}))
    (folder / "splits.json").write_text('[{{"train": ["x"], "val": ["y"], "test": ["1", "2"]}}]')
    (folder / "metrics.jsonl").write_text("".join(
        json.dumps({{"epoch": epoch, "seed": config.seed}}) + "\\n"
        for epoch in range(1, epochs + 1)))
    (folder / "timing.jsonl").write_text('{{"epoch": 1, "seconds": 90}}\\n')
    for name in ("best", "last"):
        (folder / f"{{name}}.model").write_text(json.dumps({{"epoch": epochs}}))
with open("calls", "a") as calls:
    calls.write(f"{{folder.stem}}{{' resume' if config.resume else ''}}\\n")
data = Path(config.data_dir)
if (data / "fail").exists() and config.method == "basic":
    sys.exit("error: nothing to train on")
if (data / "stopped").exists():
    sys.exit(143)
if (data / "slow").exists() and not config.resume:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    write(1)
    while True:
        signal.pause()
write(config.epochs)
"""

SCORE = """
import json, sys
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--experiment") + 1])
run = json.loads((folder / "config.json").read_text())
with open("calls", "a") as calls:
    calls.write(f"score {folder.stem}\\n")
gain = {"basic": 0.0, "dsd": 0.1}[run["method"]] + (run["seed"] - 100) / 100
(folder / "per_case.csv").write_text(
    "case_id,class,class_name,dice,hd95_mm,msd_mm,msd_label_to_pred_mm,assd_mm,empty\\n"
    + "".join(f"{case},1,left,{0.5 + gain},{3 - gain},1,1,1,\\n" for case in (1, 2)))
(folder / "summary.json").write_text(json.dumps({
    "group": sys.argv[sys.argv.index("--mode") + 1], "saved_model": "best"}))
"""

STUDY = {"title": "A study", "datasets": ["hippocampus"], "networks": ["nnunet"],
         "methods": {"basic": {"method": "basic"}, "dsd": {"method": "dsd"}},
         "seeds": [100, 101], "group": "testing", "epochs": 3}
NAMES = [f"hippocampus_nnunet_{method}_Fold1_seed{seed}" for seed in (100, 101)
         for method in ("basic", "dsd")]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A working folder with scripts that take no time."""
    root = str(run_states.ROOT)
    scripts = {method: tmp_path / f"train_{method}.py" for method in ("basic", "dsd")}
    for method, path in scripts.items():
        path.write_text(TRAIN.format(root=root, method=method))
    (tmp_path / "eval.py").write_text(SCORE)
    (tmp_path / "mine.json").write_text(json.dumps(STUDY))
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(run_states, "SCRIPTS", {name: str(path) for name, path in scripts.items()})
    monkeypatch.setattr(run_states, "ROOT", tmp_path)
    monkeypatch.setattr(run_states, "load_checkpoint", lambda path: {
        "history": [json.loads(path.read_text())]})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(*arguments):
    return study_plan(["mine.json", "--data", "data", "--output", "out",
                         *map(str, arguments)])


def run(made):
    return execute(made, executor_of(made, progress_of(made)))


def calls(workplace):
    path = workplace / "calls"
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return text.splitlines()


def states(made):
    return [progress_of(made)[name].state for name in NAMES]


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


def test_a_run_that_another_call_is_at_is_left_to_it(workplace, caplog):
    """It may be in any state: its folder here is one that no run has."""
    made = config()
    folder = workplace / "out" / f"{NAMES[1]}.exp"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"half": ')
    (made.folder / "logs").mkdir(parents=True)
    with locked(made.folder / "logs" / f".{NAMES[1]}.lock") as mine, caplog.at_level("INFO"):
        assert mine and run(made) == {}
        assert states(made) == [FINISHED, UNDER_WAY, FINISHED, FINISHED]
        assert "4 runs: 3 complete, 1 partial." in write_report(made, progress_of(made))
    assert f"[2/4] {NAMES[1]}: under way in another call" in caplog.text
    assert calls(workplace) == [word for name in (NAMES[0], *NAMES[2:])
                                for word in (name, f"score {name}")]
    (folder / "config.json").unlink()
    folder.rmdir()
    assert run(made) == {} and calls(workplace) == [NAMES[1], f"score {NAMES[1]}"]


def test_calls_at_once_share_the_runs(workplace):
    """Four calls, each run trained and scored by one of them; all are in the record."""
    outcomes = []
    together = [threading.Thread(target=lambda: outcomes.append(run(config()))) for _ in range(4)]
    for one in together:
        one.start()
    for one in together:
        one.join()
    assert outcomes == [{}] * 4
    assert sorted(calls(workplace)) == sorted([*NAMES, *(f"score {name}" for name in NAMES)])
    assert all(one.is_gathered for one in progress_of(config()).values())


def test_alone_waits_for_the_other(workplace):
    came = threading.Event()

    def come():
        with alone(workplace):
            came.set()

    other = threading.Thread(target=come)
    with alone(workplace):
        other.start()
        assert not came.wait(0.2)
    other.join()
    assert came.is_set()


def test_a_failure_does_not_keep_the_others_from_running(workplace):
    (workplace / "data" / "fail").touch()
    failures = run(config("--seeds", 100))
    assert list(failures) == [NAMES[0]] and "nothing to train on" in failures[NAMES[0]]
    assert states(config())[:2] == [ABSENT, FINISHED]


def test_when_the_budget_is_over_the_run_keeps_its_place_and_no_other_begins(workplace,
                                                                            monkeypatch):
    """The clock stands until the first run has written its first epoch."""
    (workplace / "data" / "slow").touch()
    begun = workplace / "out" / f"{NAMES[0]}.exp" / "last.model"
    given = []

    class OnceBegun(threading.Thread):
        """Of a timer: it rings when the run has done its first epoch."""

        def __init__(self, seconds, ring):
            super().__init__()
            given.append(seconds)
            self.ring, self.is_cancelled = ring, threading.Event()

        def run(self):
            while not begun.exists() and not self.is_cancelled.wait(0.02):
                pass
            self.ring()

        cancel = property(lambda self: self.is_cancelled.set)

    monkeypatch.setattr(executors.threading, "Timer", OnceBegun)
    monkeypatch.setattr(studies.time, "monotonic", lambda: 1e6 if begun.exists() else 0.0)
    made = config("--budget-minutes", 30)
    assert run(made) == {}
    assert states(made) == [BEGUN, ABSENT, ABSENT, ABSENT]
    assert progress_of(made)[NAMES[0]].epochs == 1
    assert calls(workplace) == [NAMES[0]] and given == [60 * 30]


def test_what_was_stopped_goes_on_and_what_is_trained_is_scored_though_the_budget_is_over(
        workplace, monkeypatch):
    run(config("--seeds", 100))
    calls(workplace)
    stopped, unscored = (workplace / "out" / f"{name}.exp" for name in NAMES[:2])
    for name in ("metrics.jsonl", "last.model"):
        (stopped / name).write_text('{"epoch": 2}\n')
    (unscored / "summary.json").unlink()
    made = config("--seeds", 100, "--budget-minutes", 5)
    for name in NAMES[:2]:
        (made.folder / "cases" / f"{name}.csv").unlink()
    (stopped / "summary.json").unlink()
    with monkeypatch.context() as patch:
        ticks = iter([0.0])
        patch.setattr(studies.time, "monotonic", lambda: next(ticks, 1e6))
        assert run(made) == {}
    assert calls(workplace) == [f"score {NAMES[1]}"]
    assert progress_of(made)[NAMES[0]].epochs == 2
    assert run(made) == {}
    assert calls(workplace) == [f"{NAMES[0]} resume", f"score {NAMES[0]}"]


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


def test_a_signal_to_the_training_ends_the_study(workplace):
    (workplace / "data" / "stopped").touch()
    with pytest.raises(TrainingInterruptedError, match=NAMES[0]) as stop:
        run(config())
    assert stop.value.number == signal.SIGTERM
    assert calls(workplace) == [NAMES[0]]


def names_of_cases(workplace, number):
    for kind in ("imagesTr", "labelsTr"):
        (workplace / "data" / kind).mkdir()
        for at in range(number):
            (workplace / "data" / kind / f"hippocampus_{at:03d}.nii.gz").touch()


def test_a_group_that_the_data_do_not_have_is_told_before_training(workplace):
    names_of_cases(workplace, 12)
    made = config("--", "--num_folds", "2", "--training_split", "2")
    assert {key: len(one.testing) for key, one in planned_splits(made.runs).items()} == {
        ("hippocampus", 1): 2}
    third = replace(made, runs=tuple(
        replace(one, settings=replace(one.settings, fold=3)) for one in made.runs))
    with pytest.raises(ValueError, match="hippocampus, fold 3: --fold 3: there are 2 fold"):
        planned_splits(third.runs)


def test_a_damaged_record_says_so(workplace):
    made = config()
    made.folder.mkdir(parents=True)
    (made.folder / "gathered.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="gathered.json: is damaged"):
        progress_of(made)


def test_the_report_has_what_is_there_and_says_what_is_not(workplace):
    """Dice 0.5 and 0.6, one seed; the second seed's DSD is missing."""
    run(config("--seeds", 100))
    run(config("--seeds", 101, "--methods", "basic"))
    made = config()
    page = write_report(made, progress_of(made))
    assert "4 runs: 3 complete, 1 missing." in page
    folder = made.folder
    assert (folder / "report.md").read_text() == page
    results = json.loads((folder / "results.json").read_text())
    assert [run["state"] for run in results["runs"]] == ["complete"] * 3 + ["missing"]
    assert results["runs"][0]["minutes"] == 1.5
    assert results["runs"][0]["command"][:2] == ["python", "train.py"]
    table = {line["method"]: line for line in results["table"]}
    assert table["basic"]["dice_mean"] == pytest.approx(0.505)
    assert table["dsd"]["dice_mean"] == pytest.approx(0.6)
    gain = next(line for line in results["gains"] if line["metric"] == "dice")
    assert gain["mean_difference"] == pytest.approx(0.1) and gain["runs"] == 1
    with open(folder / "table.csv", newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["basic", "dsd"]
    comparison = folder / "comparisons" / "hippocampus_nnunet_dsd_against_basic_cases.csv"
    with open(comparison, newline="") as file:
        assert {(row["case_id"], row["difference"]) for row in csv.DictReader(file)
                if row["metric"] == "dice"} == {("1", "0.100000"), ("2", "0.100000")}
    assert (folder / "gains.png").is_file()


def test_tables_of_runs_that_are_gone_do_not_stay(workplace):
    run(config("--seeds", 100))
    made = config("--seeds", 100)
    write_report(made, progress_of(made))
    other = config("--seeds", 7)
    write_report(other, progress_of(other))
    assert not any((made.folder / name).exists() for name in ("table.csv", "gains.csv",
                                                              "gains.png"))
    assert not list((made.folder / "comparisons").iterdir())


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
