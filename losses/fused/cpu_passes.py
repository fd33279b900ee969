"""The two passes of losses.fused.loss by cpu_passes.c, which this machine's C compiler builds.

It is built on first use, in a second, in a folder that only this process knows and that is gone
once it is loaded: no built file is ever kept or trusted.
"""

import ctypes
import functools
import os
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_float, c_int64, c_void_p
from math import ceil, lcm, prod
from pathlib import Path

import torch

from ..heads import Head, num_classes_of, stride_of, tensors_of
from .plan import Plan, Slopes, Sums

SOURCE = Path(__file__).with_name("cpu_passes.c")  # with cpu_boxes.h and cpu_lanes.h
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math",
         "-fPIC", "-shared")
WORTH_BUILDING = 1 << 15  # voxels of a batch
BOX = 3 << 9              # voxels that a box may have: longer loops, within the cache
ARRAYS = 10               # of a worker's scratch, NUM_ARRAYS in the source
LANES = 16                # the most that the source has
NO_KL, STUDENT, TEACHER, TAUGHT = range(4)


class _Head(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("weight", c_void_p), ("bias", c_void_p),
                ("by_data", c_void_p), ("channels", c_int64), ("stride", c_int64 * 3),
                ("supervised", c_int64), ("branch", c_int64), ("role", c_int64),
                ("gathered_at", c_int64)]


class _Job(ctypes.Structure):
    _fields_ = [("num_heads", c_int64), ("classes", c_int64), ("first_class", c_int64),
                ("batch", c_int64), ("size", c_int64 * 3), ("step", c_int64 * 2),
                ("num_supervised", c_int64), ("power", c_int64),
                ("inverse_temperature", c_float), ("label", c_void_p), ("heads", c_void_p),
                ("by_overlap", c_void_p), ("by_size", c_void_p), ("by_entropy", c_void_p),
                ("by_kl", c_void_p)]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The built passes; None where there is no C compiler (or $CC) that can build them."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0]) is None:
        return None
    with tempfile.TemporaryDirectory(prefix="dsd_loss_") as folder:
        built = Path(folder) / "cpu_passes.so"
        run = subprocess.run([*compiler, *FLAGS, "-o", str(built), str(SOURCE)],
                             capture_output=True)
        try:
            loaded = ctypes.CDLL(str(built)) if run.returncode == 0 else None
        except OSError:
            return None
    for name in ("dsd_sums", "dsd_gradients") if loaded else ():
        function = getattr(loaded, name)
        function.restype = None
        function.argtypes = [c_void_p, c_int64, c_int64, c_int64, c_void_p, c_void_p]
    return loaded


def can_take(heads: list[Head], label: torch.Tensor) -> bool:
    """Whether these heads are for this way: on the CPU, not float64, strides of 1 and 2."""
    tensors = [tensor for head in heads for tensor in tensors_of(head)]
    return (label.device.type == "cpu" and label.numel() >= WORTH_BUILDING
            and all(tensor.dtype != torch.float64 for tensor in tensors)
            and all(step in (1, 2) for head in heads for step in stride_of(head))
            and num_classes_of(heads[0]) <= 256 and library() is not None)


def sums(heads: list[Head], label: torch.Tensor, plan: Plan) -> Sums:
    """First pass; see torch_passes.sums."""
    task = _Task(heads, label, plan)
    result = Sums.zeros(plan, len(label), task.job.classes, label.device)
    parts = [result.overlap, result.size, result.count, result.cross_entropy, result.kl]
    found = task.run("dsd_sums", sum(part.numel() for part in parts)).split(
        [part.numel() for part in parts])
    for part, values in zip(parts, found, strict=True):
        part.copy_(values.view(part.shape))
    return result


def gradients(heads: list[Head], label: torch.Tensor, plan: Plan, slopes: Slopes,
              needed: list[bool]) -> list[tuple[torch.Tensor, ...] | None]:
    """Second pass; see torch_passes.gradients."""
    task = _Task(heads, label, plan, slopes.to(torch.float32), needed)
    gathered = task.run("dsd_gradients", task.num_gathered).float()
    result = []
    for head, by_data, start in zip(heads, task.by_data, task.gathered_at, strict=True):
        if by_data is None or isinstance(head, torch.Tensor):
            result.append(None if by_data is None else (by_data,))
            continue
        weight, bias = head[1:]
        middle = start + weight.numel()
        result.append((by_data, gathered[start:middle].view(weight.shape),
                       gathered[middle:middle + bias.numel()]))
    return result


