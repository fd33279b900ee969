"""Which script knows a flag."""

import pytest

from configs import EvaluationConfig, evaluation_parser, training_parser
from configs.options import options_of
from configs.scripts import PARSERS, scripts_with
from configs.use.prediction import prediction_parser
from system import ROOT


def test_scripts_are_there():
    assert [name for name in PARSERS if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize(("flag", "scripts"), [
    ("--alpha", ["train_SelfDistil_Original.py"]), ("--tta_axes", ["predict.py"]),
    ("--paper_metrics", ["eval.py"]), ("--compare_with", ["cross_validate.py"]), ("--none", [])])
def test_scripts_with_a_flag(flag, scripts):
    assert scripts_with(flag) == scripts


@pytest.mark.parametrize(("parser", "line", "answer"), [
    (lambda: training_parser("basic"), "d _ --alpha 2",
     "--alpha is a flag of train_SelfDistil_Original.py."),
    (lambda: training_parser("dsd"), "d _ --mode testing", "--mode is a flag of eval.py."),
    (prediction_parser, "--epochs 3", "--epochs is a flag of train_basic.py"),
    (lambda: evaluation_parser(dict.fromkeys(options_of(EvaluationConfig))),
     "--mod testing", "Did you mean --mode?")])
def test_scripts_tell_of_each_other(parser, line, answer, capsys):
    with pytest.raises(SystemExit) as stop:
        parser().parse_args(line.split())
    told = capsys.readouterr().err
    assert stop.value.code == 2 and answer in told and told.count("\n") == 1
