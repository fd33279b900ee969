"""What a mistyped command line answers."""

import argparse

import pytest

from system.command_line import CommandLine
from system.durations import duration


def parser():
    line = CommandLine(prog="train.py", scripts_with={"--mode": ["eval.py"]}.get)
    line.add_argument("data", metavar="DATA")
    line.add_argument("--epochs", "-e", type=int)
    line.add_argument("--schedule", choices=("step", "constant", "poly"))
    return line


@pytest.mark.parametrize(("words", "answer"), [
    ("d --epoch 3", "unrecognized arguments: --epoch. Did you mean --epochs?"),
    ("d --epoch=3", "unrecognized arguments: --epoch=3. Did you mean --epochs?"),
    ("--epoch 3", "unrecognized arguments: --epoch. Did you mean --epochs?"),  # not: DATA needed
    ("d --mode testing", "unrecognized arguments: --mode. --mode is a flag of eval.py."),
    ("d --unheard-of", "unrecognized arguments: --unheard-of."),
    ("d stray", "unrecognized arguments: stray."),
    ("", "the following arguments are required: DATA."),
    ("d -e x", "argument --epochs/-e: invalid int value: 'x'."),
])
def test_one_line_and_a_suggestion(words, answer, capsys):
    with pytest.raises(SystemExit) as stop:
        parser().parse_args(words.split())
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", f"error: {answer} train.py --help lists what there is.\n")


def test_nearest_choice(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["d", "--schedule", "polly"])
    told = capsys.readouterr().err
    assert told.startswith("error: argument --schedule: invalid choice: 'polly' (choose from ")
    assert "). Did you mean poly? train.py --help" in told
    with pytest.raises(SystemExit):
        parser().parse_args(["d", "--schedule", "zzz"])
    assert "Did you mean" not in capsys.readouterr().err


def test_a_right_line_is_argparse_own():
    assert parser().parse_args(["d", "-e", "3"]) == argparse.Namespace(
        data="d", epochs=3, schedule=None)
    line = CommandLine()
    line.add_argument("words", nargs="*")
    assert line.parse_args(["--", "--epoch"]).words == ["--epoch"]  # after -- nothing is a flag


def test_flags_of_a_step_are_left_to_it(capsys):
    line = CommandLine()
    step = line.add_subparsers(dest="step").add_parser("pack")
    step.add_argument("--spacing", type=float)
    assert line.parse_args(["pack", "--spacing", "2"]).spacing == 2
    with pytest.raises(SystemExit):
        line.parse_args(["pack", "--space", "2"])
    assert capsys.readouterr().err.startswith("error: unrecognized arguments: --space")


@pytest.mark.parametrize(("seconds", "words"), [
    (0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3569, "59 min"), (3600, "1 h 00 min"),
    (3900, "1 h 05 min"), (86399, "1 d 0 h"), (200000, "2 d 7 h")])
def test_durations(seconds, words):
    assert duration(seconds) == words