class _Task:
    """One pass over heads that stay alive as long as it does."""

    def __init__(self, heads: list[Head], label: torch.Tensor, plan: Plan,
                 slopes: Slopes | None = None, needed: list[bool] | None = None):
        classes, self.size = num_classes_of(heads[0]), tuple(label.shape[2:])
        step = [lcm(*(stride_of(head)[axis] for head in heads)) for axis in (0, 1)]
        step[1] *= _repeats(self.size[1] // step[1], BOX // (step[0] * step[1] * self.size[2]))
        data = [[tensor.detach().float().contiguous() for tensor in tensors_of(head)]
                for head in heads]
        self.by_data = [torch.empty_like(tensors[0]) if slopes and needed[index] else None
                        for index, tensors in enumerate(data)]
        self.num_gathered, self.gathered_at = 0, []
        for tensors in data:
            self.gathered_at.append(self.num_gathered)
            self.num_gathered += sum(tensor.numel() for tensor in tensors[1:])
        rows = []
        for index, role, branch in _visits(len(heads), plan):
            supervised = index if index < plan.num_supervised and role != TEACHER else -1
            pointers = [tensor.data_ptr() for tensor in data[index]]
            by_data = self.by_data[index]
            rows.append(_Head(*(pointers + [None, None])[:3],
                              None if by_data is None else by_data.data_ptr(),
                              data[index][0].shape[1], (c_int64 * 3)(*stride_of(heads[index])),
                              supervised, branch, role, self.gathered_at[index]))
        rows = (_Head * len(rows))(*rows)
        by = ([slopes.overlap.contiguous(), slopes.size.contiguous(),
               slopes.cross_entropy.contiguous(), slopes.kl.contiguous()] if slopes else [])
        label = label.to(torch.uint8).contiguous()
        power = int(plan.temperature) if plan.temperature in (2, 3) and not plan.first_class else 0
        self.job = _Job(len(rows), classes, plan.first_class, len(label),
                        (c_int64 * 3)(*self.size), (c_int64 * 2)(*step), plan.num_supervised,
                        power, 1 / plan.temperature, label.data_ptr(), ctypes.addressof(rows),
                        *(tensor.data_ptr() for tensor in by))
        self.channels = max(classes, *(tensors[0].shape[1] for tensors in data))
        self.keep = data, rows, by, label

    def run(self, name: str, num_results: int) -> torch.Tensor:
        """The pass in as many threads as torch uses; what they gathered, added in their order."""
        step, size = self.job.step, self.size
        boxes = self.job.batch * (size[0] // step[0]) * (size[1] // step[1])
        workers = min(torch.get_num_threads(), boxes)
        bounds = [boxes * worker // workers for worker in range(workers + 1)]
        results = torch.zeros(workers, num_results, dtype=torch.float64)
        pitch = ceil(prod(step) * size[2] / LANES) * LANES
        scratch = torch.zeros(workers, ARRAYS * (self.channels * pitch + LANES))

        def work(worker: int) -> None:
            getattr(library(), name)(ctypes.addressof(self.job), bounds[worker], bounds[worker + 1],
                                     self.channels, scratch[worker].data_ptr(),
                                     results[worker].data_ptr())

        if workers == 1:
            work(0)
        else:
            with ThreadPoolExecutor(workers) as pool:  # the call lets go of the interpreter
                list(pool.map(work, range(workers)))
        return results.sum(0)


def _visits(num_heads: int, plan: Plan) -> list[tuple[int, int, int]]:
    """(head, role, branch) in the order of work: a teacher before its students, and after."""
    visits, seen = [], set()
    for number, branch in enumerate(plan.branches):
        *students, teacher = range(branch.start, branch.stop)
        taught = NO_KL if plan.detach_teacher or not students else TAUGHT
        visits += [(teacher, TEACHER, number), *((index, STUDENT, number) for index in students),
                   (teacher, taught, number)]
        seen.update(range(branch.start, branch.stop))
    return visits + [(index, NO_KL, -1) for index in range(num_heads) if index not in seen]


def _repeats(number: int, most: int) -> int:
    """The largest divisor of a number that is at most `most`, at least 1."""
    return max(n for n in range(1, number + 1) if number % n == 0 and n <= max(most, 1))
