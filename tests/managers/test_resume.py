"""A run continued after its last finished epoch is the run that was never broken off."""

import dataclasses
import json
import os
import random
import signal

import numpy as np
import pytest
import torch

from data import Split
from losses import DSDLoss
from managers import (
    SegmentationManager,
    TrainingError,
    load_checkpoint,
    network_of,
    open_run,
    optimizer_of,
    restore,
    resume_point,
    seed_everything,
)
from managers.runs.trained_with import preprocessing_of
from managers.segmentation import training_recipe
from managers.segmentation.training_recipe import fit_run
from system.exit import TrainingInterruptedError
from system.faults import remedy

CPU = torch.device("cpu")
FOLDS = [Split(("a", "b"), ("c",), ("d",))]
NAMES = ("background", "anterior", "posterior")

pytestmark = pytest.mark.usefixtures("close_logs")


class Loader(list):
    """Batches that remember which epochs were asked for, and begin where they are told to."""

    batch_size = 1

    def __init__(self, batches):
        super().__init__(batches)
        self.batch_sampler = self.sampler = self
        self.epochs, self.start = [], 0

    def set_epoch(self, epoch, start=0):
        self.epochs.append(epoch)
        self.start = start

    def __iter__(self):
        return iter(self[self.start:])


def add_noise(module, args):
    """Noise from the global generators: a resumed run must go on in the same streams."""
    if not module.training:
        return args
    scale = random.random() + np.random.random()
    return (args[0] + scale * torch.randn_like(args[0]),)


@pytest.fixture
def train(batches):
    """train(config, interrupt_after) -> (run folder, loader): a training as the scripts do it.

    `interrupt(steps)` is called in each forward pass of the network, with the training steps so
    far, the one under way among them, and whether this is one.
    """

    def run(config, interrupt=lambda steps, training: None, seed=0):
        seed_everything(seed)
        checkpoint = resume_point(config)
        network = network_of(config)
        optimizer = optimizer_of(network, config)
        folder = open_run(config, FOLDS, CPU, checkpoint)
        history = restore(checkpoint, network, optimizer)
        network.register_forward_pre_hook(add_noise)
        manager = SegmentationManager(network, optimizer, DSDLoss(), NAMES, config.img_size)
        manager.go_on_from(checkpoint)
        loader, steps = Loader(batches(3)), []

        def watch(module, _):
            steps.extend([1] if module.training else [])
            interrupt(len(steps), module.training)
        network.register_forward_pre_hook(watch)
        fit_run(manager, config, folder, history, loader, batches(2, crops=1), CPU)
        return folder, loader

    return run


def contents(folder):
    """Everything of a run that must not depend on whether it was broken off."""
    last, best = (load_checkpoint(folder / f"{name}.model") for name in ("last", "best"))
    assert not (folder / "interrupted.model").exists()
    return {"metrics": (folder / "metrics.jsonl").read_bytes(), "rng": last["rng_state"],
            "python": last["python_rng_state"], "numpy": last["numpy_rng_state"][1:3],
            "last": last["network"], "best": best["network"], "best_history": best["history"],
            "moments": last["optimizer"]["state"], "lr": last["optimizer"]["param_groups"]}


def in_step(number, stop):
    """Calls `stop` in that training step, counted from 1 over all epochs."""
    return lambda steps, training: stop() if training and steps == number else None


def in_validation(epoch, stop):
    """Calls `stop` in the first of two validations of that epoch, which has 3 steps."""
    return lambda steps, training: stop() if not training and steps == 3 * epoch else None


def raise_interrupt():
    raise KeyboardInterrupt


def send(number):
    """Sends this process a signal, as ^C or Slurm do."""
    return lambda: os.kill(os.getpid(), number)


TERM = send(signal.SIGTERM)


