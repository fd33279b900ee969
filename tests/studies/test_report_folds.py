"""Which folds are run, and how; the training script is one that writes a run folder at once."""

import json
import sys

import pytest

from configs import evaluation_config
from eval import SETTINGS
from managers.runs import state as run_states
from managers.runs.folder import work_folder
from managers.runs.state import ABSENT, BEGUN, FINISHED, evaluation_command
from studies import execute, report_folds
from studies.gather import Progress, progress_of
from studies.plans.folds import cross_validation
from studies.report_folds import (
    begin,
    check_plan,
    gathered_rows,
    read_cross_validation,
    write_comparison,
    write_results,
)

# Fold k validates on case "k", with Dice k / 10. Breaks off where fail<k> is in the data folder.
TRAIN = """
import json, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from configs import experiment_dir, training_config
config = training_config("basic")
folder = experiment_dir(config.experiment)
resumed = config.resume and json.loads((folder / "last.model").read_text())["epoch"]
with open("calls", "a") as calls:
    calls.write(f"{{config.fold}}{{' resume' if config.resume else ''}}"
                f"{{' overwrite' if config.overwrite else ''}}\\n")
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.json").write_text(json.dumps(config.to_dict()))
split = [{{"train": ["x"], "val": [str(k)], "test": []}} for k in (1, 2)]
(folder / "splits.json").write_text(json.dumps(split))
if (Path(config.data_dir) / f"fail{{config.fold}}").exists():
    sys.exit("error: nothing to train on")
(folder / "metrics.jsonl").write_text("".join(
    json.dumps({{"epoch": e, "seed": config.seed}}) + "\\n" for e in range(1, config.epochs + 1)))
for name in ("best", "last"):
    (folder / f"{{name}}.model").write_text(json.dumps({{"epoch": config.epochs}}))
(folder / "per_case.csv").write_text(
    "case_id,class,class_name,dice,hd95_mm,msd_mm,msd_label_to_pred_mm,assd_mm,empty\\n"
    f"{{config.fold}},1,left,0.{{config.fold}},1,1,1,1,\\n")
(folder / "summary.json").write_text('{{"group": "validation", "saved_model": "best"}}')
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A working folder with a training script that takes no time."""
    script = tmp_path / "train.py"
    script.write_text(TRAIN.format(root=str(run_states.ROOT)))
    monkeypatch.setattr(run_states, "SCRIPTS", dict.fromkeys(("basic", "dsd"), str(script)))
    monkeypatch.setattr(run_states, "load_checkpoint", lambda path: {
        "history": [json.loads(path.read_text())]})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


def config(*arguments, name="Try"):
    return cross_validation([
        "data", "--dataset", "hippocampus", "--network", "nnunet", "--method", "basic", "--folds",
        "1", "2", "--epochs", "3", "--experiment", name, *map(str, arguments)])


def states(made):
    return [one.state for one in progress_of(made).values()]


def all_in(state):
    return {f"fold {fold}": Progress(state, 0, False) for fold in (1, 2)}


def executed(made):
    """What went wrong, by fold."""
    made.folder.mkdir(parents=True, exist_ok=True)
    begin(made, progress_of(made))
    return execute.execute(made)


def run(made):
    """The folder, and the rows of all folds."""
    assert executed(made) == {}
    rows = gathered_rows(made)
    write_results(made, rows)
    return made.folder, rows


def calls(workplace):
    path = workplace / "calls"
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return text.splitlines()


def run_folder(workplace, fold):
    return workplace / "experiments" / f"Try_Fold{fold}.exp"


def test_all_folds_are_trained_once(workplace):
    assert states(config()) == [ABSENT, ABSENT]
    folder, rows = run(config())
    assert calls(workplace) == ["1", "2"]
    assert [(row["fold"], row["case_id"], row["dice"]) for row in rows] == [(1, "1", 0.1),
                                                                           (2, "2", 0.2)]
    about = json.loads((folder / "cv.json").read_text())
    assert about["experiments"] == ["Try_Fold1.exp", "Try_Fold2.exp"]
    assert about["complete"] and (about["method"], about["folds"]) == ("basic", [1, 2])
    assert json.loads((folder / "summary.json").read_text())["num_cases"] == 2
    assert states(config()) == [FINISHED, FINISHED]
    run(config())
    assert calls(workplace) == []


