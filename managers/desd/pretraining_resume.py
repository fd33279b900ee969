"""Where a pre-training run resumes: its checkpoint, checked against settings and tiles."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs import experiment_dir, read_pretraining_config
from configs.pretraining.pretraining import PretrainingConfig

from ..runs.folder import refuse_to_replace, where_it_goes_on
from .pretraining_manager import DeSDManager

# Settings that weights and optimiser state depend on, and those that never matter to a resumed run.
SHAPES = ("method", "arch", "out_dim", "use_bn_in_head", "norm_last_layer", "optimizer")
INDIFFERENT = ("data_dir", "tile_list", "output_dir", "num_workers", "device", "show_verbose",
               "resume", "overwrite", "saveckp_freq", "deterministic")


def pretraining_resume_point(config: PretrainingConfig,
                             world_size: int) -> dict[str, Any] | None:
    """The checkpoint that `config` continues from; None for a new run.

    An interrupted epoch continues if its steps still have as many tiles, over all `world_size`
    processes; otherwise it starts over.

    Differs from the authors' code: theirs continues whatever is in the output folder.

    Raises:
        ValueError: the run exists and neither --resume nor --overwrite was given, there is
            nothing to resume, or the settings do not fit the weights.
    """
    folder = experiment_dir(config.output_dir)
    if not config.resume:
        refuse_to_replace(folder, config.overwrite, "--output_dir")
        return None
    old, new = read_pretraining_config(folder).to_dict(), config.to_dict()
    changed = [name for name in old if old[name] != new[name] and name not in INDIFFERENT]
    breaking = [f"{name} {old[name]} -> {new[name]}" for name in changed if name in SHAPES]
    if breaking:
        raise ValueError(f"{folder}: cannot be resumed, its checkpoint is for other settings: "
                         f"{'; '.join(breaking)}.")

    def same_steps(saved: dict[str, Any]) -> bool:
        tiles_per_step = saved.get("tiles_per_step")  # None in older checkpoints
        return (saved["config"]["seed"] == config.seed
                and tiles_per_step == config.batch_size_per_gpu * world_size)

    checkpoint = where_it_goes_on(folder, config.epochs, complete=True, same_steps=same_steps)
    for name in changed:
        warnings.warn(f"--resume: {name} {old[name]} -> {new[name]}; the run goes on with the new "
                      f"value.", stacklevel=2)
    return checkpoint


def restore_pretraining(checkpoint: dict[str, Any] | None, manager: DeSDManager, tiles: str,
                        steps_per_epoch: int) -> list[dict[str, Any]]:
    """Restore the manager from the checkpoint; returns the record of the epochs so far.

    Args:
        tiles: fingerprint of the tile list.

    Raises:
        ValueError: the list of tiles, which decides the order of the steps, has changed.
    """
    if checkpoint is None:
        return []
    if checkpoint["tiles"] != tiles:
        raise ValueError("The run cannot be resumed: its list of tiles has changed. Give the list "
                         "that it began with, or another --output_dir.")
    if checkpoint["steps_per_epoch"] != steps_per_epoch:
        warnings.warn(f"--resume: {checkpoint['steps_per_epoch']} -> {steps_per_epoch} steps an "
                      f"epoch, since tiles per step or processes have changed; the schedules go "
                      f"on by the epoch.", stacklevel=2)
    manager.restore(checkpoint)
    return checkpoint["history"]


def fingerprint(tiles: Sequence[Path], data_dir: str) -> str:
    """SHA-256 of the tiles' paths below `data_dir`, in their order."""
    names = "\n".join(os.path.relpath(tile, data_dir) for tile in tiles)
    return hashlib.sha256(names.encode()).hexdigest()
