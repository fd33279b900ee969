"""Command lines that say in one line what is wrong with them, and what was probably meant."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

WRONG_COMMAND = 2  # argparse's own status


class CommandLine(argparse.ArgumentParser):
    """An ArgumentParser without the usage above its errors, and with suggestions in them.

    Flags must be written out: an abbreviation could be meant for another script.

    Args:
        scripts_with: names of the other scripts that know a flag.
    """

    def __init__(self, *, scripts_with: Callable[[str], list[str]] | None = None,
                 **arguments: Any):
        super().__init__(**{"allow_abbrev": False} | arguments)
        self.scripts_with = scripts_with

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """As argparse does, but unknown flags are named before anything that they entail."""
        words = list(sys.argv[1:] if args is None else args)
        unknown = self._unknown_flags(words)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._advice(unknown)}")
        return super().parse_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """End the script with status 2 and one line."""
        text = self._with_suggestion(message)
        if not text.endswith((".", "?")):
            text += "."
        print(f"error: {text} {self.prog} --help lists what there is.", file=sys.stderr)
        sys.exit(WRONG_COMMAND)

    def _unknown_flags(self, words: list[str]) -> list[str]:
        if self._subparsers is not None:  # which have flags of their own
            return []
        if "--" in words:
            words = words[:words.index("--")]
        return [word for word in words if word.startswith("--")
                and " " not in word  # such is a value to argparse, as in --train_flags "--lr 1"
                and word.split("=")[0] not in self._option_string_actions]

    def _advice(self, unknown: list[str]) -> str:
        """What the first unknown flag may have been meant to be."""
        flag = unknown[0].split("=")[0]
        others = [] if self.scripts_with is None else self.scripts_with(flag)
        if others:
            return f". {flag} is a flag of {' and '.join(others)}"
        return self._did_you_mean(flag, self._option_string_actions)

    def _with_suggestion(self, message: str) -> str:
        """Add the nearest choice to argparse's message about a word that is none of them."""
        found = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if found is None:
            return message
        word, choices = found.groups()
        return message + self._did_you_mean(word, re.findall(r"[\w.:-]+", choices))

    @staticmethod
    def _did_you_mean(word: str, known: Iterable[str]) -> str:
        near = difflib.get_close_matches(word, list(known), n=1)
        return f". Did you mean {near[0]}?" if near else ""

