"""--estimate: what a training step would take of a GPU, told without one and before a run."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from configs import TrainingConfig
from configs.training.gpus import GPUS, Gpu
from data import dataset_of
from losses import RunningLoss

from ..compute.distributed import Processes
from ..compute.fake_gpu.counting import Count, Kernel
from ..compute.fake_gpu.device import GPU, fake_gpu, place
from ..compute.fake_gpu.roofline import roofline
from ..runs.resume import network_of
from .segmentation_manager import SegmentationManager
from .speed_options import settled
from .training_recipe import manager_of, optimizer_of

BESIDES = 1.0  # GiB: CUDA's context, cuDNN's workspaces, what the allocator rounds up


class StepCost(NamedTuple):
    """One training step of a run under way, whose optimiser has its state.

    Attributes:
        kernels: in their order.
        peak: bytes of the tensors that are alive together, in the first two steps.
        config: the settings that were used.
    """

    kernels: list[Kernel]
    peak: int
    config: TrainingConfig


class FakeRun(NamedTuple):
    """A run on a GPU that is not there.

    Attributes:
        manager: in training mode.
        count: of what it does from now on.
        config: the settings as they are used there, without --compile.
    """

    manager: SegmentationManager
    count: Count
    config: TrainingConfig


@contextmanager
def on_fake_gpu(config: TrainingConfig, loss: RunningLoss,
                processes: Processes | None = None) -> Iterator[FakeRun]:
    """A run that can begin to train.

    Args:
        processes: this one among those that train together; None: alone.

    Raises:
        ValueError: settings that cannot be used, or no C++ compiler.
    """
    network, class_names = network_of(config), dataset_of(config).class_names
    with fake_gpu() as count:
        config = settled(dataclasses.replace(config, compile=False), GPU)
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(config.deterministic)
        optimizer = optimizer_of(place(network), config)
        manager = manager_of(config, network, optimizer, place(loss), class_names, processes)
        manager.to(GPU)
        try:
            with manager:
                yield FakeRun(manager, count, config)
        finally:
            torch.use_deterministic_algorithms(before)


def fake_batch(config: TrainingConfig) -> dict[str, torch.Tensor]:
    """A batch as the loader gives it, within `on_fake_gpu`."""
    dataset = dataset_of(config)
    crops = config.batch_size * dataset.augmentation.num_crops
    batch = {"image": torch.empty(crops, len(dataset.channels), *config.img_size),
             "label": torch.empty(crops, 1, *config.img_size, dtype=torch.uint8)}
    if config.shape_priors:
        batch["dist_map"] = torch.empty(crops, dataset.num_classes, *config.img_size)
    return batch


def step_cost(config: TrainingConfig, loss: RunningLoss) -> StepCost:
    """The cost of a step, the second of a run; its errors are those of `on_fake_gpu`."""
    with on_fake_gpu(config, loss) as (manager, count, used):
        batch = fake_batch(config)
        peaks = []
        for _ in range(2):
            count.start()
            manager.train_step(*manager.unpack_data(batch))
            peaks.append(count.peak)
    return StepCost(count.kernels, max(peaks), used)


def print_estimate(config: TrainingConfig, loss: RunningLoss, gpu_name: str) -> None:
    """Print what a step would take on a GPU of configs.training.gpus; no data are read.

    Raises:
        ValueError: see `on_fake_gpu`.
    """
    gpu = GPUS[gpu_name]
    compiles = config.compile or config.compile is None
    if config.amp is None and not gpu.has_bf16:
        config = dataclasses.replace(config, amp="fp16")  # as --fast chooses there
    cost = step_cost(config, loss)
    size = " x ".join(map(str, config.img_size))
    crops = config.batch_size * dataset_of(config).augmentation.num_crops
    print(f"ESTIMATED, not measured: a training step of {config.network} ({config.method}) with "
          f"{crops} crops of {size}, {_speed(cost.config)}, on one {gpu.name}")
    for name, text in _rows(cost, gpu).items():
        print(f"  {name:<16}  {text}")
    if compiles:
        print("  Without --compile, which has fewer launches and moves fewer bytes.")


def _speed(config: TrainingConfig) -> str:
    """The precision, and what else of the group "speed" is on."""
    used = ["float32" if config.amp == "off" else config.amp]
    used += [name for name in ("channels_last", "fused", "tf32") if getattr(config, name)]
    return ", ".join(used)


def _rows(cost: StepCost, gpu: Gpu) -> dict[str, str]:
    """What is printed, by name."""
    kernels = cost.kernels
    time = roofline(kernels, gpu, bool(cost.config.tf32))
    peak, there = cost.peak / 2**30, gpu.memory_gb * 1e9 / 2**30
    memory = f"{peak:.2f} GiB, and about {BESIDES:.0f} GiB for CUDA and cuDNN, of {there:.1f} GiB"
    if peak + BESIDES > there:
        memory += (": IT WILL NOT FIT; --amp bf16, a smaller --img_size, --num_crops or "
                   "--batch_size need less")
    return {
        "kernel launches": str(len(kernels)),
        "bytes moved": f"{sum(kernel.bytes for kernel in kernels) / 1e9:.1f} GB",
        "arithmetic": f"{sum(kernel.flops for kernel in kernels) / 1e12:.2f} TFLOP",
        "peak memory": memory,
        "time of the GPU": f"at least {1e3 * time.gpu:.1f} ms (roofline; memory "
                           f"{1e3 * time.memory:.1f}, arithmetic {1e3 * time.arithmetic:.1f})",
        "time of the host": f"about {1e3 * time.host:.1f} ms for the launches, beside that of the "
                            f"GPU",
    }
