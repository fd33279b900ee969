"""Options of a command line: a dataclass field says all there is to say about its flag.

    epochs: int = option("training", "passes over the training cases", default=100, at_least=1,
                         flags=("--epochs", "-e"))

Parser, --help with its defaults, docs/flags.md and the check of ranges are made from the fields.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from types import UnionType
from typing import Any, get_args, get_origin

from system.command_line import CommandLine

LARGEST_SEED = 2**64 - 1  # of torch


@dataclass(frozen=True)
class Option:
    """What a field says about its flag besides name, type and default."""

    group: str | None           # title in --help; None: outside of all groups
    help: str                   # without the default, which is added to it
    flags: tuple[str, ...] = ()  # empty: --NAME
    positional: bool = False
    required: bool = False
    choices: tuple[str, ...] | None = None
    parse: Callable[[str], Any] | None = None  # of one word; None: the annotated type
    nargs: str | None = None    # None: as many words as the annotated type has
    metavar: str | tuple[str, ...] | None = None
    unless_given: str = ""      # shown as the default, where the field's own does not say it
    exclusive: str = ""         # of the options with the same word here one may be given
    # Other flags that set the same field, with their arguments for argparse. One may be given.
    also: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    at_least: float | None = None  # these four: the range of each number
    above: float | None = None
    below: float | None = None
    at_most: float | None = None
    range_note: str = ""        # added to the message about the range
    needs: str = ""             # field without which this one has no effect
    networks: tuple[str, ...] = ()  # that know the option; empty: all


def option(group: str | None, help: str, *, default: Any = MISSING, **rest: Any) -> Any:
    """A dataclass field with a flag; `rest` are fields of Option."""
    return field(default=default, metadata={"option": Option(group, help, **rest)})


def options_of(kind: type) -> dict[str, Option]:
    """The options of a dataclass by the names of their fields."""
    return {one.name: one.metadata["option"] for one in fields(kind) if "option" in one.metadata}


def option_parser(*kinds: type, description: str, epilog: str | None = None,
                  groups: tuple[str, ...] = (),
                  now: Mapping[str, Any] | None = None) -> argparse.ArgumentParser:
    """The command line of some dataclasses, in which a flag that is not given leaves no trace.

    Args:
        kinds: within a group their flags follow each other, in the order of the fields.
        groups: titles, in the order of --help; options of other groups are left out.
        now: values to show in place of the defaults.
    """
    parser = CommandLine(description=description, epilog=epilog, scripts_with=_scripts_with,
                         argument_default=argparse.SUPPRESS)
    for title in (None, *groups):
        place: Any = parser
        if title is not None:
            place = parser.add_argument_group(title)
        for kind in kinds:
            _add_options(place, kind, title, now)
    return parser


def _scripts_with(flag: str) -> list[str]:
    from .scripts import scripts_with  # which has its parsers from here
    return scripts_with(flag)


def _add_options(place: Any, kind: type, title: str | None, now: Mapping[str, Any] | None) -> None:
    """Add those options of a dataclass that are of the group `title`."""
    exclusive: dict[str, Any] = {}
    for one in fields(kind):
        spec = one.metadata.get("option")
        if spec is None or spec.group != title:
            continue
        group = place
        if spec.exclusive or spec.also:
            key = spec.exclusive or one.name
            if key not in exclusive:
                exclusive[key] = place.add_mutually_exclusive_group()
            group = exclusive[key]
        arguments = _arguments(one)
        arguments["help"] = _help(one, now).replace("%", "%%")
        if spec.positional:
            group.add_argument(one.name, **arguments)
        else:
            group.add_argument(*_flags(one.name, spec), dest=one.name, required=spec.required,
                               **arguments)
        for flag, more in spec.also.items():
            group.add_argument(flag, dest=one.name, **more)


def _flags(name: str, spec: Option) -> tuple[str, ...]:
    return spec.flags or (f"--{name}",)


def _is_switch(one: Field) -> bool:
    """Whether the flag takes no word."""
    return one.type in (bool, bool | None) and one.metadata["option"].parse is None


def _arguments(one: Field) -> dict[str, Any]:
    """What argparse needs to read the words of a flag."""
    if _is_switch(one):
        if one.default is MISSING:  # so there must be a flag for each of the two values
            return {"action": argparse.BooleanOptionalAction}
        if one.default:
            return {"action": "store_false"}
        return {"action": "store_true"}
    spec = one.metadata["option"]
    kind, count = _kind_and_count(one.type)
    nargs, action = spec.nargs or count, "store"
    if nargs is not None:
        action = _StoreTuple
    return {"action": action, "type": spec.parse or kind, "nargs": nargs,
            "metavar": spec.metavar, "choices": spec.choices}


class _StoreTuple(argparse.Action):
    """Store several words as a tuple; argparse would store a list."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, tuple(values))


