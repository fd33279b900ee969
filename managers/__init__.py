"""The torchmanager subclass and what surrounds it: callbacks, checkpoints, runs, evaluation."""

from .checkpoints import export_weights, load_checkpoint, save_checkpoint
from .devices import choose_device, fit_devices, seed_everything
from .evaluation import draw_cases, score, write_scores
from .runs import create_run, load_manager, network_of, read_run
from .segmentation import SegmentationManager, TrainingError
from .training import adamw, test_best, training_callbacks

__all__ = [
    "SegmentationManager", "TrainingError", "adamw", "choose_device", "create_run", "draw_cases",
    "export_weights", "fit_devices", "load_checkpoint", "load_manager", "network_of", "read_run",
    "save_checkpoint", "score", "seed_everything", "test_best", "training_callbacks",
    "write_scores",
]
