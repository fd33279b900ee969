"""A run that is stopped and continued ends where an uninterrupted one does."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

SETTINGS = ("--filters", 4, 8, 8, "--img_size", 16, 16, 16, "--device", "cpu", "--epochs", 4,
            "--training_split", 2, "--validation_split", 1)
SCRIPT = "train_SelfDistil_Original.py"


@pytest.fixture(scope="module")
def data(phantoms):
    return phantoms("hippocampus", 7, (24, 24, 24))


def experiment(name):
    return f"Hippocampus_nnUnet_{name}.exp"


def stop_after_an_epoch(command, cwd, last_model, epoch, number):
    """Start a run and send it a signal once that epoch is on disk; its status and last epoch."""
    process = subprocess.Popen(list(map(str, command)), cwd=cwd, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while epochs_on_disk(last_model) < epoch and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, number)
    return process.wait(), epochs_on_disk(last_model)


def epochs_on_disk(path):
    return len(torch.load(path, weights_only=True)["history"]) if path.exists() else 0


def test_killed_and_resumed_is_the_same_to_the_bit(data, run_script, tmp_path, pytestconfig):
    whole = run_script(SCRIPT, data, "_", "--experiment", experiment("Whole"), *SETTINGS)
    assert whole.returncode == 0, whole.stderr
    runs = tmp_path / "experiments"
    command = [sys.executable, pytestconfig.rootpath / SCRIPT, data, "_", "--experiment",
               experiment("Killed"), *SETTINGS]
    last_model = runs / experiment("Killed") / "last.model"
    status, done = stop_after_an_epoch(command, tmp_path, last_model, 1, signal.SIGKILL)
    assert status == -signal.SIGKILL and 1 <= done < 4
    status, _ = stop_after_an_epoch([*command, "--resume"], tmp_path, last_model, done + 1,
                                    signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    resumed = run_script(SCRIPT, data, "_", "--experiment", experiment("Killed"), *SETTINGS,
                         "--resume")
    assert resumed.returncode == 0, resumed.stderr
    for name in ("metrics.jsonl", "per_case.csv"):
        first, second = ((runs / experiment(run) / name).read_bytes()
                         for run in ("Whole", "Killed"))
        assert first == second, name
    for model in ("last.model", "best.model"):
        first, second = (torch.load(runs / experiment(run) / model, weights_only=True)
                         for run in ("Whole", "Killed"))
        assert first["history"] == second["history"]
        assert all(torch.equal(value, second["network"][key])
                   for key, value in first["network"].items())
    epochs = [json.loads(line)["epoch"] for line in
              (runs / experiment("Killed") / "timing.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3, 4]


def test_what_can_and_cannot_be_resumed(data, run_script, tmp_path):
    def train(*arguments):
        return run_script(SCRIPT, data, "_", "--experiment", experiment("Test"), *arguments)

    absent = train(*SETTINGS, "--resume")
    assert absent.returncode == 2 and "no run here" in absent.stderr
    first = train(*SETTINGS, "--epochs", 1)
    assert first.returncode == 0, first.stderr
    finished = train(*SETTINGS, "--epochs", 1, "--resume")
    assert finished.returncode == 2 and "finished 1 epochs" in finished.stderr
    other = train(*SETTINGS, "--filters", 4, 8, 16, "--resume")
    assert other.returncode == 2 and "network_options" in other.stderr
    grown = train(*SETTINGS, "--epochs", 2, "--lr", 0.0005, "--resume")
    assert grown.returncode == 0, grown.stderr
    assert "epochs 1 -> 2" in grown.stderr and "lr 0.001 -> 0.0005" in grown.stderr
    lines = (tmp_path / "experiments" / experiment("Test") / "metrics.jsonl").read_text()
    assert len(lines.splitlines()) == 2

def test_a_run_that_learns_nothing_stops_early_and_counts_as_finished(data, run_script, tmp_path):
    command = (SCRIPT, data, "_", "--experiment", experiment("Early"), *SETTINGS, "--lr", 1e-12,
               "--early_stop", 2)
    done = run_script(*command)
    assert done.returncode == 0, done.stderr
    assert "val_dice has not risen for 2 epoch(s) (--early_stop)." in done.stdout
    folder = tmp_path / "experiments" / experiment("Early")
    assert epochs_on_disk(folder / "last.model") == 3  # of 4: epoch 1 is the best
    assert (folder / "summary.json").is_file()
    again = run_script(*command, "--resume")
    assert again.returncode == 2 and "stopped early after 3 epochs" in again.stderr
    (folder / "summary.json").unlink()  # as if killed before its scores
    again = run_script(*command, "--resume")
    assert again.returncode == 0 and epochs_on_disk(folder / "last.model") == 3, again.stderr
    assert (folder / "summary.json").is_file()
