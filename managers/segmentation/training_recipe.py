"""A segmentation run from its settings to its scores: the recipe of both training scripts."""

import dataclasses
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
from data import evaluation_loader, run_volumes, select_cases, training_loader
from data.volumes.loaders import batch_bytes
from losses import RunningLoss
from reports import write_report
from system.exit import LOGGER_NAME, log_to_console

from ..callbacks import (
    BoundaryWeight,
    EarlyStop,
    EpochOrder,
    KLRamp,
    LearningRate,
    Progress,
    Record,
)
from ..compute.devices import seed_everything
from ..compute.distributed import Processes, join_processes
from ..compute.launch import spread_over_gpus
from ..inference.predictor import predictor_of
from ..inference.scoring import publish_scores, score
from ..loss_watch import FailureFile
from ..runs.checkpoints import (
    SaveCheckpoints,
    export_weights,
    load_checkpoint,
    restore,
    weights_sha256,
)
from ..runs.early_stop import epochs_to_train
from ..runs.resume import initialise, network_of, open_run, resume_point
from ..runs.run_locks import scores_held
from ..runs.trained_with import preprocessing_of
from ..schedules import LR_SCHEDULES
from ..tracking import Track, refuse_absent_tracker
from ..trainer import TrainingError
from .segmentation_manager import SegmentationManager
from .speed_options import fast_line, needs_less, settled, workers_of

log = logging.getLogger(LOGGER_NAME)


def train(config: TrainingConfig, loss: RunningLoss) -> None:
    """Train a network with a loss, or resume its run, and score its best checkpoint.

    Everything about the run is kept in its folder, experiments/NAME.exp.

    Raises:
        ValueError: settings or data that cannot be used; nothing has been written by then.
        TrainingError, TrainingInterruptedError: see Trainer.fit.
    """
    log_to_console()
    refuse_absent_tracker(config.track)
    spread_over_gpus(config)
    processes, device = join_processes(config.device)
    asked, config = config, settled(config, device, processes)
    fast = fast_line(asked, config, device)
    if fast is not None:
        log.info(fast)
    seed_everything(config.seed, config.deterministic)

    with processes.main_first():
        checkpoint = resume_point(config)
        network = network_of(config)
        transferred = initialise(network, config, checkpoint)
        selection = select_cases(config, progress=config.show_verbose)
        dataset = selection.dataset
        train_volumes, val_volumes = run_volumes(config, selection)
        size = batch_bytes(train_volumes, dataset, config.img_size, config.batch_size,
                           processes.world_size)
        workers = workers_of(config, device, size)
        if config.num_workers is None:
            config = dataclasses.replace(config, num_workers=workers)
        loader = training_loader(train_volumes, dataset, config.img_size, config.batch_size,
                                 config.seed, workers, device.type == "cuda", processes.rank,
                                 processes.world_size)
    val_loader = evaluation_loader(val_volumes, processes.rank, processes.world_size)
    optimizer = optimizer_of(network, config)

    folder = open_run(config, selection.folds, device, checkpoint, processes)
    manager = manager_of(config, network, optimizer, loss, dataset.class_names, processes)
    history = restore(checkpoint, network, optimizer, manager.scaler, manager.mean_teacher)
    manager.go_on_from(checkpoint)
    if transferred:
        log.info(f"weights from {config.init_from}:\n{transferred}")
    log.info(f"{folder}: {config.network} with {config.method} on {dataset.name}, "
             f"{len(train_volumes)} training and {len(val_volumes)} validation cases, "
             f"epochs {len(history) + 1} to {config.epochs}, {processes.world_size} x {device}")

    fit_run(manager, config, folder, history, loader, val_loader, device)

    if config.output_model is not None and processes.is_main:
        export_weights(Path(config.output_model), network)
        log.info(f"weights of the last epoch: {config.output_model}")
    score_best(folder, config, manager, val_volumes, dataset.class_names, device)
    processes.leave()


def fit_run(manager: SegmentationManager, config: TrainingConfig, folder: Path,
            history: list[dict[str, Any]], loader: DataLoader, val_loader: DataLoader,
            device: torch.device) -> None:
    """Train the remaining epochs; the main process keeps records and checkpoints of them.

    Args:
        history: lines of the epochs before, in a resumed run.
    """
    settings = config.to_dict()
    manager.save_failure = FailureFile(folder, manager, loader, settings).write
    callbacks = [EpochOrder(loader, manager), *schedules_of(config, manager)]
    if manager.processes.is_main:
        record = Record(folder, manager.compiled_optimizer, config.epochs, history)
        checkpoints = SaveCheckpoints(folder, manager, history, settings, preprocessing_of(config))
        manager.save_position = checkpoints.save_position
        callbacks += [record, checkpoints]  # a checkpoint holds the record of its epoch
        if config.track is not None:
            callbacks.append(Track(config.track, folder, settings, history))
        if config.show_verbose:
            callbacks.append(Progress(manager, len(loader)))
    if config.early_stop is not None:
        callbacks.append(EarlyStop(history, config.early_stop))
    epochs = epochs_to_train(history, config.epochs, config.early_stop)
    try:
        manager.fit(loader, epochs, val_loader, callbacks, initial_epoch=len(history),
                    device=device)
    except TrainingError as error:
        error.needs_less = needs_less(config)
        raise


def schedules_of(config: TrainingConfig, manager: SegmentationManager) -> list[Callback]:
    """The callbacks that set a value at the start of each epoch."""
    schedules: list[Callback] = [LearningRate(
        manager.compiled_optimizer, LR_SCHEDULES[config.lr_schedule], config.lr, config.epochs)]
    if config.shape_priors:
        schedules.append(BoundaryWeight(manager.loss_fn, config.beta_start, config.beta_step))
    if config.kl_ramp > 0:
        schedules.append(KLRamp(manager.loss_fn, config.kl_ramp * config.epochs))
    return schedules


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
    """The manager that trains a run; `config` comes from speed_options.settled."""
    if config.tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
    return SegmentationManager(network, optimizer, loss, class_names, config.img_size,
                               config.overlap, config.window_batch, config.val_every,
                               amp=config.amp, compile=config.compile,
                               channels_last=config.channels_last, processes=processes,
                               seed=config.seed, mean_teacher=config.teacher == "ema")


def score_best(folder: Path, config: TrainingConfig, manager: SegmentationManager,
              volumes: Sequence[dict[str, Any]], class_names: Sequence[str],
              device: torch.device) -> None:
    """Score best.model on the validation volumes; write and show the table and the pictures.

    Each process scores its share, and the main one does the rest.
    """
    manager.processes.wait()  # until the main one has written it
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
    with scores_held(folder, wait=True):  # eval.py may be scoring an earlier best.model
        pictures = publish_scores(folder, scores, about, class_names)
    chosen = ""
    if config.val_every < config.epochs:
        chosen = "; they also chose it"
    log.info(f"\nbest.model (epoch {about['epoch']}) on the validation cases{chosen}:\n"
             f"{scores.table}")
    log.info(f"\nrun folder  {folder}\nreport      {write_report([str(folder)])}")
    for picture in pictures:
        log.info(f"picture     {picture}")
