"""Every random generator that a training may draw from, as plain values for a checkpoint."""

import random
from typing import Any

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """States of torch, its GPUs, Python and NumPy: tensors and plain values, to be saved."""
    name, keys, *rest = np.random.get_state()
    return {"rng_state": torch.get_rng_state(), "cuda_rng_states": torch.cuda.get_rng_state_all(),
            "python_rng_state": random.getstate(),
            "numpy_rng_state": (name, keys.tolist(), *rest)}


def restore_random_states(saved: dict[str, Any]) -> None:
    """Go on where `random_states` was, as far as `saved` has it: older checkpoints have less.

    GPUs only where there are as many.
    """
    if "rng_state" in saved:
        torch.set_rng_state(saved["rng_state"])
        if len(saved["cuda_rng_states"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(saved["cuda_rng_states"])
    if "python_rng_state" in saved:
        random.setstate(saved["python_rng_state"])
        name, keys, *rest = saved["numpy_rng_state"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
