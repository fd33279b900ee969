"""The states of all random generators that training may draw from, as values for a checkpoint."""

import random
from typing import Any

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """States of torch, its GPUs, Python and NumPy: tensors and plain values, to be saved.

    The GPUs' are by device index, for GPUs that this process uses: asking another one would
    allocate memory on it.
    """
    name, keys, *rest = np.random.get_state()
    return {"rng_state": torch.get_rng_state(),
            "cuda_rng_states": {index: torch.cuda.get_rng_state(index) for index in used_gpus()},
            "python_rng_state": random.getstate(),
            "numpy_rng_state": (name, keys.tolist(), *rest)}


def used_gpus() -> list[int]:
    """The current GPU's index, if torch has begun to use it."""
    if not torch.cuda.is_initialized():
        return []
    return [torch.cuda.current_device()]


def restore_random_states(saved: dict[str, Any]) -> None:
    """Restore what `random_states` gave, as far as `saved` has it: older checkpoints have less.

    A GPU takes the state saved for its index. If there is none, but that of one other GPU, as in a
    run that is resumed with --device cuda:1, it takes that.
    """
    if "rng_state" in saved:
        torch.set_rng_state(saved["rng_state"])
        _restore_gpus(saved["cuda_rng_states"])
    if "python_rng_state" in saved:
        random.setstate(saved["python_rng_state"])
        name, keys, *rest = saved["numpy_rng_state"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))


def _restore_gpus(states: dict[int, torch.Tensor] | list[torch.Tensor]) -> None:
    if isinstance(states, list):  # older checkpoints: of all GPUs
        states = dict(enumerate(states))
    only = None
    if len(states) == 1:
        [only] = states.values()
    for index in used_gpus():
        state = states.get(index, only)
        if state is not None:
            torch.cuda.set_rng_state(state, index)
