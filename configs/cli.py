"""How every script ends: one message and a meaningful exit status."""

import logging
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import NoReturn

LOGGER_NAME = "dsd"
OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


class StatedError(Exception):
    """A failure while running whose message says all there is to say."""


class TrainingInterruptedError(Exception):
    """The user stopped the run."""


def exit_with(main: Callable[[], None]) -> NoReturn:
    """Run `main` and leave: 0 done, 2 for wrong arguments or data, 1 for a failure, 130 for ^C.

    Code below raises ValueError for what the user can put right; anything else is a failure, and
    its traceback goes to the run's log (or to the terminal before there is one, but for a
    StatedError).
    """
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    log = logging.getLogger(LOGGER_NAME)
    try:
        main()
    except ValueError as error:
        log.debug(traceback.format_exc())  # to the run's log, where there is one
        print(f"error: {error}", file=sys.stderr)
        sys.exit(WRONG_INPUT)
    except (KeyboardInterrupt, TrainingInterruptedError) as stop:
        print(f"interrupted: {stop}" if str(stop) else "interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        stated = isinstance(error, StatedError)
        if stated or any(isinstance(handler, logging.FileHandler) for handler in log.handlers):
            log.debug(traceback.format_exc())
        else:
            traceback.print_exc()
        kind = "" if stated else f"{type(error).__name__}: "
        print(f"failed: {kind}{error}", file=sys.stderr)
        sys.exit(FAILED)
    sys.exit(OK)


def log_to_console() -> logging.Logger:
    """The project's logger, its messages on standard output."""
    log = logging.getLogger(LOGGER_NAME)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    console = logging.StreamHandler(sys.stdout)
    console.setLevel(logging.INFO)
    console.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(console)
    return log
