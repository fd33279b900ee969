"""A loss that is not finite: which step it was, and what is kept of it."""

import json

import pytest
import torch
from torch.utils.data import DataLoader

from losses import DSDLoss
from managers import TrainingError
from managers.loss_watch import FailureFile, LossWatch
from managers.segmentation.training_recipe import fit_run

CPU = torch.device("cpu")


def test_the_first_of_several_is_kept_with_its_terms():
    watch = LossWatch()
    assert watch.first_failure() == (None, {})
    for step, loss in enumerate((1.0, 2.0, torch.inf, torch.nan, 3.0)):
        watch.see(step, torch.tensor(loss), {"dice_ce_out": torch.tensor(float(step))})
    assert watch.first_failure() == (2, {"loss": torch.inf, "dice_ce_out": 2.0})


def test_finite_losses_are_none():
    watch = LossWatch()
    watch.see(0, torch.tensor(1e38), {"kl": torch.tensor(torch.nan)})
    assert watch.first_failure() == (None, {})


class Crops(torch.utils.data.Dataset):
    """Four cases; the image of one is infinite in one voxel."""

    def __init__(self, batch):
        self.image, self.label = batch["image"][0], batch["label"][0]

    def __len__(self):
        return 4

    def __getitem__(self, index):
        image = self.image * (index + 1)
        if index == 2:
            image[0, 0, 0, 0] = torch.inf
        return {"image": image, "label": self.label, "case_id": f"case{index}"}


class Order(torch.utils.data.SequentialSampler):
    def set_epoch(self, epoch, start=0):
        pass


def test_step_terms_and_cases_are_named_and_the_file_gives_the_same_loss(
        tiny_network, manager_of, batches, config, tmp_path, close_logs):
    data = Crops(batches(1)[0])
    loader = DataLoader(data, batch_size=1, sampler=Order(data))
    manager, settings = manager_of(tiny_network()), config()
    with pytest.raises(TrainingError, match=r"epoch 1, step 3: .*the batch is not finite: image of "
                                            r"case2 \(loss nan, dice_ce_out nan.* in step 3 on "
                                            r"cases case2; .*Correct these files") as stopped:
        fit_run(manager, settings, tmp_path, [], loader, None, CPU)
    assert "--lr" not in str(stopped.value)
    saved = torch.load(tmp_path / "not_finite.model", weights_only=True)
    assert (saved["epoch"], saved["step"], saved["case_ids"]) == (1, 3, ["case2"])
    assert json.loads(json.dumps(saved["config"])) == settings.to_dict()
    assert all(value.isfinite().all() for value in saved["network"].values())
    network = tiny_network()
    network.load_state_dict(saved["network"])
    outputs = network.train()(saved["batch"]["image"])
    assert not DSDLoss()(outputs, saved["batch"]["label"]).isfinite()
    assert not (tmp_path / "last.model").exists()


def test_on_a_gpu_the_file_has_the_batch_of_the_step_not_of_the_look(tiny_network, manager_of,
                                                                     batches, tmp_path):
    data = Crops(batches(1)[0])
    loader = DataLoader(data, batch_size=1, sampler=Order(data))
    write = FailureFile(tmp_path, manager_of(tiny_network()), loader, {}).write
    assert "case2" in write(epoch=4, step=2, terms={"loss": torch.nan}).where
    saved = torch.load(tmp_path / "not_finite.model", weights_only=True)
    assert torch.equal(saved["batch"]["image"][0], data[2]["image"]) and saved["epoch"] == 5
