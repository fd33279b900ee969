"""Signals that ask a process to stop: ^C, SIGTERM, and SIGUSR1, which Slurm can send beforehand."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1")
                if hasattr(signal, name))
# Slurm gives a signal to every process, and torchrun among them passes it on.
ECHO_SECONDS = 1.0


class StopSignal(KeyboardInterrupt):  # noqa: N818  (it is no error)
    """A signal asked for the end, and it was one that ends a process at once.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass
class Request:
    """What `deferred` heard: the number of the first signal, None while there was none."""

    number: int | None = None


def status_of(number: int) -> int:
    """The exit status of a process that a signal stopped, as a shell gives it: 130 for ^C."""
    return 128 + number


def is_interruption(status: int) -> bool:
    """Whether an exit status says that the command was stopped by a signal and can go on."""
    return status - 128 in SIGNALS or -status in SIGNALS


@contextmanager
def raised() -> Iterator[None]:
    """Within, each of SIGNALS raises StopSignal in the main thread, so that files are closed."""
    with _handled(_raise):
        yield


@contextmanager
def deferred() -> Iterator[Request]:
    """Within, the first of SIGNALS is only noted in what this yields; a second raises StopSignal.

    The same one again within ECHO_SECONDS is still the first.
    In another thread than the main one nothing is noted: Python gives signals to the main thread.
    """
    request, heard = Request(), 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if request.number is None:
            request.number, heard = number, time.monotonic()
        elif number != request.number or time.monotonic() - heard > ECHO_SECONDS:
            raise StopSignal(number)

    with _handled(note):
        yield request


@contextmanager
def forwarded(tell: Callable[[int], None]) -> Iterator[None]:
    """Within, each of SIGNALS is given to `tell` and does nothing else here."""
    with _handled(lambda number, _: tell(number)):
        yield


def leave_to_parent(_: int = 0) -> None:
    """For a loader's worker: signals to the group of its parent, as ^C is one, do not reach it.

    The parent ends it, by SIGTERM where it must.
    """
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def _raise(number: int, frame: FrameType | None) -> None:
    raise StopSignal(number)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals that are ignored, as ^C is in a shell's background, stay so."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in SIGNALS}
        before = {number: old for number, old in before.items() if old != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
