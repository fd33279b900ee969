"""Training over epochs: when it validates, how it ends, what errors say."""

import copy
import re

import pytest
import torch
from torchmanager import Manager
from torchmanager.callbacks import Callback
from torchmanager_core.errors import StopTraining

from losses import DSDLoss, dice_ce, dsd_loss
from managers import TrainingError, load_checkpoint
from managers.callbacks import Record
from managers.runs.checkpoints import SaveCheckpoints
from system.exit import TrainingInterruptedError

CPU = torch.device("cpu")


class Diary(Callback):
    """What each epoch handed to its callbacks."""

    def __init__(self):
        self.training, self.validation = [], []

    def on_epoch_end(self, epoch, summary=None, val_summary=None):
        self.training.append(dict(summary))
        self.validation.append(val_summary)


def fail_at(network, error, call):
    """Make the network raise `error` in its `call`-th training forward pass, counted from 1."""
    seen = []

    def hook(module, _):
        if module.training:
            seen.append(1)
            if len(seen) == call:
                raise error
    network.register_forward_pre_hook(hook)


@pytest.mark.parametrize(("val_every", "due"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_validates_when_due_and_after_the_last_epoch(tiny_network, manager_of, batches, val_every,
                                                     due):
    manager, diary = manager_of(tiny_network(), val_every=val_every), Diary()
    network = manager.fit(batches(1), 5, batches(1, crops=1), [diary], device=CPU)
    assert network is manager.model
    validated = [epoch for epoch, values in enumerate(diary.validation, start=1) if values]
    assert validated == due
    assert all("dice" in diary.validation[epoch - 1] for epoch in due)
    assert len(diary.training) == 5
    assert "dice" in manager.test(batches(1, crops=1), device=CPU)  # outside fit, always


class Stop(Callback):
    """Ends training after a 0-based epoch, as torchmanager's callbacks do."""

    def __init__(self, last):
        self.last = last

    def on_epoch_end(self, epoch, summary=None, val_summary=None):
        if epoch == self.last:
            raise StopTraining(epoch)


def test_a_callback_ends_training(tiny_network, manager_of, batches):
    manager, diary = manager_of(tiny_network()), Diary()
    network = manager.fit(batches(1), 5, batches(1, crops=1), [diary, Stop(1)], device=CPU)
    assert network is manager.model and len(diary.training) == 2


def test_each_epoch_has_a_mean_of_its_own(tiny_network, manager_of, batches):
    manager, diary, data = manager_of(tiny_network()), Diary(), batches(2)
    by_hand = copy.deepcopy(manager.model).train()
    optimizer = torch.optim.SGD(by_hand.parameters(), 0.01)
    manager.fit(data, 3, batches(1, crops=1), [diary], device=CPU)
    for summary in diary.training:
        losses = []
        for batch in data:
            loss, _ = dsd_loss(by_hand(batch["image"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert summary["loss"] == pytest.approx(sum(losses) / 2, rel=1e-4)
    assert diary.training[2]["loss"] < diary.training[0]["loss"]


def test_the_validation_loss_is_the_mean_dice_ce_of_the_cases(tiny_network, manager_of, batches):
    manager, data = manager_of(tiny_network()), batches(3, crops=1)
    summary = manager.test(data, device=CPU)
    with torch.no_grad():
        losses = [dice_ce(manager.model(batch["image"]), batch["label"]).item() for batch in data]
    assert summary["loss"] == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_initial_epoch(tiny_network, manager_of, batches):
    manager, diary = manager_of(tiny_network(), val_every=2), Diary()
    manager.fit(batches(1), 5, batches(1, crops=1), [diary], initial_epoch=2, device=CPU)
    assert [bool(values) for values in diary.validation] == [False, True, True]  # 3, 4 and 5


def test_interrupted_in_a_step(tiny_network, manager_of, batches):
    manager, diary = manager_of(tiny_network()), Diary()
    fail_at(manager.model, KeyboardInterrupt(), call=5)
    with pytest.raises(TrainingInterruptedError, match="after 2 of 4 epochs"):
        manager.fit(batches(2), 4, callbacks_list=[diary], device=CPU)
    assert len(diary.training) == 2


def test_interrupted_in_a_validation(tiny_network, manager_of, batches):
    manager, diary = manager_of(tiny_network()), Diary()

    def interrupt(module, _):
        if not module.training:
            raise KeyboardInterrupt
    manager.model.register_forward_pre_hook(interrupt)
    with pytest.raises(TrainingInterruptedError):
        manager.fit(batches(1), 3, batches(1, crops=1), [diary], device=CPU)


def test_an_error_in_a_step_names_epoch_and_step(tiny_network, manager_of, batches):
    manager, error = manager_of(tiny_network()), MemoryError("no room")
    fail_at(manager.model, error, call=6)
    with pytest.raises(TrainingError, match="epoch 2, step 3: MemoryError: no room") as raised:
        manager.fit(batches(3), 4, device=CPU)
    causes = [raised.value]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    assert causes[-1] is error


def test_an_error_in_a_validation_names_its_cause(tiny_network, manager_of, batches):
    manager = manager_of(tiny_network())
    volumes = batches(1, crops=1)
    volumes[0]["label"][0, 0, 0, 0, 0] = 7  # a class that is none
    with pytest.raises(TrainingError, match=r"epoch 1, validation.*: \w*Error: ") as raised:
        manager.fit(batches(2), 4, volumes, device=CPU)
    assert "TestingError" not in str(raised.value)


def test_an_error_is_told_in_its_own_words_not_in_those_of_its_cause(tiny_network, manager_of,
                                                                    batches):
    error = RuntimeError("tile7.nii: cannot be read")
    error.__cause__ = OSError("short read")
    manager = manager_of(tiny_network())
    fail_at(manager.model, error, call=1)
    with pytest.raises(TrainingError, match="step 1: RuntimeError: tile7.nii: cannot be read$"):
        manager.fit(batches(1), 1, device=CPU)


class Hooks(Callback):
    """Which hooks were called, in order, with what."""

    def __init__(self):
        self.calls = []

    def on_train_start(self, initial_epoch=0):
        self.calls.append(("train start", initial_epoch))

    def on_epoch_start(self, epoch):
        self.calls.append(("epoch start", epoch))

    def on_batch_start(self, batch):
        self.calls.append(("batch start", batch))

    def on_batch_end(self, batch, summary=None):
        self.calls.append(("batch end", batch, summary))

    def on_epoch_end(self, epoch, summary=None, val_summary=None):
        self.calls.append(("epoch end", epoch, summary, val_summary))

    def on_train_end(self, model):
        weights = {name: value.tolist() for name, value in model.state_dict().items()}
        self.calls.append(("train end", weights))


def test_the_loop_is_torchmanagers_to_the_bit(tiny_network, manager_of, batches, monkeypatch):
    ours, theirs = Hooks(), Hooks()
    manager_of(tiny_network()).fit(batches(2), 3, batches(1, crops=1), [ours], initial_epoch=1,
                                   device=CPU)
    manager = manager_of(tiny_network())
    test = manager.test
    monkeypatch.setattr(manager, "test", lambda dataset, **_: test(dataset))
    Manager.fit(manager, batches(2), 3, batches(1, crops=1), [theirs], initial_epoch=1, device=CPU)
    assert ours.calls == theirs.calls and len(ours.calls) == 14


def run_with_files(manager, batches, config, folder, epochs):
    """Fit with the callbacks that write files."""
    history = []
    callbacks = [Record(folder, manager.compiled_optimizer, epochs, history),
                 SaveCheckpoints(folder, manager, history, config.to_dict())]
    manager.fit(batches(2), epochs, batches(1, crops=1), callbacks, device=CPU)


def all_finite(path):
    return all(value.isfinite().all() for value in load_checkpoint(path)["network"].values())


def test_a_nan_loss_stops_with_the_last_good_epoch_on_disk(tiny_network, manager_of, batches,
                                                            config, tmp_path):
    class BreaksInTheThirdStep(DSDLoss):
        steps = 0

        def terms(self, outputs, label):
            total, terms = super().terms(outputs, label)
            self.steps += isinstance(outputs, dict)
            return (total * torch.nan if self.steps == 3 else total), terms

    manager = manager_of(tiny_network(), BreaksInTheThirdStep())
    with pytest.raises(TrainingError, match="epoch 2, .*not finite any more .loss nan"):
        run_with_files(manager, batches, config(), tmp_path, 3)
    assert load_checkpoint(tmp_path / "last.model")["history"][-1]["epoch"] == 1
    assert all_finite(tmp_path / "last.model")
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("val_every", [1, 9])
def test_weights_broken_by_an_epochs_last_step_are_not_saved(tiny_network, manager_of, batches,
                                                             config, tmp_path, val_every):
    # The losses of epoch 2 are finite, but its last gradient is not: the weights are NaN, and
    # last.model must still be the good one of epoch 1, whether epoch 2 is validated or not.
    manager = manager_of(tiny_network(), val_every=val_every)
    parameter, steps = next(manager.model.parameters()), []

    def spoil(gradient):
        steps.append(1)
        return gradient * torch.nan if len(steps) == 4 else gradient
    parameter.register_hook(spoil)
    with pytest.raises(TrainingError, match=re.escape("last good epoch is in last.model")):
        run_with_files(manager, batches, config(), tmp_path, 3)
    assert all_finite(tmp_path / "last.model")
