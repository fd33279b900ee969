"""What a training script does with its command line."""

from configs import TrainingConfig
from losses import RunningLoss

from .estimate import print_estimate
from .training_recipe import train


def train_or_estimate(config: TrainingConfig, loss: RunningLoss, gpu: str | None) -> None:
    """Train a network with a loss, or only print what a step would take of a GPU (--estimate).

    Args:
        gpu: a name of configs.training.gpus; None trains.

    Raises:
        ValueError, TrainingError, TrainingInterruptedError: see `train` and `print_estimate`.
    """
    if gpu is None:
        train(config, loss)
    else:
        print_estimate(config, loss, gpu)