@pytest.mark.parametrize(("interrupt", "said", "epochs"), [
    (in_step(8, raise_interrupt), "stopped after 2 of 4 epochs; --resume", [2, 3]),
    (in_step(2, TERM), "SIGTERM after 0 of 4 epochs and 2 steps", [0, 1, 2, 3]),
    (in_step(8, send(signal.SIGINT)), "SIGINT after 2 of 4 epochs and 2 steps", [2, 3]),
    (in_step(6, send(signal.SIGUSR1)), "SIGUSR1 after 1 of 4 epochs and 3 steps", [1, 2, 3]),
    (in_validation(2, TERM), "SIGTERM after 1 of 4 epochs and 3 steps", [1, 2, 3]),
    (in_validation(4, TERM), "SIGTERM after 3 of 4 epochs and 3 steps", [3]),
], ids=["at once", "first epoch", "step", "last step", "validation", "last validation"])
def test_resumed_to_the_bit(config, train, tmp_path, interrupt, said, epochs):
    whole = dataclasses.replace(config(), experiment=str(tmp_path / "whole.exp"), epochs=4)
    broken = dataclasses.replace(whole, experiment=str(tmp_path / "broken.exp"))
    expected, _ = train(whole)
    with pytest.raises(TrainingInterruptedError, match=said):
        train(broken, interrupt)
    folder, loader = train(dataclasses.replace(broken, resume=True), seed=99)
    assert loader.epochs == epochs
    torch.testing.assert_close(contents(folder), contents(expected), rtol=0, atol=0)
    timing = (folder / "timing.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in timing] == [1, 2, 3, 4]


def test_broken_off_twice_in_an_epoch(config, train, tmp_path):
    whole = dataclasses.replace(config(), experiment=str(tmp_path / "whole.exp"))
    broken = dataclasses.replace(whole, experiment=str(tmp_path / "broken.exp"))
    expected, _ = train(whole)
    for resume, steps, seed in ((False, 1, 0), (True, 2, 7)):
        with pytest.raises(TrainingInterruptedError, match=f"0 of 3 epochs and {steps} steps"):
            train(dataclasses.replace(broken, resume=resume), in_step(1, TERM), seed)
    folder, _ = train(dataclasses.replace(broken, resume=True), seed=99)
    torch.testing.assert_close(contents(folder), contents(expected), rtol=0, atol=0)


def signalled_twice():
    send(signal.SIGTERM)()
    send(signal.SIGINT)()


def test_a_second_signal_ends_at_once(config, train):
    with pytest.raises(TrainingInterruptedError, match="after 0 of 3 epochs; nothing is kept"):
        train(config(), in_step(2, signalled_twice))
    with pytest.warns(UserWarning, match="has no checkpoint yet; it starts over"):
        folder, loader = train(config("--resume"))
    assert loader.epochs == [0, 1, 2]
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3


def out_of_memory():
    raise torch.OutOfMemoryError("CUDA out of memory")


class Killed(BaseException):
    """Nothing in the loop handles it, as nothing handles SIGKILL."""


def killed():
    raise Killed


@pytest.mark.parametrize(("stop", "raised", "said"), [
    (out_of_memory, TrainingError, "epoch 2, validation, before which its steps were saved: OutOf"),
    (signalled_twice, TrainingInterruptedError, "after 1 of 3 epochs and 3 steps of the next"),
    (killed, Killed, "^$"),
], ids=["error", "second signal", "kill"])
def test_a_validation_that_fails_costs_no_step(config, train, tmp_path, stop, raised, said):
    whole = dataclasses.replace(config(), experiment=str(tmp_path / "whole.exp"))
    broken = dataclasses.replace(whole, experiment=str(tmp_path / "broken.exp"))
    expected, _ = train(whole)
    with pytest.raises(raised, match=said) as failure:
        train(broken, in_validation(2, stop))
    if stop is out_of_memory:
        assert "--img_size (now 8 8 8)" in remedy(failure.value, "train_basic.py")
    assert load_checkpoint(tmp_path / "broken.exp" / "interrupted.model")["position"]["steps"] == 3
    steps = []
    folder, loader = train(dataclasses.replace(broken, resume=True),
                           lambda done, training: steps.append(training), seed=99)
    assert loader.epochs == [1, 2]
    assert steps[0] is False and steps.count(True) == 3  # the second epoch is validated alone
    torch.testing.assert_close(contents(folder), contents(expected), rtol=0, atol=0)


def test_weights_that_are_not_finite_are_no_place_to_go_on_from(config, train):
    def poison(steps, training):
        if not training and steps == 6:
            raise AssertionError("validated")

    class Poisoned(torch.optim.AdamW):
        def step(self, *args, **kwargs):
            super().step(*args, **kwargs)
            self.done = getattr(self, "done", 0) + 1
            if self.done == 6:
                self.param_groups[0]["params"][0].data.fill_(torch.nan)

    before = training_recipe.OPTIMIZERS["adamw"]
    training_recipe.OPTIMIZERS["adamw"] = Poisoned
    try:
        with pytest.raises(TrainingError, match="epoch 2, step 3: AssertionError: validated"):
            train(config(), poison)
    finally:
        training_recipe.OPTIMIZERS["adamw"] = before
    assert resume_point(config("--resume"))["history"][-1]["epoch"] == 1
    assert resume_point(config("--resume"))["position"] is None


def test_other_steps_start_the_epoch_over(config, train):
    with pytest.raises(TrainingInterruptedError):
        train(config(), in_step(5, TERM))
    with pytest.warns(UserWarning, match="the interrupted epoch starts over"):
        checkpoint = resume_point(config("--resume", "--batch_size", 3))
    assert len(checkpoint["history"]) == 1 and checkpoint["position"] is None
    assert resume_point(config("--resume"))["position"]["steps"] == 2


def test_an_attempt_with_other_steps_leaves_the_broken_epoch_as_it_was(config, train):
    """config.json has the batch size of that attempt, and interrupted.model its own."""
    with pytest.raises(TrainingInterruptedError):
        train(config(), in_step(5, TERM))
    larger = config("--resume", "--batch_size", 3)
    for _ in range(2):
        with pytest.warns(UserWarning, match="the interrupted epoch starts over"):
            checkpoint = resume_point(larger)
        assert checkpoint["position"] is None
        open_run(larger, FOLDS, CPU, checkpoint)  # and then it is killed
    with pytest.warns(UserWarning, match="batch_size 3 -> "):
        assert resume_point(config("--resume"))["position"]["steps"] == 2


def test_a_run_without_its_scores_is_not_finished(config, train):
    folder, _ = train(config())
    again, loader = train(config("--resume"))
    assert loader.epochs == []  # nothing is left to be trained, but the scores are
    (folder / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match="has finished 3 epochs"):
        resume_point(config("--resume"))


def test_nothing_to_resume(config, train):
    with pytest.raises(ValueError, match="run.exp: no run here"):
        resume_point(config("--resume"))
    train(config("--epochs", 1))
    with pytest.warns(UserWarning, match="epochs 1 -> 2"):
        saved = resume_point(config("--resume", "--epochs", 2))
    assert saved["history"][-1]["epoch"] == 1
    assert saved["preprocessing"] == preprocessing_of(config())


def test_a_run_without_its_checkpoint_is_not_replaced(config, train):
    folder, _ = train(config("--epochs", 2))
    (folder / "last.model").unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(ValueError, match="has trained 2 epoch.*last.model is gone"):
        train(config("--resume", "--epochs", 4))
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_another_fold_cannot_go_on(config, train):
    train(config("--epochs", 1))
    with pytest.raises(ValueError, match="cannot be resumed.*fold 1 -> 2"):
        resume_point(config("--resume", "--epochs", 2, "--fold", 2))


def test_a_changed_weight_decay_takes_effect_and_other_first_weights_are_said_not_to(config, train):
    train(config("--epochs", 1))
    now = dataclasses.replace(config("--resume", "--epochs", 2, "--weight_decay", 0.25),
                              init_from="A.model")
    with pytest.warns(UserWarning) as said:
        checkpoint = resume_point(now)
    said = [str(warning.message) for warning in said]
    assert any("weight_decay" in text and "goes on with the new value" in text for text in said)
    assert any("init_from" in text and "has no effect" in text for text in said)
    network = network_of(now)
    optimizer = optimizer_of(network, now)
    restore(checkpoint, network, optimizer)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.25]


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
