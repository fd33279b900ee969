"""A trained run as a manager that predicts."""

from pathlib import Path

from torch import nn

from configs import TrainingConfig
from data import dataset_of

from ..compute.distributed import Processes
from ..runs.resume import load_network
from .segmentation_manager import SegmentationManager


def load_manager(folder: Path, config: TrainingConfig, saved_model: str,
                 processes: Processes | None = None,
                 trust_network_code: bool = False) -> SegmentationManager:
    """The run's network with its "best" or "last" weights, ready to predict.

    Args and errors: see `load_network`.
    """
    network, _ = load_network(folder, config, saved_model, trust_network_code)
    return predicting(network, config, processes)


def predicting(network: nn.Module, config: TrainingConfig,
               processes: Processes | None = None) -> SegmentationManager:
    """A manager of a trained network, ready to predict."""
    return SegmentationManager(network, None, None, dataset_of(config).class_names,
                               config.img_size, config.overlap, config.window_batch,
                               processes=processes)
