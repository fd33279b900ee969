"""Checks of the values in a JSON file; what is wrong with them is added to a list of problems.

Every check returns the value, with tuples for lists, or an empty one of its kind if it is wrong.
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
    return _different(key, value, wrong, f"must be one of {', '.join(choices)}", problems)


def checked_numbers(key: str, value: Any, problems: list[str], low: int,
                    high: int) -> tuple[int, ...]:
    """A list of different whole numbers from `low` to `high`."""
    if not isinstance(value, list) or not value:
        problems.append(f"{key}: {short(value)} must be a list that is not empty.")
        return ()
    wrong = [one for one in value if type(one) is not int or not low <= one <= high]
    return _different(key, value, wrong, f"must be a whole number from {low} to {high}", problems)


def _different(key: str, values: list[Any], wrong: list[Any], rule: str,
               problems: list[str]) -> tuple[Any, ...]:
    """The values if none is wrong; those that occur more than once are problems, too."""
    for one in wrong:
        problems.append(f"{key}: {short(one)} {rule}.")
    if wrong:
        return ()
    for one in dict.fromkeys(values):
        if values.count(one) > 1:
            problems.append(f"{key}: {one} occurs more than once.")
    return tuple(values)


def checked_words(where: str, value: Any, problems: list[str]) -> tuple[str, ...]:
    """A list of the words of a command line, perhaps empty."""
    if isinstance(value, list) and all(map(_is_word, value)):
        return tuple(value)
    problems.append(f'{where}: flags {short(value)} must be a list of texts, such as '
                    f'["--distil", "none"].')
    return ()


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and value != ""


def short(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    if len(text) > 60:
        text = f"{text[:57]}..."
    return text
