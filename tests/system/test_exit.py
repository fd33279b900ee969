"""How scripts end, which flags they promise, and how little --help loads."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from system import signals
from system.exit import (
    LOGGER_NAME,
    StatedError,
    TrainingInterruptedError,
    exit_with,
    log_to_console,
)
from system.signals import SIGNALS, StopSignal, deferred, is_interruption, raised

ROOT = Path(__file__).resolve().parents[2]
TRAINING = ("--dataset --network --fold --img_size --batch_size --epochs --experiment "
            "--training_split --validation_split --device --show_verbose --use_multi_gpus --seed")
FLAGS = {
    "train_basic.py": TRAINING,
    "train_SelfDistil_Original.py": TRAINING + " --alpha --temperature --exclude_background",
    "eval.py": "--experiment --data --mode --saved_model --device",
}


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    """The logger and the form of warnings are as before after each test."""
    log = logging.getLogger(LOGGER_NAME)
    before = list(log.handlers), log.level, log.propagate
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    yield
    for handler in log.handlers:
        if handler not in before[0]:
            handler.close()
    log.handlers, log.level, log.propagate = before


def end_of(main):
    """The exit status of a script with this `main`."""
    with pytest.raises(SystemExit) as stop:
        exit_with(main)
    return stop.value.code


def raising(error):
    """A main function that fails."""
    def main():
        raise error
    return main


def test_done_is_0(capsys):
    assert end_of(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


def test_wrong_input_is_2_with_the_message_alone(capsys):
    assert end_of(raising(ValueError("no such fold"))) == 2
    assert capsys.readouterr().err == "error: no such fold\n"


@pytest.mark.parametrize("error", [RuntimeError("boom"), OSError("boom"), KeyError("boom")])
def test_a_failure_is_1_with_its_traceback(error, capsys):
    assert end_of(raising(error)) == 1
    shown = capsys.readouterr().err
    assert f"failed: {type(error).__name__}: " in shown
    assert "Traceback" in shown


def test_a_failure_that_says_all_has_no_class_name_and_no_traceback(capsys):
    assert end_of(raising(StatedError("fold 2 failed"))) == 1
    assert capsys.readouterr().err == "failed: fold 2 failed\n"


def test_with_a_log_the_traceback_goes_there(tmp_path, capsys):
    log = log_to_console()
    log.addHandler(logging.FileHandler(tmp_path / "run.log"))
    assert end_of(raising(RuntimeError("boom"))) == 1
    shown = capsys.readouterr()
    assert "Traceback" in (tmp_path / "run.log").read_text()
    assert "Traceback" not in shown.err + shown.out
    assert "failed: RuntimeError: boom" in shown.err


@pytest.mark.parametrize(("error", "words"), [
    (KeyboardInterrupt(), "interrupted"),
    (TrainingInterruptedError("after epoch 3"), "interrupted: after epoch 3")])
def test_an_interrupt_is_130(error, words, capsys):
    assert end_of(raising(error)) == 130
    assert capsys.readouterr().err == f"{words}\n"


def test_the_parser_keeps_its_own_status():
    assert end_of(raising(SystemExit(2))) == 2


def test_warnings_are_one_line_without_source(capsys):
    end_of(lambda: sys.stderr.write(warnings.formatwarning("look", UserWarning, "f.py", 3)))
    assert capsys.readouterr().err == "warning: look\n"


def test_the_console_shows_messages_once_and_no_details(capsys):
    log_to_console()
    log = log_to_console()
    log.info("epoch 1")
    log.debug("details")
    assert capsys.readouterr().out == "epoch 1\n"


@pytest.mark.parametrize("script", list(FLAGS))
def test_help_lists_the_promised_flags_and_loads_nothing_heavy(script):
    done = subprocess.run([sys.executable, "-X", "importtime", str(ROOT / script), "--help"],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    words = done.stdout.replace(",", " ").replace("[", " ").replace("]", " ").split()
    assert set(FLAGS[script].split()) <= set(words)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0]
              for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"configs", "argparse"} <= loaded, "the report of imports must be readable"
    assert not loaded & {"torch", "monai", "torchmanager", "numpy", "nibabel"}


@pytest.mark.parametrize("script", ["train_basic.py", "train_SelfDistil_Original.py"])
def test_wrong_settings_end_a_script_with_2_and_no_traceback(script, run_script, tmp_path):
    done = run_script(script, "nowhere", "_", "--dataset", "hippocampus", "--epochs", 0)
    assert done.returncode == 2
    assert "--epochs 0" in done.stderr
    assert "--network" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_default_block_of_the_evaluation_script_is_complete(run_script):
    done = run_script("eval.py", "--mode", "test")
    assert done.returncode == 2
    assert "invalid choice: 'test'" in done.stderr


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_128_and_its_number(number, capsys):
    def main():
        os.kill(os.getpid(), number)
        time.sleep(60)
    before = signal.getsignal(number)
    assert end_of(main) == 128 + number
    assert capsys.readouterr().err == f"interrupted: {signal.Signals(number).name}\n"
    assert signal.getsignal(number) == before


def test_a_deferred_signal_is_noted_and_a_second_one_raises():
    with deferred() as request:
        assert request.number is None
        os.kill(os.getpid(), signal.SIGUSR1)
        assert request.number == signal.SIGUSR1
        with pytest.raises(StopSignal) as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        assert stop.value.number == signal.SIGTERM and request.number == signal.SIGUSR1


def test_the_same_signal_by_two_ways_is_one(monkeypatch):
    """As from Slurm and from torchrun; later it is a second one."""
    with deferred() as request:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert request.number == signal.SIGTERM
        monkeypatch.setattr(signals, "ECHO_SECONDS", 0.0)
        with pytest.raises(StopSignal):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with raised():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_handled():
    noted = []

    def work():
        with deferred() as request:
            noted.append(request.number)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert noted == [None]


def test_statuses_of_interruptions():
    assert all(map(is_interruption, (130, 143, 138, -signal.SIGTERM)))
    assert not any(map(is_interruption, (0, 1, 2, 137, -signal.SIGKILL)))


def test_a_reader_that_leaves_ends_a_script_quietly(pytestconfig):
    """Like `| head`: standard output is closed at once; more is printed than a pipe holds."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -c \"from system.exit import exit_with; "
         "exit_with(lambda: [print('x' * 100) for _ in range(10000)])\" | true; "
         "echo ${PIPESTATUS[0]}"], cwd=pytestconfig.rootpath, capture_output=True, text=True)
    assert done.stdout.strip() == "141" and done.stderr == ""


