"""The torchmanager subclass and what surrounds it: callbacks, checkpoints, runs, evaluation."""

from .compute.devices import choose_device, seed_everything
from .compute.distributed import join_processes, refuse_several_processes
from .desd.optimizers import build_optimizer, parameter_groups
from .desd.pretraining_manager import DeSDManager
from .desd.pretraining_recipe import pretrain
from .inference.predictor import Predictor, load_predictor, predictor_of
from .inference.scoring import score, write_scores
from .runs.checkpoints import load_checkpoint, restore, save_checkpoint
from .runs.resume import network_of, open_run, read_run, resume_point
from .segmentation.command import train_or_estimate
from .segmentation.segmentation_manager import SegmentationManager
from .segmentation.speed_options import settled
from .segmentation.training_recipe import manager_of, optimizer_of, train
from .trainer import TrainingError

__all__ = [
    "DeSDManager", "Predictor", "SegmentationManager", "TrainingError", "build_optimizer",
    "choose_device", "join_processes", "load_checkpoint", "load_predictor", "manager_of",
    "network_of", "open_run", "optimizer_of", "parameter_groups", "predictor_of", "pretrain",
    "read_run", "refuse_several_processes", "restore", "resume_point", "save_checkpoint", "score",
    "seed_everything", "settled", "train", "train_or_estimate", "write_scores",
]
