"""A parser of command lines that the program makes itself."""

import argparse
from typing import NoReturn


class LineParser(argparse.ArgumentParser):
    """What is wrong with a command line is a ValueError, not the end of the process."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise ValueError(f"{message}.")
