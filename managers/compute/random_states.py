"""Every random generator that a training may draw from, as plain values for a checkpoint."""

import random
from typing import Any

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """States of torch, its GPUs, Python and NumPy: tensors and plain values, to be saved.

    The GPUs' are by device index. Only the GPUs that this process has used: to ask another one
    would take memory of it.
    """
    name, keys, *rest = np.random.get_state()
    return {"rng_state": torch.get_rng_state(),
            "cuda_rng_states": {index: torch.cuda.get_rng_state(index) for index in used_gpus()},
            "python_rng_state": random.getstate(),
            "numpy_rng_state": (name, keys.tolist(), *rest)}


def used_gpus() -> list[int]:
    """The current GPU's index, where torch has begun to use it."""
    if not torch.cuda.is_initialized():
        return []
    return [torch.cuda.current_device()]


def restore_random_states(saved: dict[str, Any]) -> None:
    """Go on where `random_states` was, as far as `saved` has it: older checkpoints have less.

    A GPU takes the state of its index. Where there is none of it but one of a single GPU, as in
    a run that goes on with --device cuda:1, it takes that.
    """
    if "rng_state" in saved:
        torch.set_rng_state(saved["rng_state"])
        _restore_gpus(saved["cuda_rng_states"])
    if "python_rng_state" in saved:
        random.setstate(saved["python_rng_state"])
        name, keys, *rest = saved["numpy_rng_state"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))


def _restore_gpus(states: dict[int, torch.Tensor] | list[torch.Tensor]) -> None:
    """Older checkpoints have a list of all GPUs' states."""
    if isinstance(states, list):
        states = dict(enumerate(states))
    only = next(iter(states.values())) if len(states) == 1 else None
    for index in used_gpus():
        state = states.get(index, only)
        if state is not None:
            torch.cuda.set_rng_state(state, index)
