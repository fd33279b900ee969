"""DeSD pre-training from its settings to the teacher's encoder: the recipe of pretrain_DeSD.py."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchmanager.callbacks import Callback

from configs import experiment_dir
from configs.pretraining.pretraining import PretrainingConfig
from configs.pretraining.pretraining_parser import warn_of_rates
from data import pretraining_loader, read_tile_list
from losses import DeSDLoss
from networks import build_desd
from reports import pretraining_picture
from system.exit import LOGGER_NAME, log_to_console
from system.files import write_with

from ..callbacks import EpochOrder, Progress, Record
from ..compute.devices import seed_everything
from ..compute.distributed import join_processes, loader_workers
from ..loss_watch import FailureFile
from ..runs.checkpoints import FORMAT
from ..runs.folder import open_folder
from .collapse import signs_of_collapse
from .optimizers import build_optimizer, parameter_groups
from .pretraining_manager import DeSDManager
from .pretraining_resume import fingerprint, pretraining_resume_point, restore_pretraining

log = logging.getLogger(LOGGER_NAME)


def pretrain(config: PretrainingConfig) -> None:
    """Pre-train an encoder, or resume its run; everything about the run goes into its folder.

    Raises:
        ValueError: settings or tiles that cannot be used; nothing has been written then.
        TrainingError, TrainingInterruptedError: see Trainer.fit.
    """
    log_to_console()
    processes, device = join_processes(config.device)
    seed_everything(config.seed, config.deterministic)
    show_progress = config.show_verbose and processes.is_main

    with processes.main_first():
        checkpoint = pretraining_resume_point(config, processes.world_size)
        tiles = read_tile_list(config.data_dir, config.tile_list, progress=show_progress)
        warn_of_rates(config, processes.world_size)
        loader = pretraining_loader(
            tiles, config.batch_size_per_gpu, config.seed, loader_workers(config.num_workers),
            device.type == "cuda", processes.rank, processes.world_size,
            config.local_crops_number, config.crop_size)
        student, teacher = build_desd(config.arch, config.out_dim, config.use_bn_in_head,
                                      config.norm_last_layer)
        optimizer = build_optimizer(
            config.optimizer, parameter_groups(student, config.weight_decay), config.lr)
        loss = DeSDLoss(config.out_dim, config.student_temp, config.center_momentum,
                        processes.mean)
        manager = DeSDManager(student, teacher, optimizer, loss, config, len(loader), processes)
        listed = fingerprint(tiles, config.data_dir)
        history = restore_pretraining(checkpoint, manager, listed, len(loader))
        manager.go_on_from(checkpoint)

    folder = experiment_dir(config.output_dir)
    manager.save_failure = FailureFile(folder, manager, loader, config.to_dict()).write
    callbacks: list[Callback] = [EpochOrder(loader, manager)]
    if processes.is_main:
        open_folder(folder, config, device, resumed=checkpoint is not None)
        log.info(f"{folder}: DeSD of {config.arch} on {len(tiles)} tiles, {len(loader)} steps an "
                 f"epoch, epochs {len(history) + 1} to {config.epochs}, "
                 f"{processes.world_size} x {device}")
        checkpoints = SavePretraining(folder, manager, history, config, listed)
        manager.save_position = checkpoints.save_position
        callbacks += [
            Record(folder, optimizer, config.epochs, history, pretraining_picture),
            CollapseWatch(config.out_dim, teacher.backbone.widths[-1]),
            checkpoints,  # after the record of its epoch, which it holds
        ]
    if show_progress:
        callbacks.append(Progress(manager, len(loader)))

    manager.fit(loader, config.epochs, callbacks_list=callbacks, initial_epoch=len(history),
                device=device)
    processes.leave()
    if processes.is_main:
        log.info(f"to segment with it: --network {config.arch.replace('res3d', 'resnet')}-unet "
                 f"--init_from {folder} --encoder_only")


@dataclass
class SavePretraining(Callback):
    """last.model after every epoch; every `saveckp_freq` epochs also the teacher, which is kept.

    Also interrupted.model, when a signal ends the run within an epoch; removed when that epoch is
    finished.
    """

    folder: Path
    manager: DeSDManager
    history: list[dict[str, Any]]
    config: PretrainingConfig
    tiles: str  # their fingerprint

    def on_epoch_end(self, epoch: int, summary: dict[str, float] | None = None,
                     val_summary: dict[str, float] | None = None) -> None:
        """Save; runs after Record, because the file holds this epoch's record."""
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


@dataclass
class CollapseWatch(Callback):
    """Warns when an epoch's means show that the teacher gives every tile the same target."""

    out_dim: int
    feature_width: int

    def on_epoch_end(self, epoch: int, summary: dict[str, float] | None = None,
                     val_summary: dict[str, float] | None = None) -> None:
        """Log each sign of collapse."""
        if not summary:
            return
        for sign in signs_of_collapse(summary, self.out_dim, self.feature_width):
            log.warning(f"warning: epoch {epoch + 1}: {sign}")