def test_a_run_outlives_the_reader_of_its_messages(tmp_path):
    """As `run_study.py --dry_run | head`: the rest is done, and nothing is said about the pipe."""
    done = tmp_path / "done"
    code = ("from pathlib import Path; from system.exit import exit_with, log_to_console\n"
            "def main():\n"
            "    log = log_to_console()\n"
            "    for _ in range(2000): log.info('x' * 100)\n"
            f"    Path({str(done)!r}).touch()\n"
            "exit_with(main)")
    line = f"{sys.executable} -c \"$CODE\" | true; echo ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", line], cwd=ROOT, env={**os.environ, "CODE": code},
                           capture_output=True, text=True, check=True)
    assert (found.stdout.strip(), found.stderr) == ("0", "")
    assert done.exists()


ENDING = """
import atexit, os
from system.exit import exit_with
from system.signals import StopSignal

class Abort:
    def __del__(self):
        os.abort()

kept = Abort()  # goes when Python ends, as the threads of a process group do
atexit.register(lambda: print("put away"))

def main():
    print("some words")
    {body}

exit_with(main)
"""


@pytest.mark.parametrize(("body", "status", "said"), [
    ("pass", 0, ""), ("raise ValueError('no such fold')", 2, "error: no such fold\n"),
    ("raise StopSignal(15)", 143, "interrupted: SIGTERM\n")])
def test_one_of_several_processes_keeps_its_status_whatever_ends_with_python(body, status, said):
    code = ENDING.format(body=body)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"WORLD_SIZE": "2"}, timeout=60)
    assert (done.returncode, done.stderr) == (status, said)
    assert done.stdout == "some words\nput away\n"
    alone = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60)
    assert alone.returncode == -signal.SIGABRT
