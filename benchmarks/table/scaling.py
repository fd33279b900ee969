"""How step time and memory grow with the crop, the classes and the number of cases, as a figure.

Three arms: the basic network, DSD as it is trained, and DSD by the plain functions on whole side
logits. Each point is a process of its own: two steps, of which the second is timed.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.measure import in_own_process
from benchmarks.table.dsd_step import CLASSES, step
from benchmarks.table.rows import Row
from losses import DSDLoss, dsd_loss
from reports.canvas import PALETTE, new_figure, save_png

SIZES, SIZE = (32, 48, 64), 48
COUNTS = (2, CLASSES, 20)
ARMS = {"basic": "basic", "DSD": "dsd", "DSD, plain functions": "plain"}


class PlainDSDLoss(DSDLoss):
    """The loss by the plain functions, from side logits at full size."""

    def terms(self, outputs, target):
        """As DSDLoss."""
        return dsd_loss(outputs, target, self.alpha, self.temperature)


def timed_step(arm: str, size: int, classes: int, device: str) -> Callable[[], float]:
    """A step that tells its seconds, on the CPU those of all threads' processors."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    run = (step("nnunet", arm, size, device, classes=classes) if arm != "plain"
           else step("nnunet", "dsd", size, device, classes=classes, loss=PlainDSDLoss()))

    def timed() -> float:
        start = clock()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        return clock() - start
    return timed


def rows(device: str, quick: bool) -> list[Row]:
    """One row: DSD over basic in memory at the most classes; every point is in its details."""
    sizes = SIZES[:2] if quick else SIZES
    counts = COUNTS[:2] if quick else COUNTS
    points: dict[str, dict] = {}
    for size, classes in dict.fromkeys([*((size, CLASSES) for size in sizes),
                                        *((SIZE, count) for count in counts)]):
        for name, arm in ARMS.items():  # neighbours in time, so that all meet the same machine
            growth, seconds = in_own_process(timed_step, arm, size, classes, device)
            points.setdefault(name, {})[f"{size}^3, {classes} classes"] = {
                "size": size, "classes": classes, "seconds": seconds, "mib": growth}
    most = f"{SIZE}^3, {counts[-1]} classes"
    dsd, basic = (points[name][most]["mib"] for name in ("DSD", "basic"))
    plain = points["DSD, plain functions"][most]["mib"]
    return [Row(f"growth of memory with {counts[-1]} classes, DSD / basic step, nnunet, {SIZE}^3",
                dsd / basic, 1.2, note=f"{dsd:.0f} / {basic:.0f} MiB; plain functions {plain:.0f}",
                details={"points": points})]


def draw(found: dict[str, list[dict]], folder: Path, name: str) -> Path:
    """The figure of all points, of this benchmark and, where it has run, of crop_loading."""
    points = found["scaling"][0]["details"]["points"]
    unit_of_time = "s a step" if name.endswith("cuda") else "processor s a step"
    figure = new_figure(1200, 620, "white")
    axes = figure.subplots(2, 3)
    for column, (axis, keep, label) in enumerate((
            ("size", lambda p: p["classes"] == CLASSES, f"crop, voxels a side ({CLASSES} classes)"),
            ("classes", lambda p: p["size"] == SIZE, f"classes (crop {SIZE}^3)"))):
        for row, (value, unit) in enumerate((("seconds", unit_of_time), ("mib", "MiB a step"))):
            for color, (label_of_arm, arm) in zip(PALETTE, points.items(), strict=False):
                line = sorted((p[axis], p[value]) for p in arm.values() if keep(p))
                axes[row, column].plot(*zip(*line, strict=True), marker="o", color=color,
                                       label=label_of_arm)
            axes[row, column].set(xlabel=label, ylabel=unit, ylim=(0, None))
    axes[0, 0].legend(frameon=False)
    _draw_cases(axes[:, 2], found.get("crop_loading", []))
    figure.tight_layout()
    path = folder / f"{name}_scaling.png"
    save_png(path, figure)
    return path


def _draw_cases(axes, rows: list[dict]) -> None:
    """Memory of the training process by the number of cases: cached on disk, and kept in it."""
    axes[1].axis("off")
    peaks = next((row["details"] for row in rows if "peak_mib_of_cases" in row["details"]), None)
    if peaks is None:
        axes[0].axis("off")
        return
    cases = [int(count) for count in peaks["peak_mib_of_cases"]]
    on_disk = list(peaks["peak_mib_of_cases"].values())
    axes[0].plot(cases, on_disk, marker="o", color=PALETTE[1], label="--cache disk")
    kept = [on_disk[0] + peaks["mib_of_a_case"] * count for count in cases]
    axes[0].plot(cases, kept, linestyle=":", color=PALETTE[0],
                 label="--cache memory (computed)")
    axes[0].set(xlabel="cases", ylabel="MiB of the process", yscale="log")
    axes[0].legend(frameon=False)
