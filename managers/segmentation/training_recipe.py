"""What both training scripts do around `fit`."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchmanager.callbacks import Callback

from configs import TrainingConfig
from losses import RunningLoss
from reports import write_report
from system.exit import LOGGER_NAME

from ..callbacks import BoundaryWeight, EpochOrder, KLRamp, LearningRate, Progress, Record
from ..compute.distributed import Processes
from ..inference.predictor import predictor_of
from ..inference.scoring import publish_scores, score
from ..loss_watch import FailureFile
from ..runs.checkpoints import SaveCheckpoints, load_checkpoint, weights_sha256
from ..runs.run_locks import scores_held
from ..runs.trained_with import preprocessing_of
from ..schedules import LR_SCHEDULES
from .segmentation_manager import SegmentationManager

log = logging.getLogger(LOGGER_NAME)


def optimizer_of(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The run's optimiser over the parameters that take part in training."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return OPTIMIZERS[config.optimizer](trainable, lr=config.lr, weight_decay=config.weight_decay,
                                        fused=config.fused or None)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "sgd": partial(torch.optim.SGD, momentum=0.99, nesterov=True),  # as nnU-Net and DoDNet
}


def manager_of(config: TrainingConfig, network: nn.Module, optimizer: torch.optim.Optimizer,
               loss: RunningLoss, class_names: tuple[str, ...],
               processes: Processes | None = None) -> SegmentationManager:
    """The manager that trains a run; `config` is settled (see fast.settled)."""
    if config.tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
    return SegmentationManager(network, optimizer, loss, class_names, config.img_size,
                               config.overlap, config.window_batch, config.val_every,
                               amp=config.amp, compile=config.compile,
                               channels_last=config.channels_last, processes=processes,
                               seed=config.seed, mean_teacher=config.teacher == "ema")


def training_callbacks(folder: Path, config: TrainingConfig, manager: SegmentationManager,
                       loader: DataLoader, history: list[dict[str, Any]],
                       checkpoint: dict[str, Any] | None = None) -> list[Callback]:
    """Order of cases, learning rate, records, checkpoints, progress: in this order.

    Records, checkpoints and progress are the main process's.

    Args:
        history: lines of the epochs that a resumed run has behind it, else empty.
        checkpoint: that it goes on from, maybe in the middle of an epoch.
    """
    manager.go_on_from(checkpoint and checkpoint.get("position"))
    manager.save_failure = FailureFile(folder, manager, loader, config.to_dict()).write
    optimizer = manager.compiled_optimizer
    callbacks = [
        EpochOrder(loader, manager),
        LearningRate(optimizer, LR_SCHEDULES[config.lr_schedule], config.lr, config.epochs),
    ]
    if config.shape_priors:
        callbacks.append(BoundaryWeight(manager.loss_fn, config.beta_start, config.beta_step))
    if config.kl_ramp > 0:
        callbacks.append(KLRamp(manager.loss_fn, config.kl_ramp * config.epochs))
    if not manager.processes.is_main:
        return callbacks
    checkpoints = SaveCheckpoints(folder, manager, history, config.to_dict(),
                                  preprocessing_of(config))
    manager.save_position = checkpoints.save_position
    callbacks += [Record(folder, optimizer, config.epochs, history), checkpoints]
    return callbacks + ([Progress(manager, len(loader))] if config.show_verbose else [])


def score_best(folder: Path, config: TrainingConfig, manager: SegmentationManager,
              volumes: Sequence[dict[str, Any]], class_names: Sequence[str],
              device: torch.device) -> None:
    """Score best.model on the validation volumes; write and show the table and the pictures.

    Each process scores its share, and the main one does the rest.
    """
    manager.processes.wait()  # for the main one to have written it
    best = load_checkpoint(folder / "best.model")
    manager.raw_model.load_state_dict(best["network"])
    predictor = predictor_of(manager.raw_model, config, device)
    mine = manager.processes.share(range(len(volumes)))
    scores = score(predictor, (volumes[index] for index in mine), len(mine), class_names,
                   manager.processes, progress=config.show_verbose)
    if not manager.processes.is_main:
        return
    about = {"group": "validation", "saved_model": "best", "space": "resampled",
             "weights_sha256": weights_sha256(best["network"]),
             "epoch": best["history"][-1]["epoch"]}
    with scores_held(folder, wait=True):  # eval.py may be at work on an earlier best.model
        pictures = publish_scores(folder, scores, about, class_names)
    chosen = "; they also chose it" if config.val_every < config.epochs else ""
    log.info(f"\nbest.model (epoch {best['history'][-1]['epoch']}) on the validation "
             f"cases{chosen}:\n{scores.table}")
    log.info("\n".join(["", f"run folder  {folder}", f"report      {write_report([str(folder)])}",
                        *(f"picture     {p}" for p in pictures)]))
