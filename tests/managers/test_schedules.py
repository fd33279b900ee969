"""Learning rates per epoch, which parameters they move, and where a run computes."""

import os

import pytest
import torch
from torch import nn

from managers import choose_device, optimizer_of, seed_everything
from managers.callbacks import LearningRate
from managers.schedules import LR_SCHEDULES, constant_lr, step_lr


@pytest.mark.parametrize(("epochs", "expected"), [
    (600, {0: 8, 99: 8, 100: 4, 199: 4, 200: 2, 599: 0.25}),
    (13, {0: 8, 1: 8, 2: 4, 11: 0.25, 12: 0.125}),
    (6, {0: 8, 1: 4, 5: 0.25}),
    (5, {0: 8, 1: 4, 4: 0.5}),
    (1, {0: 8}),
])
def test_step_by_hand(epochs, expected):
    assert {epoch: step_lr(epoch, 8.0, epochs) for epoch in expected} == expected


@pytest.mark.parametrize("epochs", [1, 3, 6, 20, 100])
def test_step_is_torchs_step_lr_through_the_callback(epochs):
    ours, theirs = (torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-3) for _ in range(2))
    callback = LearningRate(ours, LR_SCHEDULES["step"], 1e-3, epochs)
    scheduler = torch.optim.lr_scheduler.StepLR(theirs, max(epochs // 6, 1), 0.5)
    for epoch in range(epochs):
        callback.on_epoch_start(epoch)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
        theirs.step()
        scheduler.step()


def test_constant():
    assert LR_SCHEDULES["constant"] is constant_lr
    assert {constant_lr(epoch, 0.5, 10) for epoch in range(10)} == {0.5}


def test_adamw_leaves_frozen_parameters_out(config):
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    group, = optimizer_of(network, config("--lr", 0.5, "--weight_decay", 0.25)).param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in network[1].parameters()]
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cpu = torch.device("cpu")
    assert choose_device("auto") == choose_device("cpu") == cpu
    with pytest.warns(UserWarning, match="cuda:0: there is no CUDA GPU"):
        assert choose_device("cuda:0") == cpu
    with pytest.raises(ValueError, match="--device banana"):
        choose_device("banana")


def test_devices_with_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    first = torch.device("cuda", 0)
    assert choose_device("auto") == choose_device("cuda") == first
    with pytest.raises(ValueError, match=r"2 GPU\(s\), cuda:0 to cuda:1"):
        choose_device("cuda:2")


def test_seed_decides_the_weights(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # restored afterwards
    weights = []
    for seed in (5, 5, 6):
        seed_everything(seed)
        weights.append(nn.Linear(3, 3).weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.fixture
def as_before(monkeypatch):
    """Leave torch's switches as they were."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    yield monkeypatch
    torch.use_deterministic_algorithms(False)


def test_deterministic_sets_every_switch(as_before):
    seed_everything(5)
    assert torch.backends.cudnn.benchmark and not torch.are_deterministic_algorithms_enabled()
    seed_everything(5, deterministic=True)
    assert not torch.backends.cudnn.benchmark and torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    as_before.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # one's own choice stays
    seed_everything(5, deterministic=True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
