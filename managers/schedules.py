"""Learning rates as functions of the epoch: nothing to save but the epoch's number."""


def step_lr(epoch: int, base_lr: float, epochs: int) -> float:
    """Half the rate every epochs // 6 epochs (the DSD scripts' StepLR); `epoch` counts from 0."""
    return base_lr * 0.5 ** (epoch // max(epochs // 6, 1))


def constant_lr(_epoch: int, base_lr: float, _epochs: int) -> float:
    """The same rate throughout."""
    return base_lr


LR_SCHEDULES = {"step": step_lr, "constant": constant_lr}
