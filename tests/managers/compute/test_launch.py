"""Processes that a script starts itself: who they are, what ends them, with which status."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from managers.compute import launch
from managers.compute.launch import run_processes, spread_over_gpus
from system.exit import TrainingInterruptedError

TELL = ("import os, pathlib; e = os.environ; "
        "pathlib.Path(e['RANK']).write_text(' '.join(e[n] for n in "
        "('LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'OMP_NUM_THREADS')))")


def python(code):
    return [sys.executable, "-c", code]


def test_each_process_is_told_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launch, "num_cores", lambda: 8)
    assert run_processes(python(TELL), 3) == 0
    assert [(tmp_path / str(rank)).read_text() for rank in range(3)] == [
        f"{rank} 3 3 127.0.0.1 2" for rank in range(3)]


@pytest.mark.parametrize(("code", "status"), [
    ("sys.exit(2)", 2), ("sys.exit(1)", 1), ("os.kill(os.getpid(), 9)", 128 + 9)])
def test_one_that_fails_ends_the_others(monkeypatch, capsys, code, status):
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.2)
    wait = "import os, sys, time; time.sleep(3600) if os.environ['RANK'] == '0' else "
    assert run_processes(python(wait + code), 2) == status
    assert ("ended by SIGKILL" in capsys.readouterr().err) == (status == 137)


def test_a_signal_reaches_all_once(tmp_path):
    """Each process notes what it hears and leaves with 143."""
    child = tmp_path / "child.py"
    child.write_text("import os, signal, sys, time, pathlib\n"
                     "def note(number, _):\n"
                     "    pathlib.Path(f'heard{os.environ[\"RANK\"]}').open('a').write('x')\n"
                     "    time.sleep(0.5)\n"
                     "    sys.exit(128 + number)\n"
                     "signal.signal(signal.SIGTERM, note)\n"
                     "pathlib.Path(f'ready{os.environ[\"RANK\"]}').touch()\n"
                     "time.sleep(300)\n")
    root = str(Path(launch.__file__).resolve().parents[2])
    parent = subprocess.Popen(
        python(f"import sys; from managers.compute.launch import run_processes; "
               f"sys.exit(run_processes([sys.executable, {str(child)!r}], 2))"),
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": root})
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not all(
            (tmp_path / f"ready{rank}").exists() for rank in (0, 1)):
        time.sleep(0.02)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == 143
    assert [(tmp_path / f"heard{rank}").read_text() for rank in (0, 1)] == ["x", "x"]


@pytest.mark.parametrize(("gpus", "flags", "number", "says"), [
    (4, (), 4, None), (16, (), 8, "8 of 16 GPUs"), (16, ("--batch_size", 2), 16, None),
    (1, (), None, "takes two GPUs"), (4, ("--num_crops", 1), None, "a single crop")])
def test_a_process_for_each_gpu_that_has_work(config, monkeypatch, recwarn, gpus, flags, number,
                                              says):
    """Hippocampus has eight crops of a volume."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(sys, "argv", ["train.py", "DATA", "_"])
    started = []
    monkeypatch.setattr(launch, "run_processes", lambda *what: started.append(what) or 7)
    run = config("--use_multi_gpus", "--device", "cuda:0", *flags)
    if number is None:
        spread_over_gpus(run)
        assert started == []
    else:
        with pytest.raises(SystemExit) as left:
            spread_over_gpus(run)
        assert left.value.code == 7
        assert started == [([sys.executable, "train.py", "DATA", "_"], number)]
    assert [says in str(warning.message) for warning in recwarn] == ([True] if says else [])


def test_nothing_is_started_unasked_or_twice(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(launch, "run_processes", lambda *_: pytest.fail("started"))
    spread_over_gpus(config())
    monkeypatch.setenv("WORLD_SIZE", "4")
    spread_over_gpus(config("--use_multi_gpus"))


def test_one_process_tells_of_an_interruption():
    assert TrainingInterruptedError("why").is_told and TrainingInterruptedError().is_told
    assert not TrainingInterruptedError(None, signal.SIGTERM).is_told
