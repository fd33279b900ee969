"""A parser of command lines that the program makes itself."""

from typing import NoReturn

from system.command_line import CommandLine


class LineParser(CommandLine):
    """What is wrong with a command line is a ValueError, not the end of the process."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise ValueError(f"{message}.")
