"""A run continued after its last finished epoch is the run that was never broken off."""

import dataclasses
import json

import pytest
import torch

from configs.cli import TrainingInterruptedError
from data import Split
from losses import DSDLoss
from managers import (
    SegmentationManager,
    load_checkpoint,
    network_of,
    open_run,
    optimizer_of,
    restore,
    resume_point,
    training_callbacks,
)

CPU = torch.device("cpu")
FOLDS = [Split(("a", "b"), ("c",), ("d",))]
NAMES = ("background", "anterior", "posterior")

pytestmark = pytest.mark.usefixtures("close_logs")


class Loader(list):
    """Batches that remember which epochs were asked for."""

    def __init__(self, batches):
        super().__init__(batches)
        self.sampler, self.epochs = self, []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)


def add_noise(module, args):
    """Noise from the global generator: a resumed run must go on in the same stream."""
    return (args[0] + torch.randn_like(args[0]),) if module.training else args


@pytest.fixture
def train(batches):
    """train(config, interrupt_after) -> (run folder, loader): a training as the scripts do it."""

    def run(config, interrupt_after=None, seed=0):
        torch.manual_seed(seed)
        checkpoint = resume_point(config)
        network = network_of(config)
        optimizer = optimizer_of(network, config)
        folder = open_run(config, FOLDS, CPU, checkpoint)
        history = restore(checkpoint, network, optimizer)
        network.register_forward_pre_hook(add_noise)
        manager = SegmentationManager(network, optimizer, DSDLoss(), NAMES, config.img_size)
        loader, steps = Loader(batches(2)), []

        def interrupt(module, _):
            steps.extend([1] if module.training else [])
            if interrupt_after is not None and len(steps) > interrupt_after:
                raise KeyboardInterrupt
        network.register_forward_pre_hook(interrupt)
        manager.fit(loader, config.epochs, batches(1, crops=1),
                    training_callbacks(folder, config, manager, loader, history),
                    initial_epoch=len(history), device=CPU)
        return folder, loader

    return run


def contents(folder):
    """Everything of a run that must not depend on whether it was broken off."""
    last, best = (load_checkpoint(folder / f"{name}.model") for name in ("last", "best"))
    return {"metrics": (folder / "metrics.jsonl").read_bytes(), "rng": last["rng_state"],
            "last": last["network"], "best": best["network"], "best_history": best["history"],
            "moments": last["optimizer"]["state"], "lr": last["optimizer"]["param_groups"]}


def test_resumed_to_the_bit(config, train, tmp_path):
    whole = dataclasses.replace(config(), experiment=str(tmp_path / "whole.exp"), epochs=7)
    broken = dataclasses.replace(whole, experiment=str(tmp_path / "broken.exp"))
    expected, _ = train(whole)
    with pytest.raises(TrainingInterruptedError, match="after 2 of 7 epochs"):
        train(broken, interrupt_after=5)  # in the middle of epoch 3
    folder, loader = train(dataclasses.replace(broken, resume=True), seed=99)
    assert loader.epochs == [2, 3, 4, 5, 6]
    torch.testing.assert_close(contents(folder), contents(expected), rtol=0, atol=0)
    timing = (folder / "timing.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in timing] == [1, 2, 3, 4, 5, 6, 7]


def test_nothing_to_resume(config, train):
    with pytest.raises(ValueError, match="run.exp: no run here"):
        resume_point(config("--resume"))
    train(config("--epochs", 1))
    with pytest.raises(ValueError, match="has finished 1 epochs; give more"):
        resume_point(config("--resume", "--epochs", 1))
    with pytest.warns(UserWarning, match="epochs 1 -> 2"):
        assert resume_point(config("--resume", "--epochs", 2))["history"][-1]["epoch"] == 1


def test_settings_of_other_weights_are_refused_together(config, train):
    train(config("--epochs", 1))
    other = dataclasses.replace(config("--resume"), method="basic", img_size=(16, 16, 16))
    with pytest.raises(ValueError, match=r"other settings: method dsd -> basic; img_size \[8"):
        resume_point(other)


def test_settings_that_change_how_it_goes_on_warn(config, train):
    train(config("--epochs", 1))
    with pytest.warns(UserWarning) as warned:
        resume_point(config("--resume", "--lr", 0.5, "--epochs", 4, "--num_workers", 3))
    said = sorted(str(warning.message) for warning in warned)
    assert [text.split(";")[0] for text in said] == [
        "--resume: epochs 1 -> 4", "--resume: lr 0.001 -> 0.5"]


def test_another_split_is_refused(config, train):
    folder, _ = train(config("--epochs", 1))
    settings = config("--resume")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.warns(UserWarning, match="epochs 1 -> 3"):
        checkpoint = resume_point(settings)
    with pytest.raises(ValueError, match="the cases or their split have changed"):
        open_run(settings, [Split(("a", "c"), ("b",), ("d",))], CPU, checkpoint)
    assert {path.name: path.read_bytes()
            for path in folder.iterdir() if path.is_file()} == before


def test_a_new_run_has_nothing_behind_it(tiny_network):
    network = tiny_network()
    before = [parameter.clone() for parameter in network.parameters()]
    assert restore(None, network, torch.optim.SGD(network.parameters(), 0.1)) == []
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