def test_an_interrupted_fold_goes_on_and_one_without_an_epoch_begins_again(workplace):
    run(config())
    calls(workplace)
    (run_folder(workplace, 1) / "metrics.jsonl").write_text('{"epoch": 1}\n')
    for name in ("metrics.jsonl", "last.model", "best.model", "summary.json"):
        (run_folder(workplace, 2) / name).unlink()
    assert states(config()) == [BEGUN, BEGUN]
    run(config())
    assert calls(workplace) == ["1 resume", "2 overwrite"]


def test_a_fold_killed_between_record_and_checkpoint_is_not_finished(workplace):
    run(config())
    calls(workplace)
    folder = run_folder(workplace, 1)
    (folder / "last.model").write_text('{"epoch": 2}')
    (folder / "metrics.jsonl").write_text('{"epoch": 3, "other": 1}\n')
    run(config())
    assert calls(workplace) == ["1 resume"]


def test_a_fold_whose_checkpoints_were_removed_is_never_trained_again_unasked(workplace):
    folder, _ = run(config())
    calls(workplace)
    for fold in (1, 2):
        for name in ("last", "best"):
            (run_folder(workplace, fold) / f"{name}.model").unlink()
    assert set(states(config())) == {FINISHED}
    assert run(config())[1] and calls(workplace) == []
    (folder / "cv.json").unlink()  # its scores are no longer known to be of this run
    before = sorted(run_folder(workplace, 1).iterdir())
    with pytest.raises(ValueError, match="Try_Fold1.exp: has trained 3 epoch.*last.model is gone"):
        states(config())
    assert sorted(run_folder(workplace, 1).iterdir()) == before


def test_runs_with_other_settings_are_refused_and_named(workplace):
    run(config())
    with pytest.raises(ValueError) as error:
        states(config("--lr", 0.5, "--seed", 3))
    for fold in (1, 2):
        assert f"Try_Fold{fold}.exp: has other settings" in str(error.value)
    assert "lr 0.001 -> 0.5" in str(error.value) and "seed 100 -> 3" in str(error.value)
    assert set(states(config("--device", "cpu", "--num_workers", 2))) == {FINISHED}
    calls(workplace)
    run(config("--lr", 0.5, "--overwrite"))
    assert calls(workplace) == ["1 overwrite", "2 overwrite"]


def test_moved_data_are_warned_of(workplace):
    run(config())
    (workplace / "moved").symlink_to(workplace / "nowhere")
    made = cross_validation(["elsewhere", *config().runs[0].arguments[1:-5], "--method", "basic",
                                    "--folds", "1", "2", "--experiment", "Try"])
    with pytest.warns(UserWarning, match="was trained on the data in"):
        assert set(states(made)) == {FINISHED}


def test_a_failing_fold_is_named_the_others_run_and_no_table_stays(workplace):
    run(config(name="Try"))
    calls(workplace)
    for path in run_folder(workplace, 1).iterdir():
        path.unlink()
    (run_folder(workplace, 2) / "metrics.jsonl").write_text('{"epoch": 1}\n')
    (workplace / "data" / "fail1").touch()
    failures = executed(config())
    assert list(failures) == ["fold 1"]
    message = failures["fold 1"]
    assert message.startswith("  fold 1: failed, exit status 1, log ")
    assert "experiments/Try.cv/fold1.log" in message and "nothing to train on" in message
    assert calls(workplace) == ["1", "2 resume"]
    folder = workplace / "experiments" / "Try.cv"
    assert not any((folder / name).exists() for name in ("table.txt", "per_case.csv", "folds.png"))
    with pytest.raises(ValueError, match="is not finished"):
        read_cross_validation("Try")
    (workplace / "data" / "fail1").unlink()
    run(config())
    assert calls(workplace) == ["1 overwrite"]


def test_validation_rows_survive_a_later_evaluation_of_other_cases(workplace, monkeypatch):
    folder, before = run(config())
    other = run_folder(workplace, 1)
    (other / "summary.json").write_text('{"group": "testing", "saved_model": "best"}')
    (other / "per_case.csv").write_text("case_id\n")
    assert run(config())[1] == before
    # without the copy the run is scored again, which is eval.py's work
    (folder / "fold1.csv").unlink()
    seen = []
    monkeypatch.setattr(execute, "run_logged", lambda command, *_: seen.append(command) or 2)
    failures = executed(config())
    assert "fold 1: could not be scored, exit status 2" in failures["fold 1"]
    assert len(seen) == 1 and seen[0][0] == sys.executable and "validation" in seen[0]


def test_an_evaluation_is_of_all_cases_whatever_the_settings_of_eval_py_say(workplace):
    wanted = config().runs[0].settings
    line = evaluation_command(wanted, "validation")
    edited = SETTINGS | {"cases": ["7"], "native_space": True, "mode": "testing"}
    found = evaluation_config(edited, line[2:])
    assert (found.cases, found.native_space, found.mode) == ((), False, "validation")


