"""The torchmanager subclass and what surrounds it: callbacks, checkpoints, runs, evaluation."""

from .checkpoints import export_weights, load_checkpoint, restore, save_checkpoint
from .devices import choose_device, seed_everything
from .distributed import (
    join_processes,
    loader_workers,
    refuse_several_processes,
)
from .evaluation import draw_cases, score, write_scores
from .fast import settled
from .launch import spread_over_gpus
from .optimizers import build_optimizer, parameter_groups
from .pretraining import DeSDManager
from .pretraining_runs import (
    fingerprint,
    pretraining_callbacks,
    pretraining_resume_point,
    restore_pretraining,
)
from .run_folders import open_folder
from .runs import initialise, load_manager, network_of, open_run, read_run, resume_point
from .segmentation import SegmentationManager
from .trainer import TrainingError
from .training import manager_of, optimizer_of, score_best, training_callbacks

__all__ = [
    "DeSDManager", "SegmentationManager", "TrainingError", "build_optimizer",
    "choose_device", "draw_cases", "export_weights", "fingerprint", "initialise",
    "join_processes", "load_checkpoint", "load_manager", "loader_workers", "manager_of",
    "network_of", "open_folder", "open_run", "optimizer_of",
    "parameter_groups", "pretraining_callbacks", "pretraining_resume_point", "read_run",
    "refuse_several_processes", "restore", "restore_pretraining", "resume_point",
    "save_checkpoint", "score", "score_best", "seed_everything", "settled", "spread_over_gpus",
    "training_callbacks", "write_scores",
]
