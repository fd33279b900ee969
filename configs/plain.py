"""Settings as plain JSON values, and back with every value's kind checked."""

import dataclasses
import json
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Settings = TypeVar("Settings")


def to_plain(settings: Any) -> dict[str, Any]:
    """A dataclass as plain JSON values, tuples as lists."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def from_plain(kind: type[Settings], values: Any, verbatim: tuple[str, ...] = ()) -> Settings:
    """The inverse of `to_plain`; fields that an older file lacks get their defaults.

    Args:
        kind: the dataclass.
        values: the content of the file.
        verbatim: fields that stay as they are; in all others lists become tuples.

    Raises:
        ValueError: a field is missing, unknown, or of another kind than annotated.
    """
    if not isinstance(values, dict):
        raise ValueError("config.json must hold one object.")
    names = {one.name for one in dataclasses.fields(kind)}
    missing, unknown = names - set(values) - set(defaults(kind)), set(values) - names
    if missing or unknown:
        raise ValueError(f"config.json does not fit this version: missing {sorted(missing)}, "
                         f"unknown {sorted(unknown)}.")
    values = {name: value if name in verbatim else _tuples(value)
              for name, value in values.items()}
    kinds = get_type_hints(kind)
    wrong = []
    for name, value in values.items():
        if not isinstance(value, _classes(kinds[name])):
            wrong.append(f"{name} is {value!r}, must be {kinds[name]}")
    if wrong:
        raise ValueError(f"{'; '.join(wrong)}.")
    return kind(**values)


def defaults(kind: type) -> dict[str, Any]:
    """The defaults of a dataclass's fields, of those that have one."""
    return {one.name: one.default for one in dataclasses.fields(kind)
            if one.default is not dataclasses.MISSING}


def _classes(kind: Any) -> tuple[type, ...]:
    """The classes that an annotation such as `tuple[int, int] | None` allows."""
    kinds = (kind,)
    if get_origin(kind) is UnionType:
        kinds = get_args(kind)
    classes = [get_origin(one) or one for one in kinds]
    if float in classes:
        classes.append(int)
    return tuple(classes)


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tuples(one) for name, one in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(one) for one in value)
    return value
