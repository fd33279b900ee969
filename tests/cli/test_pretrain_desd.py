"""pretrain_DeSD.py as users run it: alone, under torchrun, killed, resumed, and what it refuses."""

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

SCRIPT = "pretrain_DeSD.py"
SETTINGS = ("--tiny", "--out_dim", 32, "--crop_size", 16, 64, 64, "--batch_size_per_gpu", 4,
            "--epochs", 3, "--warmup_epochs", 1, "--warmup_teacher_temp_epochs", 2, "--lr", 0.1,
            "--min_lr", 0.001, "--device", "cpu")
MEANS = ("loss", "loss_ssl", "deep_loss_1", "deep_loss_2", "deep_loss_3", "teacher_entropy", "kl",
         "target_information", "center_norm", "feature_std")


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """DATA with nine tiles of smooth noise, a list of eight of them, and a list of one."""
    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    for index in range(9):
        coarse = rng.normal(0, 400, (8, 10, 3))
        volume = np.kron(coarse, np.ones((12, 10, 8))).clip(-1024, 1024).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / f"tile{index}.nii")
    (folder / "list.txt").write_text("".join(f"tile{index}.nii\n" for index in range(8)))
    (folder / "one.txt").write_text("tile0.nii\n")
    return folder


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def torchrun(tiles, run, rootdir, *flags):
    """The command of two processes with half the batch each."""
    return list(map(str, [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
        rootdir / SCRIPT, tiles, tiles / "list.txt", "--output_dir", run, *SETTINGS,
        "--batch_size_per_gpu", 2, *flags]))


def kill_after_first_epoch(command, cwd, last_model):
    """Start a run and kill it, children and all, once an epoch is on disk."""
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 180
    while not last_model.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    # torchrun's workers are sessions of their own: ask it who they are before it goes.
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)],
                              capture_output=True, text=True).stdout.split()
    for pid in (process.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    return torch.load(last_model, weights_only=True)["epoch"]


@pytest.fixture(scope="module")
def whole(tiles, tmp_path_factory, run_script_in):
    """A run of one process, its folder and what it printed."""
    cwd = tmp_path_factory.mktemp("whole")
    done = run_script_in(cwd, SCRIPT, tiles, tiles / "list.txt", "--output_dir", "Whole.exp",
                         *SETTINGS)
    assert done.returncode == 0, done.stderr
    return cwd / "experiments" / "Whole.exp", done.stdout


def test_the_run_folder_says_everything(whole):
    folder, printed = whole
    assert {path.name for path in folder.iterdir()} == {
        ".lock",
        "config.json", "environment.json", "Whole.log", "metrics.jsonl", "timing.jsonl",
        "progress.png", "data", "last.model"}
    assert [line["epoch"] for line in lines(folder)] == [1, 2, 3]
    assert "DeSD of res3d10 on 8 tiles, 2 steps an epoch" in printed
    assert "--network resnet10-unet --init_from experiments/Whole.exp --encoder_only" in printed
    state = torch.load(folder / "last.model", weights_only=True)
    assert {"student", "teacher", "optimizer", "desd_loss", "history", "config"} <= set(state)
    assert len([name for name in state["teacher"] if name.startswith("backbone.")]) == 39
    assert state["desd_loss"]["center"].shape == (1, 32)


def test_two_processes_killed_and_resumed_are_one_whole_run(whole, tiles, tmp_path,
                                                            pytestconfig):
    root = pytestconfig.rootpath
    run = tmp_path / "Two.exp"
    done = kill_after_first_epoch(torchrun(tiles, run, root), tmp_path, run / "last.model")
    assert 1 <= done < 3
    resumed = subprocess.run(torchrun(tiles, run, root, "--resume"), cwd=tmp_path,
                             capture_output=True, text=True, timeout=300)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count("DeSD of res3d10") == 1  # one process speaks
    for one, two in zip(lines(whole[0]), lines(run), strict=True):
        assert one["epoch"] == two["epoch"] and one["lr"] == two["lr"]
        # float32, and norms over few voxels: tests/managers/test_distributed.py is exact
        assert [two[name] for name in MEANS] == pytest.approx([one[name] for name in MEANS],
                                                             rel=2e-3, abs=2e-3)
    states = [torch.load(folder / "last.model", weights_only=True) for folder in (whole[0], run)]
    for name, value in states[0]["teacher"].items():
        torch.testing.assert_close(states[1]["teacher"][name], value, rtol=1e-2, atol=1e-3)


def test_one_process_killed_and_resumed_is_the_same_to_the_bit(whole, tiles, tmp_path, run_script,
                                                               pytestconfig):
    command = [sys.executable, pytestconfig.rootpath / SCRIPT, tiles, tiles / "list.txt",
               "--output_dir", "Killed.exp", *SETTINGS]
    killed = tmp_path / "experiments" / "Killed.exp"
    done = kill_after_first_epoch(list(map(str, command)), tmp_path, killed / "last.model")
    assert 1 <= done < 3
    resumed = run_script(SCRIPT, *command[2:], "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (killed / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()
    states = [torch.load(folder / "last.model", weights_only=True) for folder in (whole[0], killed)]
    for part in ("student", "teacher", "desd_loss"):
        for name, value in states[0][part].items():
            assert torch.equal(states[1][part][name], value), name


@pytest.mark.parametrize(("listed", "flags", "says"), [
    ("one.txt", (), "fewer than a step takes"),
    ("absent.txt", (), "absent.txt"),
    ("list.txt", ("--epochs", 1), "--warmup_teacher_temp_epochs 2: is longer than --epochs 1"),
    ("list.txt", ("--resume",), "no run here"),
], ids=["few tiles", "no list", "warm-up", "nothing to resume"])
def test_what_cannot_be_is_refused_before_anything_is_written(tiles, run_script, tmp_path, listed,
                                                              flags, says):
    refused = run_script(SCRIPT, tiles, tiles / listed, "--output_dir", "No.exp", *SETTINGS,
                         *flags)
    assert refused.returncode == 2 and says in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "experiments").exists()


def test_two_processes_refuse_with_one_message(tiles, tmp_path, pytestconfig):
    done = subprocess.run(torchrun(tiles, tmp_path / "few.exp", pytestconfig.rootpath,
                                   "--batch_size_per_gpu", 5),
                          cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and done.stderr.count("8 tiles are fewer") == 1, done.stderr
    assert not (tmp_path / "few.exp").exists()


def test_an_existing_run_is_not_replaced_unasked(whole, tiles, run_script):
    folder = whole[0]
    refused = run_script(SCRIPT, tiles, tiles / "list.txt", "--output_dir", folder, *SETTINGS)
    assert refused.returncode == 2 and "another --output_dir" in refused.stderr
    finished = run_script(SCRIPT, tiles, tiles / "list.txt", "--output_dir", folder, *SETTINGS,
                          "--resume")
    assert finished.returncode == 2 and "has finished 3 epochs" in finished.stderr
    other = run_script(SCRIPT, tiles, tiles / "list.txt", "--output_dir", folder, *SETTINGS,
                       "--resume", "--arch", "res3d18")
    assert other.returncode == 2 and "arch res3d10 -> res3d18" in other.stderr
