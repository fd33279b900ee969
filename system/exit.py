"""How every script ends: one message and a meaningful exit status."""

import atexit
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from .faults import remedy, without_traceback
from .signals import StopSignal, raised, status_of

LOGGER_NAME = "dsd"
OK, FAILED, WRONG_INPUT = 0, 1, 2
INTERRUPTED = status_of(signal.SIGINT)
READER_LEFT = status_of(13)  # SIGPIPE, which not every system has


class StatedError(Exception):
    """A failure while running whose message says all there is to say."""


class TrainingInterruptedError(Exception):
    """The user, or the machine, stopped the run.

    Attributes:
        number: of the signal that did.
        is_told: whether this process is the one that says so.
    """

    def __init__(self, message: str | None = "", number: int = signal.SIGINT):
        super().__init__(message or "")
        self.number = number
        self.is_told = message is not None


def exit_with(main: Callable[[], None]) -> NoReturn:
    """Run `main` and leave: 0 done, 2 for wrong arguments or data, 1 for a failure.

    A signal that asked for the end gives 128 and its number: 130 for ^C, 143 for SIGTERM, 138 for
    SIGUSR1. An output that nobody reads any more, as with `| head`, gives 141.

    Code below raises ValueError for what the user can put right; anything else is a failure, and
    its traceback goes to the run's log (or to the terminal before there is one, but for a
    StatedError). About a full disk, missing rights and too little memory it says what to do.
    """
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    status = _status(main)
    if is_started_among_several():
        _leave_at_once(status)
    sys.exit(status)


def _status(main: Callable[[], None]) -> int:
    """Run `main`, print why it ended, and return the exit status."""
    log = logging.getLogger(LOGGER_NAME)
    try:
        with raised():
            main()
    except ValueError as error:
        log.debug(traceback.format_exc())  # to the run's log, where there is one
        print(f"error: {error}", file=sys.stderr)
        return WRONG_INPUT
    except (KeyboardInterrupt, TrainingInterruptedError) as stop:
        if getattr(stop, "is_told", True):
            print(f"interrupted: {stop}" if str(stop) else "interrupted", file=sys.stderr)
        known = isinstance(stop, (StopSignal, TrainingInterruptedError))
        return status_of(stop.number) if known else INTERRUPTED
    except BrokenPipeError:  # whoever read the output, as head does, has enough
        _silence_stdout()
        return READER_LEFT
    except Exception as error:
        advice = remedy(error)
        stated = isinstance(error, StatedError) or advice is not None
        if stated or any(isinstance(handler, logging.FileHandler) for handler in log.handlers):
            log.debug(traceback.format_exc())
        else:
            traceback.print_exc()
        kind = "" if stated else f"{type(error).__name__}: "
        text = without_traceback(str(error)).rstrip(".")
        print(f"failed: {kind}{text}. {advice}" if advice else f"failed: {kind}{error}",
              file=sys.stderr)
        return FAILED
    return OK


def is_started_among_several() -> bool:
    """Whether torchrun, or --use_multi_gpus, started this process and others."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def _leave_at_once(status: int) -> NoReturn:
    """End one of several processes without taking the interpreter apart.

    While Python does that, a process with a process group aborts now and then (seen with gloo:
    "terminate called without an active exception"), and its status is SIGABRT's.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(status)


def _silence_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Console(logging.StreamHandler):
    """Messages on standard output; a run outlives whoever read them, as `| head` or a lost tee."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            _silence_stdout()
        else:
            super().handleError(record)


def log_to_console() -> logging.Logger:
    """The project's logger, its messages on standard output."""
    log = logging.getLogger(LOGGER_NAME)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    console = Console(sys.stdout)
    console.setLevel(logging.INFO)
    console.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(console)
    return log