def _kind_and_count(annotation: Any) -> tuple[type, int | str | None]:
    """The type of a word, and how many of them a flag takes: None for a single one."""
    if get_origin(annotation) is UnionType:  # such as int | None
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is not tuple:
        return annotation, None
    kinds = get_args(annotation)
    if kinds[-1] is Ellipsis:
        return kinds[0], "+"
    return kinds[0], len(kinds)


def _help(one: Field, now: Mapping[str, Any] | None) -> str:
    spec = one.metadata["option"]
    if now is not None:
        return f"{spec.help} (now: {now[one.name]})"
    if spec.unless_given:
        return f"{spec.help} (default: {spec.unless_given})"
    if _is_switch(one) or one.default in (MISSING, None):
        return spec.help
    return f"{spec.help} (default {as_typed(one.default)})"


def as_typed(value: Any) -> str:
    """A default as a user would type it: 0.000001 as 1e-6, several numbers with blanks between."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(value).removesuffix(".0").replace("e-0", "e-")
    if isinstance(value, tuple):
        return " ".join(map(as_typed, value))
    return str(value)


def out_of_range(kind: type, given: Mapping[str, Any]) -> list[str]:
    """A line for each value that its field's range excludes; None is in every range."""
    problems = []
    for name, spec in options_of(kind).items():
        value, expected = given.get(name), _range_in_words(spec)
        if value is None or not expected:
            continue
        if isinstance(value, (list, tuple)):
            numbers, rule = value, f"every number must be {expected}"
        else:
            numbers, rule = (value,), f"must be {expected}"
        if spec.range_note:
            rule += f"; {spec.range_note}"
        if not all(_is_within(number, spec) for number in numbers):
            words = " ".join(map(str, numbers))
            problems.append(f"  {_flags(name, spec)[0]} {words}: {rule}.")
    return problems


def _is_within(number: float, spec: Option) -> bool:
    return (-math.inf < number < math.inf  # excludes nan, too
            and (spec.at_least is None or number >= spec.at_least)
            and (spec.above is None or number > spec.above)
            and (spec.below is None or number < spec.below)
            and (spec.at_most is None or number <= spec.at_most))


def _range_in_words(spec: Option) -> str:
    """For example "at least 0 and below 1"; empty if there is no range."""
    if spec.at_least is not None and spec.at_most is not None:
        return f"from {spec.at_least} to {spec.at_most}"
    ends = {"at least": spec.at_least, "above": spec.above, "below": spec.below,
            "at most": spec.at_most}
    return " and ".join(f"{words} {end}" for words, end in ends.items() if end is not None)


def refuse(problems: list[str]) -> None:
    """Raise a ValueError that lists the problems, if there are any."""
    if problems:
        raise ValueError("\n".join(["These settings cannot be used:", *problems]))


def settings_table(values: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """What --show_settings prints: a line per setting, with its value and where that comes from."""
    rows = [("setting", "value", "from")]
    rows += [(name, shown_value(value), sources[name]) for name, value in values.items()]
    name_width = max(len(row[0]) for row in rows)
    value_width = max(len(row[1]) for row in rows)
    lines = []
    for name, value, source in rows:
        lines.append(f"{name:<{name_width}}  {value:<{value_width}}  {source}")
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


def shown_value(value: Any) -> str:
    """A setting on one line: lists with commas, lists of lists with blanks between them."""
    if isinstance(value, dict):
        return " ".join(f"{name}={shown_value(one)}" for name, one in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        nested = any(isinstance(one, (list, tuple)) for one in value)
        separator = " " if nested else ","
        return separator.join(map(shown_value, value))
    if value is None:
        return "-"
    return str(value)
