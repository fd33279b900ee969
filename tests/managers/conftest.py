"""A network, batches and settings that are small enough to train in a blink."""

import logging

import pytest
import torch

from configs import training_config
from configs.cli import LOGGER_NAME
from losses import DSDLoss
from managers import SegmentationManager
from networks import build_network

CLASS_NAMES = ("background", "anterior", "posterior")
SIZE = (8, 8, 8)


@pytest.fixture
def tiny_network():
    """tiny_network(self_distillation) -> a three-level network for 8^3 crops, seeded."""

    def build(self_distillation: bool = True):
        torch.manual_seed(0)
        return build_network("nnunet", 1, 3, SIZE, self_distillation, filters=(2, 3, 4))

    return build


@pytest.fixture
def batches():
    """batches(n, size) -> n batches of two images (2, 1, *size) with their labels."""

    def make(number: int, size: tuple[int, int, int] = SIZE, crops: int = 2):
        generator = torch.Generator().manual_seed(3)
        return [{"image": torch.randn(crops, 1, *size, generator=generator),
                 "label": torch.randint(0, 3, (crops, 1, *size), generator=generator)}
                for _ in range(number)]

    return make


@pytest.fixture
def manager_of():
    """manager_of(network, loss, **options) -> a manager with plain gradient descent."""

    def make(network, loss=None, lr: float = 0.01, **options):
        optimizer = torch.optim.SGD(network.parameters(), lr)
        return SegmentationManager(network, optimizer, loss or DSDLoss(), CLASS_NAMES, SIZE,
                                   **options)

    return make


@pytest.fixture
def config(tmp_path):
    """config(*flags) -> settings of a tiny run whose folder is tmp_path/run.exp."""

    def make(*flags: object, method: str = "dsd"):
        return training_config(method, [
            "DATA", "_", "--experiment", str(tmp_path / "run.exp"), "--dataset", "hippocampus",
            "--network", "nnunet", "--filters", "2", "3", "4", "--img_size", "8", "8", "8",
            "--epochs", "3", *map(str, flags)])

    return make


@pytest.fixture
def close_logs():
    """Close the log files that opening a run leaves open."""
    log = logging.getLogger(LOGGER_NAME)
    before = list(log.handlers)
    yield
    for handler in [handler for handler in log.handlers if handler not in before]:
        log.removeHandler(handler)
        handler.close()
