"""What a basic and a DSD step take of a GPU, counted on a fake one: benchmarks/results/fake_gpu.md.

    python -m benchmarks.fake_gpu [--networks NAME ...] [--sizes N ...]

Needs neither a GPU nor data, only a C++ compiler; ESTIMATED, not measured. Without options it takes
some three minutes and writes the file; with some it prints their rows alone.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.machine import header, machine
from configs import training_config
from configs.training.gpus import GPUS
from losses import DiceCELoss
from managers.compute.fake_gpu.roofline import roofline
from managers.segmentation.estimate import step_cost
from system.command_line import CommandLine
from system.exit import exit_with
from system.files import write_text
from train_SelfDistil_Original import loss_of

NETWORKS = ("unetr", "swinunetr", "nnunet", "vnet")
SIZES = (96, 128)
RESULT = Path(__file__).parent / "results" / "fake_gpu.md"
GPU = GPUS["h100"]


class Cost(NamedTuple):
    """Of one step: kernel launches, GB read and written, GiB at most, ms of the GPU at least."""

    launches: int
    moved_gb: float
    peak_gib: float
    least_ms: float | None = None


# First version of the project: every operation torch's, each head at full size. Basic and DSD.
BEFORE = {
    ("nnunet", 96): (Cost(436, 22.9, 2.07), Cost(2397, 56.7, 2.46)),
    ("nnunet", 128): (Cost(436, 53.0, 4.78), Cost(4133, 133.2, 5.20)),
    ("unetr", 96): (Cost(1882, 33.3, 2.91), Cost(3884, 66.5, 3.29)),
}


def cost_of(method: str, network: str, size: int) -> Cost:
    """The second step of a run with --fast, 2 crops of size^3 and 8 classes."""
    config = training_config(method, ["DATA", "_", "--dataset", "mmwhs-ct", "--fold", "1", "--fast",
                                      "--network", network, "--img_size", *[str(size)] * 3])
    loss = loss_of(config) if method == "dsd" else DiceCELoss()
    kernels, peak, used = step_cost(config, loss)
    moved = sum(kernel.bytes for kernel in kernels)
    least_s = roofline(kernels, GPU, bool(used.tf32)).gpu
    return Cost(len(kernels), moved / 1e9, peak / 2**30, 1e3 * least_s)


def row(network: str, size: int, basic: Cost, dsd: Cost) -> str:
    """A row of the table, with what stood there before if it is known."""
    before = ["", "", ""]
    if (network, size) in BEFORE:
        before = columns(*BEFORE[network, size])
    cells = [f"{network} {size}^3"]
    for earlier, now in zip(before, columns(basic, dsd), strict=True):
        cells += [earlier, now]
    ratio = dsd.least_ms / basic.least_ms
    cells.append(f"{basic.least_ms:.1f} -> {dsd.least_ms:.1f} ({ratio:.2f})")
    return f"| {' | '.join(cells)} |"


def columns(basic: Cost, dsd: Cost) -> list[str]:
    """Launches, GB and peak of both with their ratio."""
    return [f"{basic.launches} -> {dsd.launches} ({dsd.launches / basic.launches:.2f})",
            f"{basic.moved_gb:.1f} -> {dsd.moved_gb:.1f} ({dsd.moved_gb / basic.moved_gb:.2f})",
            f"{basic.peak_gib:.2f} -> {dsd.peak_gib:.2f} ({dsd.peak_gib / basic.peak_gib:.2f})"]


HEAD = (f"| basic -> DSD | launches, before | now | GB moved, before | now | peak GiB, before "
        f"| now | ms on an {GPU.name} at least |\n|{'---|' * 8}")


def main() -> None:
    """Count all rows, print them and write the file."""
    parser = CommandLine(prog="python -m benchmarks.fake_gpu", description=__doc__,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [HEAD]
    print(HEAD, flush=True)
    for network in args.networks:
        for size in args.sizes:
            found = [cost_of(method, network, size) for method in ("basic", "dsd")]
            rows.append(row(network, size, *found))
            print(rows[-1], flush=True)
    if tuple(args.networks) == NETWORKS and tuple(args.sizes) == SIZES:
        write_text(RESULT, report("\n".join(rows)))


def report(table: str) -> str:
    """The file."""
    return f"""# A training step on a GPU that is not there

**Estimated, not measured**: no GPU was at hand. `python -m benchmarks.fake_gpu` makes this file.

{table}

The second step of a run, 2 crops, 8 classes, `--fast` (bf16, fused AdamW) without `--compile`. A
launch is an operation that writes, the bytes are those of each tensor that it reads and writes,
and the peak is of tensors alive together, in the first two steps. What cuDNN takes for itself and
what the allocator rounds up are not counted (see docs/speed.md). "Before" is the first version of
the project, whose DSD loss was made of torch operations, counted by another tool and in the first
step: the optimiser has no state yet there, which makes those peaks smaller.

{header(machine())}.
"""


if __name__ == "__main__":
    exit_with(main)
