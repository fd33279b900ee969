"""One step of DeSD pre-training: this project's against a plain one, part by part.

OMP_NUM_THREADS=1 python benchmarks/desd_step.py
python benchmarks/desd_step.py --device cuda:0 --batch 32

The arms build on each other: `plain` is a step as the authors' code takes it (teacher under
autograd, the last layers' normalised weights built, a log-softmax for each head and pair of views,
the teacher's mean tensor by tensor, the loss asked for in every step); `no_grad` runs the teacher
without autograd; `foreach` takes its mean in one call; `ours` has the heads and the loss of the
project too, and asks for nothing. They share one student, teacher and optimiser and take turns, a
step each, so that what else the machine does falls on all of them; a ratio is that of neighbouring
steps. Memory is measured in a process for each arm.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch.nn.functional import log_softmax

# Run as a file, Python puts benchmarks/ on the path, not the root that the packages live in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from losses import DeSDLoss  # noqa: E402 - needs the line above
from managers.desd.momentum_teacher import pair_by_name, update  # noqa: E402
from managers.desd.optimizers import build_optimizer, parameter_groups  # noqa: E402
from networks import ProjectionHead, build_desd  # noqa: E402
from networks.resnet.desd import crop_features  # noqa: E402
from system.command_line import CommandLine  # noqa: E402

ARMS = ("plain", "no_grad", "foreach", "ours")
PARTS = ("teacher", "student", "loss and backward", "optimiser", "mean")
STUDENT_TEMP, TEACHER_TEMP, CENTER_MOMENTUM, MOMENTUM = 0.1, 0.04, 0.9, 0.996


class Clock:
    """Seconds between marks; on a GPU by events, so that no mark waits for it."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"
        self.marks: list = []

    def mark(self) -> None:
        """The end of a part, and the beginning of the next."""
        if self.cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def parts(self) -> list[float]:
        """Seconds between neighbouring marks; waits for the GPU."""
        if not self.cuda:
            return [end - start for start, end in pairwise(self.marks)]
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1000 for start, end in pairwise(self.marks)]


class Setting:
    """What all arms share: networks, optimiser, centre and a batch of two views."""

    def __init__(self, args: argparse.Namespace):
        torch.manual_seed(0)
        self.device = torch.device(args.device)
        student, teacher = build_desd(args.arch, args.out_dim, use_bn_in_head=True)
        self.student, self.teacher = student.to(self.device), teacher.to(self.device)
        self.optimizer = build_optimizer("sgd", parameter_groups(student, 1e-6), lr=1e-3)
        self.pairs = pair_by_name(teacher, student)
        self.loss = DeSDLoss(args.out_dim, STUDENT_TEMP, CENTER_MOMENTUM).to(self.device)
        self.views = [torch.randn(args.batch, 1, *args.crop, device=self.device)
                      for _ in range(2)]

    def step(self, arm: str) -> list[float]:
        """One step of an arm; seconds of its PARTS."""
        clock, project = Clock(self.device), arm == "ours"
        with heads_as(self.student, self.teacher, project):
            clock.mark()
            with torch.set_grad_enabled(arm == "plain"):
                features = crop_features(self.teacher.backbone, self.views)[-1]
                teacher_logits = self.teacher.head(features)
            clock.mark()
            student_logits = self.student(self.views)
            clock.mark()
            loss = (self.loss if project else self.plain_loss)(student_logits, teacher_logits)
            if not project:
                assert torch.isfinite(loss).item()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clock.mark()
            self.optimizer.step()
            clock.mark()
            if arm in ("foreach", "ours"):
                update(*self.pairs, MOMENTUM)
            else:
                with torch.no_grad():
                    for mean, value in zip(*self.pairs, strict=True):
                        mean.mul_(MOMENTUM).add_((1 - MOMENTUM) * value)
            clock.mark()
        return clock.parts()

    def plain_loss(self, student_logits: list[torch.Tensor],
                   teacher_logits: torch.Tensor) -> torch.Tensor:
        """The loss as its definition reads, and the centre's step."""
        center = self.loss.center
        targets = ((teacher_logits - center) / TEACHER_TEMP).softmax(dim=-1).detach().chunk(2)
        total = 0
        for logits in student_logits:
            crops = (logits / STUDENT_TEMP).chunk(len(self.views))
            pairs = [(-target * log_softmax(crop, dim=-1)).sum(dim=-1).mean()
                     for i, target in enumerate(targets) for v, crop in enumerate(crops) if v != i]
            total = total + 0.25 * sum(pairs) / len(pairs)
        with torch.no_grad():
            mean = teacher_logits.sum(dim=0, keepdim=True) / len(teacher_logits)
            center.copy_(CENTER_MOMENTUM * center + (1 - CENTER_MOMENTUM) * mean)
        return total


