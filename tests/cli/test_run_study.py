"""run_study.py with real training and scoring on phantoms of a minute size."""

import json
import shutil
import threading

import pytest

from studies import execute as studies
from studies import executors

ARGUMENTS = ("--networks", "nnunet", "--methods", "basic", "dsd", "--seeds", "100", "--epochs", "5",
             "--device", "cpu", "--", "--filters", "4", "8", "8", "8", "8", "--num_crops", "1")
NAMES = [f"hippocampus_nnunet_{method}_Fold1_seed100" for method in ("basic", "dsd")]


@pytest.fixture(scope="module")
def study(phantoms, tmp_path_factory):
    """A study's file on six cases, the data, and a working folder."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.json").write_text(json.dumps({
        "title": "Tiny", "datasets": ["hippocampus"], "networks": ["nnunet", "vnet"],
        "methods": {"basic": {"method": "basic"}, "dsd": {"method": "dsd"}}, "seeds": [100, 101],
        "group": "testing", "flags": ["--training_split", "2", "--validation_split", "1"]}))
    return folder, phantoms("hippocampus", 6, (24, 24, 24))


def call(run_script, study, *flags):
    folder, data = study
    at = ARGUMENTS.index("--")
    return run_script("run_study.py", "tiny.json", "--data", data, *ARGUMENTS[:at], *flags,
                      *ARGUMENTS[at:], cwd=folder)


def end_the_budget_when(patch, path):
    """Time stands still until `path` is there; then the budget is over, whatever it is."""

    class OnceThere(threading.Thread):
        def __init__(self, _, ring):
            super().__init__()
            self.ring, self.is_cancelled = ring, threading.Event()

        def run(self):
            while not path.exists() and not self.is_cancelled.wait(0.01):
                pass
            self.ring()

        def cancel(self):
            self.is_cancelled.set()

    patch.setattr(executors.threading, "Timer", OnceThere)
    patch.setattr(studies.time, "monotonic", lambda: 1e6 if path.exists() else 0.0)


def test_a_study_from_nothing_to_its_tables_and_again(run_script, study, monkeypatch):
    folder, _ = study
    done = call(run_script, study, "--dry_run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("# absent, 0 of 5 epochs") == 2
    assert "python train_SelfDistil_Original.py" in done.stdout
    assert not (folder / "experiments").exists()

    with monkeypatch.context() as patch:
        end_the_budget_when(patch, folder / "experiments" / f"{NAMES[0]}.exp" / "last.model")
        done = call(run_script, study, "--budget-minutes", 60)
    assert done.returncode == 0, done.stderr
    assert "stopped, the budget is over" in done.stdout and "not begun" in done.stdout
    assert "2 runs: 1 partial, 1 missing." in done.stdout
    stopped = (folder / "experiments" / f"{NAMES[0]}.exp" / "metrics.jsonl").read_text()
    assert 1 <= len(stopped.splitlines()) < 5
    assert not (folder / "experiments" / f"{NAMES[1]}.exp").exists()

    done = call(run_script, study)
    assert done.returncode == 0, done.stderr
    whole = (folder / "experiments" / f"{NAMES[0]}.exp" / "metrics.jsonl").read_text()
    assert whole.startswith(stopped) and len(whole.splitlines()) == 5
    report = (folder / "experiments" / "tiny.study" / "report.md").read_text()
    assert "2 runs: 2 complete." in report and report in done.stdout
    results = json.loads((folder / "experiments" / "tiny.study" / "results.json").read_text())
    for line in results["table"]:
        run = folder / "experiments" / f"{NAMES[line['method'] == 'dsd']}.exp"
        summary = json.loads((run / "summary.json").read_text())
        assert (summary["group"], summary["num_cases"], line["cases"]) == ("testing", 2, 2)
        assert line["dice_mean"] == pytest.approx(summary["mean_foreground_dice"], abs=1e-6)
        assert json.loads((run / "config.json").read_text())["epochs"] == 5
    means = [line["dice_mean"] for line in results["table"]]
    gain = next(line for line in results["gains"] if line["metric"] == "dice")
    assert gain["mean_difference"] == pytest.approx(means[1] - means[0], abs=1e-6)
    assert gain["verdict"] == "fewer than 3 paired runs"

    again = call(run_script, study)
    assert again.returncode == 0 and again.stdout.count("trained before") == 2
    assert "scored on" not in again.stdout
    shutil.rmtree(folder / "experiments" / "tiny.study")
    remade = call(run_script, study, "--report_only")
    assert remade.returncode == 0 and report in remade.stdout

    other = call(run_script, study, "--epochs", "3")
    assert other.returncode == 2 and "epochs 5 -> 3" in other.stderr


def test_data_of_another_set_are_refused_before_training(run_script, study):
    folder, data = study
    done = run_script("run_study.py", "mmwhs", "--data", data, "--output", "elsewhere", cwd=folder)
    assert done.returncode == 2 and "holds none of the folders of this dataset" in done.stderr
    assert not list((folder / "elsewhere").glob("*.exp"))
