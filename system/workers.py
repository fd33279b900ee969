"""One function over many items in processes of their own, with a progress bar."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tqdm import tqdm

from .exit import StatedError

# Each process counts with one thread: there are as many processes as there are cores for them.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                     "VECLIB_MAXIMUM_THREADS")
GRACE_SECONDS = 10  # for a worker's clean-up when the parent has gone


class _StoppedError(BaseException):
    """The parent ends this process; no Exception, so that no item's handler takes it."""


def num_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def for_each(function: Callable[[Any], Any], items: Sequence[Any], num_workers: int,
             desc: str = "", unit: str = "it", progress: bool = True) -> Iterator[Any]:
    """Yield function(item) of all items as they are done, in any order.

    With one worker everything runs in this process. Workers start afresh (spawn), so `function`
    and the items must be importable and picklable. When this process stops, by ^C or by a signal
    that nothing can catch, they stop too, after the clean-up of what they were at.

    Raises:
        StatedError: a worker died, most often for want of memory.
    """
    bar = tqdm(total=len(items), desc=desc, unit=unit, disable=not progress)
    with bar:
        results = (map(function, items) if num_workers == 1
                   else _in_processes(function, items, min(num_workers, len(items) or 1)))
        for result in results:
            bar.update()
            yield result


def _in_processes(function: Callable[[Any], Any], items: Sequence[Any],
                  num_workers: int) -> Iterator[Any]:
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), _start_worker)
    done = 0
    try:
        with _environment_of_workers():
            futures = [pool.submit(_call, function, item) for item in items]
        for future in as_completed(futures):
            result = future.result()
            done += 1
            yield result
        pool.shutdown()
    except BrokenProcessPool as error:
        raise StatedError(
            f"a worker process died after {done} of {len(items)}, most often because the memory "
            f"was full. Run the same command with fewer --workers than {num_workers}: what is "
            f"done is kept.") from error
    finally:  # nothing is left to stop unless the loop ended early
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        pool.shutdown(cancel_futures=True)


@contextmanager
def _environment_of_workers() -> Iterator[None]:
    """Processes started meanwhile have one thread and leave ^C to this one from the beginning."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    in_main_thread = threading.current_thread() is threading.main_thread()
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, on_interrupt)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker() -> None:
    """What each worker does first: leave ^C to the parent, and end when the parent has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    """function(item); a SIGTERM meanwhile ends the process after the function's own clean-up."""
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        return function(item)
    except _StoppedError:
        os._exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(signum: int, frame: FrameType | None) -> None:
    raise _StoppedError
