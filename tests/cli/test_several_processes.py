"""Training, evaluation and prediction in two processes: killed, resumed, equal to one process."""

import json
import os
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
import torch

SCRIPT = "train_SelfDistil_Original.py"
# Three crops for two processes, and an odd number of cases in each group.
SETTINGS = ("--dataset", "hippocampus", "--network", "nnunet", "--filters", 4, 8, 8, "--img_size",
            16, 16, 16, "--num_crops", 3, "--device", "cpu", "--epochs", 3, "--training_split", 3,
            "--validation_split", 3, "--overlap", 0, "--distil", "decoder")


@pytest.fixture(scope="module")
def data(phantoms):
    return phantoms("hippocampus", 9, (24, 24, 24))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory, run_script_in):
    """The folder in which one process trained One.exp and scored its test cases."""
    cwd = tmp_path_factory.mktemp("whole")
    for script, *arguments in ((SCRIPT, data, "_", "--experiment", "One.exp", *SETTINGS),
                               ("eval.py", "--experiment", "One.exp", "--mode", "testing",
                                "--device", "cpu")):
        done = run_script_in(cwd, script, *arguments)
        assert done.returncode == 0, done.stderr
    return cwd


def torchrun(root, script, *arguments):
    return list(map(str, [sys.executable, "-m", "torch.distributed.run", "--standalone",
                          "--nproc_per_node=2", root / script, *arguments]))


def of_its_own(root, script, *arguments):
    """The command in two processes as --use_multi_gpus starts them, where there are two GPUs."""
    command = [sys.executable, str(root / script), *map(str, arguments)]
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); "
            f"from managers.compute.launch import run_processes; "
            f"sys.exit(run_processes({command!r}, 2))"]


def epochs_on_disk(path):
    return len(torch.load(path, weights_only=True)["history"]) if path.exists() else 0


def stop_after_an_epoch(command, cwd, last_model, number):
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    deadline = time.monotonic() + 180
    while epochs_on_disk(last_model) < 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, number)
    printed, _ = process.communicate(timeout=120)
    return process.returncode, printed


def run(command, cwd):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_stopped_and_resumed_two_processes_are_one(whole, data, tmp_path, pytestconfig):
    """By SIGTERM in the middle of an epoch, and on with torchrun; then scored and predicted."""
    root = pytestconfig.rootpath
    train = (SCRIPT, data, "_", "--experiment", "Two.exp", *SETTINGS)
    two = tmp_path / "experiments" / "Two.exp"
    status, printed = stop_after_an_epoch(of_its_own(root, *train), tmp_path, two / "last.model",
                                          signal.SIGTERM)
    assert status == 128 + signal.SIGTERM, printed
    assert printed.count("interrupted: SIGTERM after") == 1, printed
    done = run(torchrun(root, *train, "--resume"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nnunet with dsd on hippocampus") == 1  # one process speaks
    assert "2 x cpu" in done.stdout
    one = whole / "experiments" / "One.exp"
    assert not (two / "interrupted.model").exists()
    for alone, together in zip(lines(one), lines(two), strict=True):
        assert together == pytest.approx(alone, rel=1e-4)
    states = [torch.load(folder / "last.model", weights_only=True) for folder in (one, two)]
    for name, value in states[0]["network"].items():
        torch.testing.assert_close(states[1]["network"][name], value, rtol=1e-3, atol=1e-5)
    assert json.loads((two / "environment.json").read_text())["processes"] == 2


def test_two_processes_score_as_one(whole, pytestconfig):
    """Three test cases; the tables are the same, whoever scored them."""
    folder = whole / "experiments" / "One.exp"
    before = {name: (folder / name).read_bytes() for name in ("per_case.csv", "summary.json")}
    done = run(torchrun(pytestconfig.rootpath, "eval.py", "--experiment", "One.exp", "--mode",
                        "testing", "--device", "cpu"), whole)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("on 3 testing cases") == 1
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_two_processes_predict_as_one(whole, data, pytestconfig, run_script_in):
    images = data / "Task04_Hippocampus" / "imagesTr"
    arguments = ("predict.py", "--experiment", "One.exp", "--input", images, "--device", "cpu",
                 "--output")
    assert run_script_in(whole, *arguments, "alone").returncode == 0
    done = run(torchrun(pytestconfig.rootpath, *arguments, "together"), whole)
    assert done.returncode == 0, done.stderr
    records = [json.loads((whole / name / "prediction.json").read_text())["cases"]
               for name in ("alone", "together")]
    assert list(records[0]) == list(records[1]) and len(records[0]) == 9
    for path in (whole / "alone").glob("*.nii.gz"):
        label_maps = [np.asarray(nibabel.load(folder / path.name).dataobj)
                      for folder in (whole / "alone", whole / "together")]
        assert np.array_equal(*label_maps), path.name


def test_what_is_wrong_is_said_once_and_ends_all(whole, data, pytestconfig):
    """The experiment exists."""
    command = of_its_own(pytestconfig.rootpath, SCRIPT, data, "_", "--experiment", "One.exp",
                         *SETTINGS)
    refused = run(command, whole)
    assert refused.returncode == 2 and refused.stderr.count("this experiment exists") == 1
    assert "Traceback" not in refused.stderr


def test_a_loss_that_is_not_finite_ends_all(data, tmp_path, pytestconfig):
    failed = run(of_its_own(pytestconfig.rootpath, SCRIPT, data, "_", "--experiment", "Bad.exp",
                            *SETTINGS, "--lr", 1e30), tmp_path)
    assert failed.returncode == 1, failed.stderr
    assert failed.stderr.count("training is not finite any more") == 1, failed.stderr
    assert "hippocampus_" in failed.stderr
    assert (tmp_path / "experiments" / "Bad.exp" / "not_finite.model").exists()
