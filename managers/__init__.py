"""The torchmanager subclass and what surrounds it: callbacks, checkpoints, runs, evaluation."""

from .compute.devices import choose_device, seed_everything
from .compute.distributed import (
    join_processes,
    loader_workers,
    refuse_several_processes,
)
from .compute.launch import spread_over_gpus
from .desd.optimizers import build_optimizer, parameter_groups
from .desd.pretraining_manager import DeSDManager
from .desd.pretraining_recipe import (
    fingerprint,
    pretraining_callbacks,
    pretraining_resume_point,
    restore_pretraining,
)
from .inference.predictor import Predictor, load_predictor, predictor_of
from .inference.scoring import score, write_scores
from .runs.checkpoints import export_weights, load_checkpoint, restore, save_checkpoint
from .runs.folder import open_folder
from .runs.resume import initialise, network_of, open_run, read_run, resume_point
from .segmentation.segmentation_manager import SegmentationManager
from .segmentation.speed_options import settled
from .segmentation.training_recipe import manager_of, optimizer_of, score_best, training_callbacks
from .trainer import TrainingError

__all__ = [
    "DeSDManager", "Predictor", "SegmentationManager", "TrainingError", "build_optimizer",
    "choose_device", "export_weights", "fingerprint", "initialise",
    "join_processes", "load_checkpoint", "load_predictor", "loader_workers", "manager_of",
    "network_of", "open_folder", "open_run", "optimizer_of",
    "parameter_groups", "predictor_of", "pretraining_callbacks", "pretraining_resume_point",
    "read_run", "refuse_several_processes", "restore", "restore_pretraining", "resume_point",
    "save_checkpoint", "score", "score_best", "seed_everything", "settled", "spread_over_gpus",
    "training_callbacks", "write_scores",
]
