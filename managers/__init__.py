"""The torchmanager subclass and what surrounds it: callbacks, checkpoints, runs, evaluation."""

from .checkpoints import export_weights, load_checkpoint, restore, save_checkpoint
from .devices import choose_device, fit_devices, seed_everything
from .evaluation import draw_cases, score, write_scores
from .runs import initialise, load_manager, network_of, open_run, read_run, resume_point
from .segmentation import SegmentationManager, TrainingError
from .training import adamw, score_best, training_callbacks

__all__ = [
    "SegmentationManager", "TrainingError", "adamw", "choose_device", "draw_cases",
    "export_weights", "fit_devices", "initialise", "load_checkpoint", "load_manager", "network_of",
    "open_run", "read_run", "restore", "resume_point", "save_checkpoint", "score",
    "seed_everything", "score_best", "training_callbacks", "write_scores",
]