@contextmanager
def heads_as(student: torch.nn.Module, teacher: torch.nn.Module, project: bool) -> Iterator[None]:
    """Have the heads' last layers as the project's, or with their normalised weight built."""
    layers = [head.last_layer for module in (student, teacher) for head in module.modules()
              if isinstance(head, ProjectionHead)]
    if not project:
        for layer in layers:
            layer.forward = _plain_product(layer)
    try:
        yield
    finally:
        if not project:
            for layer in layers:
                del layer.forward


def _plain_product(layer: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(vectors: torch.Tensor) -> torch.Tensor:
        weight = layer.weight_g * layer.weight_v / layer.weight_v.norm(dim=1, keepdim=True)
        return vectors @ weight.T

    return forward


def check_alike(setting: Setting) -> float:
    """Norm of the difference between the gradients of `plain` and `ours`, over that of `ours`."""
    center, found = setting.loss.center.clone(), []
    for project in (False, True):
        setting.loss.center.copy_(center)
        with heads_as(setting.student, setting.teacher, project):
            logits, _ = setting.teacher(setting.views)
            loss = (setting.loss if project else setting.plain_loss)(
                setting.student(setting.views), logits)
            setting.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in
                                setting.student.parameters() if parameter.grad is not None]))
    setting.optimizer.zero_grad(set_to_none=True)
    plain, ours = found
    return ((plain - ours).norm() / ours.norm()).item()


def measure_times(args: argparse.Namespace) -> None:
    """Print the arms' seconds by part, and how often the plain step's total fits into theirs."""
    setting = Setting(args)
    print(f"out_dim {args.out_dim}: the gradients of plain and ours differ by "
          f"{check_alike(setting):.1e} of their norm", flush=True)
    times: dict[str, list[list[float]]] = {arm: [] for arm in ARMS}
    for number in range(args.rounds + 1):
        for arm in (*ARMS[number % len(ARMS):], *ARMS[:number % len(ARMS)]):
            parts = setting.step(arm)
            if number > 0:  # the first round warms up
                times[arm].append(parts)
    print(f"{'seconds':10}" + "".join(f"{part:>20}" for part in (*PARTS, "step", "plain / arm")))
    totals = {arm: [sum(parts) for parts in steps] for arm, steps in times.items()}
    for arm, steps in times.items():
        ratios = sorted(a / b for a, b in zip(totals["plain"], totals[arm], strict=True))
        cells = [f"{median(part):.4f}" for part in zip(*steps, strict=True)]
        cells += [f"{median(totals[arm]):.4f}",
                  f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"]
        print(f"{arm:10}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def measure_memory(args: argparse.Namespace) -> None:
    """Print how far two steps of one arm raise the peak of this process's memory."""
    setting = Setting(args)
    cuda = setting.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else _status_bytes("VmRSS")
    for _ in range(2):
        setting.step(args.memory)
    peak = torch.cuda.max_memory_allocated() if cuda else _status_bytes("VmHWM")
    print(f"{args.memory:10}{(peak - before) / 2**20:10.0f} MiB over {before / 2**20:.0f} MiB")


def _status_bytes(name: str) -> int:
    """A value of /proc/self/status (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024


def parse() -> argparse.Namespace:
    parser = CommandLine(description="One step of DeSD pre-training, part by part.")
    parser.add_argument("--arch", default="res3d50")
    parser.add_argument("--out_dim", type=int, nargs="+", default=[4096, 60000])
    parser.add_argument("--batch", type=int, default=2, help="tiles a step (default 2)")
    parser.add_argument("--crop", type=int, nargs=3, default=[16, 96, 96], metavar=("D", "H", "W"))
    parser.add_argument("--rounds", type=int, default=12, help="steps of each arm (default 12)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", choices=ARMS, help="only the memory of this arm, at out_dim's "
                                                       "first value")
    return parser.parse_args()


def main() -> None:
    args, out_dims = parse(), []
    args.out_dim, out_dims = args.out_dim[0], args.out_dim
    if args.memory:
        measure_memory(args)
        return
    print(f"{args.arch}, batch {args.batch}, crops {args.crop}, {args.device}; Python "
          f"{platform.python_version()}, torch {torch.__version__}, "
          f"{torch.get_num_threads()} thread(s) of {os.cpu_count()} cores, {platform.machine()}")
    for args.out_dim in out_dims:
        measure_times(args)
        print(f"memory of two steps above networks and optimiser, out_dim {args.out_dim}:")
        for arm in ARMS:
            command = [sys.executable, __file__, "--memory", arm, "--arch", args.arch, "--out_dim",
                       args.out_dim, "--batch", args.batch, "--crop", *args.crop, "--device",
                       args.device]
            subprocess.run(list(map(str, command)), check=True)


if __name__ == "__main__":
    main()
