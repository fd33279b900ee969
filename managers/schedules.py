"""Rates, weights and temperatures as functions of the epoch or step: no state to save."""

import math


def step_lr(epoch: int, base_lr: float, epochs: int) -> float:
    """Half the rate every epochs // 6 epochs (the DSD scripts' StepLR); `epoch` counts from 0."""
    return base_lr * 0.5 ** (epoch // max(epochs // 6, 1))


def constant_lr(_epoch: int, base_lr: float, _epochs: int) -> float:
    """The same rate throughout."""
    return base_lr


def poly_lr(epoch: int, base_lr: float, epochs: int) -> float:
    """base_lr * (1 - epoch / epochs)^0.9 (nnU-Net; DoDNet); `epoch` counts from 0."""
    return base_lr * (1 - epoch / epochs) ** 0.9


LR_SCHEDULES = {"step": step_lr, "constant": constant_lr, "poly": poly_lr}


def cosine(step: int, base: float, final: float, total_steps: int, warmup_steps: int = 0,
           start: float = 0.0) -> float:
    """Linear warm-up from `start` to `base`, then half a cosine from `base` towards `final`.

    The last step of the warm-up and the first of the cosine both give `base`; a warm-up of a
    single step gives `start`. `final` is the value that step `total_steps` would have (DINO,
    ICCV 2021), and may be above `base`, as for a teacher's momentum.

    Differs from the authors' code: a warm-up longer than the run is cut off; theirs fails.

    Args:
        step: optimiser steps done so far, from 0 to total_steps - 1.
        base: value at the peak.
        final: value approached at the end.
        total_steps: of the whole run.
        warmup_steps: first steps, which rise.
        start: value of step 0 where there is a warm-up.
    """
    assert 0 <= step < total_steps, f"step {step} of {total_steps}"
    if step < warmup_steps:
        return _between(start, base, step, warmup_steps)
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return final + 0.5 * (base - final) * (1 + math.cos(math.pi * progress))


def teacher_temperature(epoch: int, start: float = 0.04, final: float = 0.07,
                        warmup_epochs: int = 20) -> float:
    """Linear from `start` in epoch 0 to `final` in epoch `warmup_epochs` - 1; `final` from there.

    Low temperatures make sharp targets, which at first prevent collapse (DINO, ICCV 2021).
    """
    if epoch >= warmup_epochs:
        return final
    return _between(start, final, epoch, warmup_epochs)


def _between(start: float, stop: float, index: int, num: int) -> float:
    """Entry `index` of `num` evenly spaced values, `stop` included; a single one is `start`."""
    return start + (stop - start) * (index / max(num - 1, 1))
