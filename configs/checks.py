"""Values of a JSON file, each checked; what is wrong with them is added to a list of problems.

Every check gives the value, tuples for lists, or an empty one of its kind where it is not sound.
"""

from typing import Any


def checked_text(key: str, value: Any, problems: list[str]) -> str:
    """A line of text that is not empty."""
    if isinstance(value, str) and value.strip() and value.isprintable():
        return value
    problems.append(f"{key}: {short(value)} must be a line of text that is not empty.")
    return ""


def checked_names(key: str, value: Any, problems: list[str],
                  choices: tuple[str, ...]) -> tuple[str, ...]:
    """A list of different names out of `choices`."""
    if not isinstance(value, list) or not value:
        problems.append(f"{key}: {short(value)} must be a list that is not empty.")
        return ()
    wrong = [one for one in value if not isinstance(one, str) or one not in choices]
    problems += [f"{key}: {short(one)} must be one of {', '.join(choices)}." for one in wrong]
    return () if wrong else _different(key, value, problems)


def checked_numbers(key: str, value: Any, problems: list[str], low: int,
                    high: int) -> tuple[int, ...]:
    """A list of different whole numbers from `low` to `high`."""
    if not isinstance(value, list) or not value:
        problems.append(f"{key}: {short(value)} must be a list that is not empty.")
        return ()
    wrong = [one for one in value if type(one) is not int or not low <= one <= high]
    problems += [f"{key}: {short(one)} must be a whole number from {low} to {high}."
                 for one in wrong]
    return () if wrong else _different(key, value, problems)


def _different(key: str, values: list[Any], problems: list[str]) -> tuple[Any, ...]:
    problems += [f"{key}: {one} occurs more than once."
                 for one in dict.fromkeys(one for one in values if values.count(one) > 1)]
    return tuple(values)


def checked_words(where: str, value: Any, problems: list[str]) -> tuple[str, ...]:
    """A list of the words of a command line, perhaps empty."""
    if isinstance(value, list) and all(isinstance(one, str) and one.isprintable() and one
                                       for one in value):
        return tuple(value)
    problems.append(f'{where}: flags {short(value)} must be a list of texts, such as '
                    f'["--distil", "none"].')
    return ()


def short(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
