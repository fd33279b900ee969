"""A pre-training run on disk: where it goes on, what is saved of it, what is watched."""

import hashlib
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchmanager.callbacks import Callback

from configs import experiment_dir, read_pretraining_config
from configs.pretraining.pretraining import PretrainingConfig
from reports import pretraining_picture
from system.exit import LOGGER_NAME
from system.files import write_with

from ..callbacks import EpochOrder, Progress, Record
from ..loss_watch import FailureFile
from ..runs.checkpoints import FORMAT
from ..runs.folder import refuse_to_replace, where_it_goes_on
from .collapse import signs_of_collapse
from .pretraining_manager import DeSDManager

log = logging.getLogger(LOGGER_NAME)

# What the weights and the optimiser's state depend on; what says nothing about how a run goes on.
SHAPES = ("method", "arch", "out_dim", "use_bn_in_head", "norm_last_layer", "optimizer")
INDIFFERENT = ("data_dir", "tile_list", "output_dir", "num_workers", "device", "show_verbose",
               "resume", "overwrite", "saveckp_freq", "deterministic")


def pretraining_resume_point(config: PretrainingConfig,
                             world_size: int) -> dict[str, Any] | None:
    """The checkpoint that `config` continues from; None for a new run.

    An epoch that was broken off goes on where its steps still have as many tiles, shared among
    `world_size` processes; else it begins anew.

    Differs from the authors' code: theirs continues whatever lies in the output folder.

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
    checkpoint = where_it_goes_on(
        folder, config.epochs, complete=True,
        same_steps=lambda saved: (saved["config"]["seed"] == config.seed and
                                  saved.get("tiles_per_step")  # older ones have none
                                  == config.batch_size_per_gpu * world_size))
    for name in changed:
        warnings.warn(f"--resume: {name} {old[name]} -> {new[name]}; the run goes on with the new "
                      f"value.", stacklevel=2)
    return checkpoint


def restore_pretraining(checkpoint: dict[str, Any] | None, manager: DeSDManager, tiles: str,
                        steps_per_epoch: int) -> list[dict[str, Any]]:
    """Put the manager where the checkpoint left it; the lines of the epochs done so far.

    Args:
        tiles: fingerprint of the tile list.

    Raises:
        ValueError: the tiles have changed, on which the order of the steps depends.
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


def pretraining_callbacks(folder: Path, config: PretrainingConfig, manager: DeSDManager,
                          loader: DataLoader, history: list[dict[str, Any]], tiles: str,
                          checkpoint: dict[str, Any] | None = None) -> list[Callback]:
    """Order of the tiles in every process; records and checkpoints in the main one.

    Args:
        checkpoint: that a resumed run goes on from, maybe in the middle of an epoch.
    """
    manager.go_on_from(checkpoint and checkpoint.get("position"))
    manager.save_failure = FailureFile(folder, manager, loader, config.to_dict()).write
    everywhere = [EpochOrder(loader, manager)]
    if not manager.processes.is_main:
        return everywhere
    checkpoints = SavePretraining(folder, manager, history, config, tiles)
    manager.save_position = checkpoints.save_position
    return everywhere + [
        Record(folder, manager.compiled_optimizer, config.epochs, history, pretraining_picture),
        CollapseWatch(config.out_dim, manager.teacher.backbone.widths[-1]),
        checkpoints,
    ] + ([Progress(manager, len(loader))] if config.show_verbose else [])


class SavePretraining(Callback):
    """last.model after every epoch; the teacher alone, to be kept, every `saveckp_freq` epochs.

    And interrupted.model where a signal ends the run in an epoch, until that epoch is finished.
    """

    def __init__(self, folder: Path, manager: DeSDManager, history: list[dict[str, Any]],
                 config: PretrainingConfig, tiles: str):
        self.folder = folder
        self.manager = manager
        self.history = history
        self.config = config
        self.tiles = tiles

    def on_epoch_end(self, epoch: int, summary: dict[str, float] | None = None,
                     val_summary: dict[str, float] | None = None) -> None:
        """Save; after the record of the epoch, whose history goes into the file."""
        state = self._state() | {"epoch": epoch + 1}
        if (epoch + 1) % self.config.saveckp_freq == 0:
            kept = {name: state[name] for name in ("format", "teacher", "epoch", "config")}
            self._save(f"epoch{epoch + 1:04d}.model", kept)
        self._save("last.model", state)
        (self.folder / "interrupted.model").unlink(missing_ok=True)

    def save_position(self, position: dict[str, Any]) -> None:
        """Save the middle of an epoch."""
        self._save("interrupted.model", self._state() | {"position": position})

    def _state(self) -> dict[str, Any]:
        return {"format": FORMAT, **self.manager.to_state(), "history": self.history,
                "config": self.config.to_dict(), "tiles": self.tiles,
                "steps_per_epoch": self.manager.steps_per_epoch,
                "tiles_per_step": (self.config.batch_size_per_gpu
                                   * self.manager.processes.world_size)}

    def _save(self, name: str, state: dict[str, Any]) -> None:
        write_with(self.folder / name, lambda file: torch.save(state, file))


class CollapseWatch(Callback):
    """Warns when the epoch's means say that the teacher gives every tile the same answer."""

    def __init__(self, out_dim: int, feature_width: int):
        self.out_dim = out_dim
        self.feature_width = feature_width

    def on_epoch_end(self, epoch: int, summary: dict[str, float] | None = None,
                     val_summary: dict[str, float] | None = None) -> None:
        """Log each sign of it."""
        signs = signs_of_collapse(summary, self.out_dim, self.feature_width) if summary else []
        for sign in signs:
            log.warning(f"warning: epoch {epoch + 1}: {sign}")
