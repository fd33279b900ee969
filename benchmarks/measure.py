"""Two sides timed in turns, and a function's peak memory in a process of its own."""

import ctypes
import gc
import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import torch


def paired(first: Callable[[], object], second: Callable[[], object], pairs: int = 5,
           warm_up: int = 1, device: str = "cpu") -> dict:
    """Times both sides in turns, so that what else the machine does falls on both.

    On the CPU they are processor seconds of all threads of this process, since a busy machine
    gives the two sides unequal shares; on a GPU they are seconds of the clock.

    Returns `ratio`, the median over pairs of first/second, the smallest and largest of them, and
    the median seconds of each side.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter

    def seconds(function: Callable[[], object]) -> float:
        start = clock()
        function()
        if device != "cpu":
            torch.cuda.synchronize()
        return clock() - start

    for _ in range(warm_up):
        first()
        second()
    if device != "cpu":
        torch.cuda.synchronize()
    times = []
    for index in range(pairs):  # who goes first alternates too
        if index % 2:
            b, a = seconds(second), seconds(first)
        else:
            a, b = seconds(first), seconds(second)
        times.append((a, b))
    return _compared(times)


def resident_mib(peak: bool = False) -> float:
    """Resident memory of this process now, or its highest since `forget_peak`, in MiB."""
    key = "VmHWM:" if peak else "VmRSS:"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise ValueError("/proc/self/status tells no memory: benchmarks of memory need Linux")


def forget_peak() -> None:
    """Sets the highest resident memory back to the present one; freed pages are returned first."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def _growth(build: Callable, arguments: tuple, threads: int, queue) -> None:
    torch.set_num_threads(threads)
    step = build(*arguments)
    forget_peak()
    start = resident_mib()
    for _ in range(2):  # the second step has the optimiser's state and the grown heap too
        result = step()
    queue.put((resident_mib(peak=True) - start, result))


def peak_growth_mib(build: Callable[..., Callable[[], object]], *arguments) -> float:
    """How far resident memory grows, in MiB, while the step that `build(*arguments)` gives runs.

    In a process of its own: what earlier work left behind does not count. `build` must be a
    function of a module, its arguments must pickle.
    """
    return in_own_process(build, *arguments)[0]


def in_own_process(build: Callable[..., Callable[[], object]], *arguments) -> tuple[float, object]:
    """The growth of `peak_growth_mib`, and what the step returned when it ran again."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_growth,
                              args=(build, arguments, torch.get_num_threads(), queue))
    process.start()
    while process.is_alive() and queue.empty():
        process.join(0.1)
    if queue.empty():
        process.join()
        raise RuntimeError(f"the process that measured {build.__name__} ended without a figure, "
                           f"exit code {process.exitcode}")
    result = queue.get()
    process.join()
    return result


def _serve(build: Callable, arguments: tuple, threads: int, pipe: Connection) -> None:
    torch.set_num_threads(threads)
    step = build(*arguments)
    forget_peak()
    start = resident_mib()
    while pipe.recv():
        before = time.process_time()
        step()
        pipe.send((time.process_time() - before, resident_mib(peak=True) - start))


def paired_processes(first: Callable[..., Callable[[], object]],
                     second: Callable[..., Callable[[], object]], arguments: tuple,
                     pairs: int) -> dict:
    """Times in turns the steps that two functions build, each in a process of its own.

    So neither has the other's settings of the memory, and each its peak. Both build first and run
    once without being counted; see `paired` for times and result, which here has `first_mib` and
    `second_mib` too, how far the processes' memory grows.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for build in (first, second):
        mine, theirs = context.Pipe()
        processes.append(context.Process(target=_serve, args=(
            build, arguments, torch.get_num_threads(), theirs), daemon=True))
        pipes.append(mine)
        processes[-1].start()
        theirs.close()  # so that a process that ends is noticed
    times, peaks = [], []
    for turn in range(pairs + 1):
        found = [None, None]
        for side in ((1, 0) if turn % 2 else (0, 1)):
            pipes[side].send(True)
            found[side] = pipes[side].recv()
        times.append([seconds for seconds, _ in found])
        peaks = [mib for _, mib in found]
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(False)
        process.join()
    return _compared(times[1:]) | {"first_mib": peaks[0], "second_mib": peaks[1]}


def _compared(times: Sequence[Sequence[float]]) -> dict:
    """What `paired` returns of the seconds of both sides."""
    ratios = sorted(a / b for a, b in times)
    return {"ratio": median(ratios), "smallest": ratios[0], "largest": ratios[-1],
            "first_s": median(a for a, _ in times), "second_s": median(b for _, b in times)}