def test_tables_that_were_broken_off_are_not_complete(workplace, monkeypatch):
    run(config())
    made = config()

    def killed(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr(report_folds, "folds_picture", killed)
    with pytest.raises(KeyboardInterrupt):
        run(made)
    with pytest.raises(ValueError, match="is not finished"):
        read_cross_validation("Try")


def test_two_at_work_on_one_folder_is_refused(workplace):
    def at_work():
        return work_folder(config().folder, "cross_validation.log", "cross_validate.py")

    with at_work(), pytest.raises(ValueError, match="another cross_validate.py"), at_work():
        pass


def test_folds_of_different_splits_are_refused(workplace):
    folder, _ = run(config())
    path = run_folder(workplace, 2) / "splits.json"
    path.write_text(path.read_text().replace("x", "y"))
    with pytest.raises(ValueError, match="folds 2 have another split of the cases than fold 1"):
        gathered_rows(config())


def test_a_case_in_two_folds_is_refused(workplace):
    folder, _ = run(config())
    (folder / "fold2.csv").write_bytes((folder / "fold1.csv").read_bytes())
    with pytest.raises(ValueError, match="case 1 is validated in folds 1 and 2"):
        gathered_rows(config())


def test_comparison_files_and_what_cannot_be_compared(workplace):
    run(config(name="Base"))
    folder, rows = run(config())
    made = config("--compare_with", "Base.cv")
    check_plan(made, progress_of(made))
    assert "A (baseline)  Base" in write_comparison(made, rows)
    assert {path.name for path in folder.glob("comparison_with_Base*")} == {
        f"comparison_with_Base{ending}" for ending in (".txt", ".csv", ".json", ".png",
                                                       "_cases.csv")}
    results = json.loads((folder / "comparison_with_Base.json").read_text())
    assert results["a"] == "Base" and results["results"][0]["mean_difference"] == 0
    for arguments, said in ((("--compare_with", "Nothing"), "experiments: Base.cv, Try.cv"),
                            (("--compare_with", "Try"), "itself"),
                            (("--compare_with", "Base", "--folds", "1"), "same cases")):
        with pytest.raises(ValueError, match=said):
            check_plan(config(*arguments), all_in(FINISHED))
    path = workplace / "experiments" / "Base.cv" / "cv.json"
    path.write_text(path.read_text().replace("hippocampus", "mmwhs-ct"))
    with pytest.raises(ValueError, match="is on mmwhs-ct, this one on hippocampus"):
        check_plan(made, progress_of(made))


def with_splits(workplace, *validated):
    """Flags for folds that validate these cases of six; case 1 trains."""
    for group in ("imagesTr", "labelsTr"):
        (workplace / "data" / group).mkdir(exist_ok=True)
        for number in range(1, 7):
            (workplace / "data" / group / f"hippocampus_{number}.nii.gz").touch()
    splits = [{"train": ["hippocampus_1"], "val": [f"hippocampus_{k}"]} for k in validated]
    (workplace / "splits.json").write_text(json.dumps(splits))
    return "--splits", workplace / "splits.json"


@pytest.mark.parametrize(("validated", "said"), [((2, 2), "several of these folds validate: hippo"),
                                                 ((2,), "--fold 2: there are 1 fold")])
def test_folds_without_a_table_are_refused_before_the_training(workplace, validated, said):
    made = config(*with_splits(workplace, *validated))
    with pytest.raises(ValueError, match=said):
        check_plan(made, progress_of(made))


def test_a_baseline_of_other_cases_is_refused_before_the_training(workplace):
    splits = with_splits(workplace, 2, 3)
    run(config(name="Base"))  # validates the cases 1 and 2
    made = config("--compare_with", "Base", *splits)
    with pytest.raises(ValueError, match=r"4 cases are validated in one of the two only \(1, 2, "
                                         r"hippocampus_2, hippocampus_3\); give the data, --tr"):
        check_plan(made, all_in(ABSENT))
    check_plan(made, all_in(FINISHED))
    rows = workplace / "experiments" / "Base.cv" / "per_case.csv"
    lines = rows.read_text().splitlines()
    rows.write_text("\n".join([lines[0], lines[1].replace("1,1,", "1,hippocampus_2,", 1),
                               lines[2].replace("2,2,", "2,hippocampus_3,", 1)]) + "\n")
    check_plan(made, all_in(ABSENT))
