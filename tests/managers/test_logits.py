"""Logits that are not finite are an error before anything is made of them."""

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from torch import nn
from torchmanager.callbacks import Callback

from configs import training_config
from data import Case, dataset_of
from data.nifti.native_files import plain_grid
from managers import TrainingError, score
from managers.inference.export.bundle import inference
from managers.inference.logit_checks import LogitsError
from managers.inference.scoring import score_native
from managers.inference.side_scores import score_side_outputs
from managers.inference.sliding_window import SlidingWindow, native_label_map, whole_logits

CPU = torch.device("cpu")
NAMES = ("background", "anterior", "posterior")


class Overflows(nn.Module):
    """Logits that are not finite where the image is above 2."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, images):
        logits = torch.cat([images] * 3, dim=1)
        return torch.where(images > 2, self.value, logits)


def volume(case_id="case_7"):
    image = torch.zeros(1, 9, 8, 10)
    image[0, 8, 7, 9] = 3
    return {"case_id": case_id, "image": image, "affine": torch.eye(4, dtype=torch.float64),
            "label": torch.ones(1, 9, 8, 10, dtype=torch.uint8), "spacing_mm": torch.ones(3)}


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_every_way_to_a_label_map_is_closed(value):
    window = SlidingWindow(Overflows(value), (8, 8, 8))
    with pytest.raises(LogitsError, match="logits are not finite"):
        whole_logits(volume()["image"], window)
    with pytest.raises(LogitsError):
        native_label_map(volume(), plain_grid((9, 8, 10), np.eye(4)), window)


def spoil(network):
    """Make one weight not a number."""
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = torch.nan


@pytest.fixture
def broken(tiny_network, manager_of):
    """A manager whose network has a weight that is not a number."""
    manager = manager_of(tiny_network())
    spoil(manager.raw_model)
    return manager


def test_scores_name_the_case_and_the_weights(broken, tmp_path):
    for scored in (lambda: score(broken, [volume()], 1, NAMES, CPU, predictions_dir=tmp_path),
                   lambda: score_side_outputs(broken, [volume()], 1, CPU, 3.0)):
        with pytest.raises(LogitsError, match="case_7: .*neither are its weights"):
            scored()
    assert not list(tmp_path.iterdir())


def test_native_scores_name_the_case(manager_of, tiny_network, tmp_path):
    manager = manager_of(tiny_network())
    manager.model = Overflows(torch.inf)
    path = tmp_path / "case_7.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((9, 8, 10), np.uint8), np.eye(4)), path)
    dataset = dataset_of(training_config("dsd", ["DATA", "_", "--dataset", "hippocampus",
                                                 "--network", "nnunet"]))
    with pytest.raises(LogitsError, match="case_7: .*although its weights are"):
        score_native(manager, [volume()], 1, {"case_7": Case("case_7", path, path)}, dataset, CPU)


class LastStep(Callback):
    """A step after which the weights are not finite, though its loss was."""

    def __init__(self, network):
        self.network = network

    def on_batch_end(self, batch, summary=None):
        spoil(self.network)


def test_validation_stops_and_names_the_case(manager_of, tiny_network, batches):
    manager = manager_of(tiny_network())
    validation = [batch | {"case_id": ["case_8"]} for batch in batches(1, crops=1)]
    with pytest.raises(TrainingError, match="case_8: .*neither are its weights"):
        manager.fit(batches(1), 1, validation, [LastStep(manager.raw_model)], device=CPU)


def test_a_bundle_refuses_them_too_and_names_the_file(config):
    run = config()
    parser = ConfigParser(inference(run, dataset_of(run), {}))
    finite = parser.get_parsed_content("finite")
    image = MetaTensor(torch.zeros(1, 2, 2, 2), meta={"filename_or_obj": "scan.nii.gz"})
    logits = torch.zeros(3, 2, 2, 2)
    assert finite(logits, image) is logits
    logits[0, 0, 0, 0] = torch.nan
    with pytest.raises(RuntimeError, match="scan.nii.gz are not finite"):
        finite(logits, image)
