"""The settings of eval.py: an edited block, with flags over it."""

import pytest

from configs import evaluation_config, evaluation_parser

SETTINGS = {"experiment": "A.exp", "data": None, "mode": "validation", "cases": None,
            "saved_model": "best", "device": "auto", "amp": "off", "native_space": False,
            "paper_metrics": False, "tolerance_mm": 1.0, "tune_postprocessing": False,
            "include_training_cases": False, "save_predictions": False, "trust_network_code": False,
            "show_verbose": True}


def test_the_block_alone_is_a_configuration():
    config = evaluation_config(SETTINGS, [])
    assert {name: getattr(config, name) for name in SETTINGS} == SETTINGS | {"cases": ()}


def test_flags_beat_the_block():
    config = evaluation_config(SETTINGS, [
        "--experiment", "B.exp", "--data", "D", "--mode", "testing", "--cases", "a", "b",
        "--saved_model", "last", "--device", "cpu", "--paper_metrics", "--no-show_verbose"])
    assert (config.experiment, config.data, config.mode) == ("B.exp", "D", "testing")
    assert (config.cases, config.saved_model, config.device) == (("a", "b"), "last", "cpu")
    assert (config.paper_metrics, config.show_verbose) == (True, False)


def test_flags_leave_the_block_as_it_is():
    edited = dict(SETTINGS)
    evaluation_config(edited, ["--mode", "training"])
    assert edited == SETTINGS


@pytest.mark.parametrize("name", ["native_space", "paper_metrics", "include_training_cases",
                                  "save_predictions", "trust_network_code", "show_verbose"])
@pytest.mark.parametrize("edited", [True, False])
def test_a_switch_can_be_thrown_both_ways(name, edited):
    block = SETTINGS | {name: edited}
    assert getattr(evaluation_config(block, []), name) is edited
    assert getattr(evaluation_config(block, [f"--{name}"]), name) is True
    assert getattr(evaluation_config(block, [f"--no-{name}"]), name) is False


def test_cases_of_the_block_become_a_tuple():
    assert evaluation_config(SETTINGS | {"cases": ["a", "b"]}, []).cases == ("a", "b")


def test_no_cases_on_the_command_line_are_all_of_the_group():
    assert evaluation_config(SETTINGS | {"cases": ["a", "b"]}, ["--cases"]).cases == ()


def test_one_case_given_as_a_string_is_not_spelled_out():
    with pytest.raises(ValueError, match="cases"):
        evaluation_config(SETTINGS | {"cases": "ct_train_1001"}, [])


@pytest.mark.parametrize(("name", "value"), [("mode", "test"), ("mode", None), ("amp", "bf8"),
                                             ("saved_model", "final")])
def test_a_bad_value_in_the_block_is_an_error(name, value):
    with pytest.raises(ValueError, match=rf"SETTINGS.*{name} is {value!r}.*one of"):
        evaluation_config(SETTINGS | {name: value}, [])


def test_the_papers_convention_is_of_the_resampled_grid():
    with pytest.raises(ValueError, match="--paper_metrics.*--native_space.*choose one"):
        evaluation_config(SETTINGS | {"native_space": True}, ["--paper_metrics"])


def test_an_unknown_name_in_the_block_is_an_error():
    with pytest.raises(ValueError, match=r"unknown \['fold'\]"):
        evaluation_config(SETTINGS | {"fold": 1}, [])


@pytest.mark.parametrize("name", ["experiment", "cases", "show_verbose"])
def test_a_name_that_the_block_lacks_is_an_error(name):
    block = {key: value for key, value in SETTINGS.items() if key != name}
    with pytest.raises(ValueError, match=rf"missing \['{name}'\]"):
        evaluation_config(block, [])


@pytest.mark.parametrize("argv", [["--mode", "test"], ["--saved_model", "final"], ["--fold", "1"],
                                  ["stray"]])
def test_flags_that_the_parser_refuses_exit_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        evaluation_config(SETTINGS, argv)
    assert stop.value.code == 2
    assert "error" in capsys.readouterr().err


def test_help_shows_the_values_of_the_block():
    text = " ".join(evaluation_parser(SETTINGS | {"experiment": "MINE.exp"}).format_help().split())
    assert "(now: MINE.exp)" in text
    assert "(now: validation)" in text


def test_help_survives_a_percent_sign_in_the_block():
    assert "50%_of" in evaluation_parser(SETTINGS | {"data": "50%_of"}).format_help()


@pytest.mark.parametrize("words", [["--mode", "testing"], ["--cases", "a"]])
def test_post_processing_is_learnt_on_all_validation_cases(words):
    assert evaluation_config(SETTINGS, ["--tune_postprocessing"]).tune_postprocessing
    with pytest.raises(ValueError, match="learns on all validation cases"):
        evaluation_config(SETTINGS, ["--tune_postprocessing", *words])


def test_a_tolerance_is_not_negative():
    with pytest.raises(ValueError, match="--tolerance_mm -1.0: must be at least 0"):
        evaluation_config(SETTINGS, ["--tolerance_mm", "-1"])
