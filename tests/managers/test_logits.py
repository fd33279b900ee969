"""Logits that are not finite are an error before anything is made of them."""

from functools import partial

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
from data.nifti.native_files import label_on_image_grid, plain_grid
from managers import Predictor, TrainingError, score
from managers.compute.distributed import Processes
from managers.inference.export.bundle import inference
from managers.inference.logit_checks import LogitsError
from managers.inference.segment import segment_native
from managers.inference.side_scores import score_side_outputs

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
    predictor = Predictor(Overflows(value), (8, 8, 8))
    with pytest.raises(LogitsError, match="logits are not finite"):
        predictor.logits(volume()["image"])
    with pytest.raises(LogitsError):
        predictor.label_map(volume()["image"])
    with pytest.raises(LogitsError):
        predictor.native(volume(), plain_grid((9, 8, 10), np.eye(4)))


def spoil(network):
    """Make one weight not a number."""
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = torch.nan


def test_scores_name_the_case_and_the_weights(tiny_network, tmp_path):
    broken = Predictor(tiny_network().eval(), (8, 8, 8))
    spoil(broken.network)
    for scored in (lambda: score(broken, [volume()], 1, NAMES, Processes(),
                                 predictions_dir=tmp_path),
                   lambda: score_side_outputs(broken, [volume()], 1, 3.0)):
        with pytest.raises(LogitsError, match="case_7: .*neither are its weights"):
            scored()
    assert not list(tmp_path.iterdir())


def test_native_scores_name_the_case(tmp_path):
    predictor = Predictor(Overflows(torch.inf), (8, 8, 8))
    path = tmp_path / "case_7.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((9, 8, 10), np.uint8), np.eye(4)), path)
    dataset = dataset_of(training_config("dsd", ["DATA", "_", "--dataset", "hippocampus",
                                                 "--network", "nnunet"]))
    with pytest.raises(LogitsError, match="case_7: .*although its weights are"):
        label, grid = label_on_image_grid(Case("case_7", path, path), dataset.label_values, 1)
        score(predictor, [volume() | {"native": (label, grid, label)}], 1, NAMES, Processes(),
              partial(segment_native, dataset=dataset))


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
