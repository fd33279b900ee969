"""A network, batches and settings that are small enough to train in a blink."""

import dataclasses
import logging

import nibabel
import numpy as np
import pytest
import torch

from configs import training_config
from configs.use.prediction import prediction_config
from losses import DSDLoss
from managers import SegmentationManager, save_checkpoint
from managers.runs.resume import network_of
from networks import build_network
from system.exit import LOGGER_NAME
from system.files import write_json

LPS = np.array([[-1.0, 0, 0, 9], [0, 0, -1.2, 8], [0, 0.9, 0, 7], [0, 0, 0, 1]])
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


@pytest.fixture
def experiment(tmp_path, config):
    """experiment(name, seed, **changes) -> path of a run folder, as if it had been trained."""

    def make(name="one", seed=0, **changes):
        folder = tmp_path / f"{name}.exp"
        settings = dataclasses.replace(config(), experiment=str(folder), **changes)
        torch.manual_seed(seed)
        network = network_of(settings)
        write_json(folder / "config.json", settings.to_dict())
        write_json(folder / "splits.json", [{"train": ["seen"], "val": ["case_2"], "test": []}])
        save_checkpoint(folder / "best.model", network, torch.optim.SGD(network.parameters(), 1),
                        [{"epoch": 4}], settings.to_dict())
        return str(folder)

    return make


@pytest.fixture
def images(tmp_path):
    """A folder with three images of 9 x 12 x 10 voxels."""
    (tmp_path / "images").mkdir()
    values = np.random.default_rng(0).random((3, 9, 12, 10), np.float32)
    for number, array in enumerate(values, start=1):
        nibabel.save(nibabel.Nifti1Image(array, LPS), tmp_path / "images" / f"case_{number}.nii.gz")
    return tmp_path / "images"


@pytest.fixture
def settings(tmp_path, images):
    """settings(experiments, *flags) -> configuration of a prediction into tmp_path/out."""

    def make(experiments, *flags):
        return prediction_config(["--experiment", *experiments, "--input", str(images),
                                  "--output", str(tmp_path / "out"), *map(str, flags)])

    return make
