"""A dataclass field says all there is to say about its flag."""

import argparse
from dataclasses import dataclass

import pytest

from configs.options import as_typed, option, option_parser, options_of, out_of_range, refuse
from configs.pretraining.pretraining import PretrainingConfig
from configs.pretraining.pretraining_parser import pretraining_parser
from configs.training.training import NetworkFlags, Switches, TrainingConfig
from configs.training.training_parser import training_parser


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What a walk is."""

    goal: str = option(None, "where it leads", positional=True, metavar="GOAL")
    steps: int = option("way", "how many", default=3, at_least=1, flags=("--steps", "-s"))
    share: float = option("way", "100 % is all of it", default=1e-6, at_least=0, below=1)
    size: tuple[float, float] | None = option("way", "of a shoe", default=None, above=0)
    stops: tuple[str, ...] = option("way", "on it", default=(), unless_given="none")
    slowly: bool = option("pace", "take time", default=False, exclusive="pace")
    at_once: bool = option("pace", "start now", default=False, exclusive="pace")
    rest: bool = option("pace", "go without a rest", default=True, flags=("--no_rest",))
    mood: str = option("pace", "of the walker", default="good", choices=("good", "bad"),
                       also={"--sad": {"action": "store_const", "const": "bad", "help": "bad"}})
    name: str = "no option"


def parse(*words, groups=("way", "pace")):
    return vars(option_parser(Walk, description="Walk.", groups=groups).parse_args(words))


def test_a_flag_that_is_not_given_leaves_no_trace():
    assert parse("home") == {"goal": "home"}


def test_every_kind_of_field_is_read():
    assert parse("home", "-s", "4", "--share", "0.5", "--size", "1", "2", "--stops", "a", "b",
                 "--slowly", "--no_rest", "--sad") == {
        "goal": "home", "steps": 4, "share": 0.5, "size": (1.0, 2.0), "stops": ("a", "b"),
        "slowly": True, "rest": False, "mood": "bad"}


@pytest.mark.parametrize("words", [
    ("home", "--step", "4"), ("home", "--slowly", "--at_once"), ("home", "--sad", "--mood", "bad"),
    ("home", "--mood", "fair"), ("home", "--size", "1"), ("home", "--name", "x"), ()])
def test_what_no_field_says_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        parse(*words)
    assert "error" in capsys.readouterr().err


def test_a_group_that_is_left_out_takes_its_flags_along(capsys):
    with pytest.raises(SystemExit):
        parse("home", "--slowly", groups=("way",))
    assert "unrecognized arguments: --slowly" in capsys.readouterr().err


def test_the_help_says_the_default_of_the_field():
    text = option_parser(Walk, description="Walk.", groups=("way", "pace")).format_help()
    for words in ("how many (default 3)", "100 % is all of it (default 1e-6)",
                  "on it (default: none)", "take time\n", "of the walker (default good)"):
        assert words in text
    now = option_parser(Walk, description="Walk.", groups=("way",),
                        now=dict.fromkeys(Walk.__dataclass_fields__, "50 %")).format_help()
    assert "how many (now: 50 %)" in now


@pytest.mark.parametrize(("value", "text"), [
    (1e-6, "1e-6"), (0.25, "0.25"), (1.0, "1"), (60000, "60000"),
    (0.12345678, "0.12345678"), (True, "true"), ((16, 96, 96), "16 96 96"), ("best", "best")])
def test_values_as_one_would_type_them(value, text):
    assert as_typed(value) == text


def test_all_values_out_of_range_are_said_at_once():
    problems = out_of_range(Walk, {"goal": "home", "steps": 0, "share": 1.0, "size": (1.0, 0.0)})
    assert problems == ["  --steps 0: must be at least 1.",
                        "  --share 1.0: must be at least 0 and below 1.",
                        "  --size 1.0 0.0: every number must be above 0."]
    with pytest.raises(ValueError, match="cannot be used:\n  --steps 0: .*\n  --share"):
        refuse(problems)


@pytest.mark.parametrize("given", [
    {"steps": 1, "share": 0.0}, {"share": 0.999}, {"steps": 10**400}, {"size": None},
    {"size": (0.1, 1)}, {}])
def test_the_ends_of_a_range_and_none_are_allowed(given):
    assert out_of_range(Walk, given) == []
    refuse([])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -0.1])
def test_what_is_no_number_is_in_no_range(number):
    assert len(out_of_range(Walk, {"share": number, "size": (1, number)})) == 2


@pytest.mark.parametrize(("parser", "kinds"), [
    (training_parser("dsd"), (Switches, TrainingConfig, NetworkFlags)),
    (pretraining_parser(), (PretrainingConfig,))])
def test_every_option_is_in_a_group_of_its_command_line(parser, kinds):
    """A misspelled group would leave its flag out."""
    there = {action.dest for action in parser._actions}
    assert there >= {name for kind in kinds for name in options_of(kind)}
    assert all(action.help for action in parser._actions
               if not isinstance(action, argparse._HelpAction))
