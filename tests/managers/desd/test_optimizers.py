"""Parameter groups, optimisers and gradients of the pre-training."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from managers.desd.lars import LARS
from managers.desd.optimizers import (
    OPTIMIZERS,
    build_optimizer,
    clip_each,
    drop_last_layer_gradients,
    parameter_groups,
    set_rates,
)
from networks.resnet.desd import build_desd

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "desd.json").read_text())["params"]


@pytest.fixture(scope="module")
def student():
    """The published student, without values."""
    with torch.device("meta"):
        return build_desd("res3d50", 60000, True)[0]


@pytest.fixture
def network():
    """Two layers with a norm between them, and a gradient on every tensor."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    return network


def test_groups_of_the_published_student(student):
    decayed, undecayed = parameter_groups(student, 1e-6)
    reference = GOLDEN["student_param_groups"]
    for group, name in ((decayed, "decayed"), (undecayed, "undecayed")):
        assert len(group["params"]) == reference[f"{name}_tensors"]
        assert sum(p.numel() for p in group["params"]) == reference[f"{name}_numel"]
    assert decayed["weight_decay"] == 1e-6
    assert undecayed["weight_decay"] == reference["undecayed_wd"] == 0


def test_biases_of_two_dimensions_do_not_decay_and_frozen_tensors_are_left_out():
    module = nn.Module()
    module.weight, module.scale = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    module.inner = nn.Module()
    module.inner.bias = nn.Parameter(torch.ones(2, 2))
    module.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    decayed, undecayed = parameter_groups(module, 0.1)
    assert [id(p) for p in decayed["params"]] == [id(module.weight)]
    assert [id(p) for p in undecayed["params"]] == [id(module.scale), id(module.inner.bias)]


@pytest.mark.parametrize(("name", "kind", "settings"), [
    ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": False, "dampening": 0}),
    ("adamw", torch.optim.AdamW, {"betas": (0.9, 0.999)}),
    ("lars", LARS, {"momentum": 0.9, "eta": 0.001})])
def test_optimisers_and_their_rates(network, name, kind, settings):
    optimizer = build_optimizer(name, parameter_groups(network, 0.1), lr=0.5)
    assert type(optimizer) is kind
    for group, decay in zip(optimizer.param_groups, (0.1, 0.0), strict=True):
        assert group.items() >= (settings | {"lr": 0.5, "weight_decay": decay}).items()
    set_rates(optimizer, 0.25, 0.2)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
        (0.25, 0.2), (0.25, 0.0)]


def test_unknown_optimiser():
    with pytest.raises(ValueError, match="'adam'; known: sgd, adamw, lars"):
        build_optimizer("adam", [], 0.1)


def test_lars_by_hand():
    """|w| = 5; g + d w = (3, -4) + (3, 4) / 2 has norm sqrt(24.25)."""
    matrix, vector = nn.Parameter(torch.tensor([[3.0, 4.0]])), nn.Parameter(torch.tensor([2.0]))
    optimizer = LARS([matrix, vector], lr=0.1, weight_decay=0.5, momentum=0.9, eta=0.01)
    matrix.grad, vector.grad = torch.tensor([[3.0, -4.0]]), torch.tensor([1.0])
    optimizer.step()
    ratio = 0.01 * 5 / math.sqrt(24.25)
    moved = [3 - 0.1 * 4.5 * ratio, 4 + 0.1 * 2 * ratio]
    assert matrix.tolist()[0] == pytest.approx(moved) and vector.item() == pytest.approx(1.9)
    optimizer.step()
    assert vector.item() == pytest.approx(1.9 - 0.1 * 1.9)  # velocity 0.9 + 1


def written_out(weights, velocities, gradients, lr, weight_decay, momentum, eta):
    """One LARS step, tensor by tensor."""
    for w, v, g in zip(weights, velocities, gradients, strict=True):
        update = g.clone()
        if w.ndim != 1:
            update += weight_decay * w
            if w.norm() > 0 and update.norm() > 0:
                update *= eta * w.norm() / update.norm()
        v.mul_(momentum).add_(update)
        w.sub_(lr * v)


def test_lars_is_its_algebra_over_steps_and_resumes():
    generator = torch.Generator().manual_seed(0)

    def draw(shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    shapes = [(3, 2), (4,), (2, 2, 1), (2, 2), ()]
    start = [draw(shape) for shape in shapes]
    start[2].zero_()  # a zero norm
    weights = [nn.Parameter(w.clone()) for w in start]
    expected, velocities = [w.clone() for w in start], [torch.zeros_like(w) for w in start]
    settings = {"lr": 0.3, "weight_decay": 0.2, "momentum": 0.8, "eta": 0.5}
    optimizer = LARS(weights, **settings)
    for step in range(5):
        gradients = [draw(shape) for shape in shapes]
        for w, g in zip(weights, gradients, strict=True):
            w.grad = g.clone()
        if step == 3:  # another object goes on with the state
            state = optimizer.state_dict()
            optimizer = LARS(weights, lr=9.0)
            optimizer.load_state_dict(state)
        optimizer.step()
        written_out(expected, velocities, gradients, **settings)
        for w, g, e in zip(weights, gradients, expected, strict=True):
            torch.testing.assert_close(w.detach(), e, rtol=1e-12, atol=1e-12)
            assert torch.equal(w.grad, g), "a step must leave the gradients"


def test_lars_of_zero_tensors_stays_finite():
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.zeros(2, 2)
    LARS([weight], lr=1.0, weight_decay=0.1).step()
    assert torch.equal(weight.detach(), torch.zeros(2, 2))


def test_lars_values_out_of_range_and_closure():
    with pytest.raises(ValueError) as error:
        LARS([nn.Parameter(torch.ones(1))], -1, math.nan, -1, 0)
    assert str(error.value).count("must be") == 4
    weight = nn.Parameter(torch.ones(1))

    def closure():
        loss = 2 * weight.sum()
        loss.backward()
        return loss
    assert LARS([weight], lr=0.25).step(closure).item() == 2 and weight.item() == 0.5


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_tensors_without_a_gradient_are_skipped(network, name):
    optimizer = build_optimizer(name, parameter_groups(network, 0.5), lr=0.1)
    optimizer.step()
    frozen, moving = network[0].weight, network[2].weight
    before = frozen.clone(), moving.clone()
    frozen.grad = None
    optimizer.step()
    assert torch.equal(frozen, before[0]) and not torch.equal(moving, before[1])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_under_a_gradient_scaler(network, name):
    optimizer = build_optimizer(name, parameter_groups(network, 0.0), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    plain = [parameter.detach().clone() for parameter in network.parameters()]
    unscaled = [parameter.grad.clone() for parameter in network.parameters()]
    scaler.scale(torch.ones(()))  # starts the scaler
    for parameter in network.parameters():
        parameter.grad *= 1024
    scaler.unscale_(optimizer)
    for parameter, gradient in zip(network.parameters(), unscaled, strict=True):
        assert torch.equal(parameter.grad, gradient)
    scaler.step(optimizer)
    scaler.update()
    assert all(not torch.equal(p, before)
               for p, before in zip(network.parameters(), plain, strict=True))
    stepped = [parameter.detach().clone() for parameter in network.parameters()]
    next(network.parameters()).grad.fill_(math.inf)
    scaler.step(optimizer)  # unscales by itself, finds it and does not step
    assert all(torch.equal(p, before)
               for p, before in zip(network.parameters(), stepped, strict=True))


def test_clip_by_hand():
    long, short, without = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    long.grad, short.grad = torch.tensor([6.0, 8.0]), torch.tensor([0.3, 0.4])
    clip_each([long, without, short], limit=2.0)
    assert long.grad.tolist() == pytest.approx([1.2, 1.6], rel=1e-6)
    assert short.grad.tolist() == torch.tensor([0.3, 0.4]).tolist() and without.grad is None
    clip_each([without], 2.0)
    zero = nn.Parameter(torch.zeros(2))
    zero.grad = torch.zeros(2)
    clip_each([zero], 2.0)
    assert zero.grad.tolist() == [0.0, 0.0]


def test_gradients_of_the_published_last_layers(student):
    for parameter in student.parameters():
        parameter.grad = torch.zeros_like(parameter)
    drop_last_layer_gradients(student)
    dropped = [name for name, parameter in student.named_parameters() if parameter.grad is None]
    assert sorted(dropped) == GOLDEN["frozen_first_epoch_tensors"]


def test_runs_without_values(student):
    """Tensors without data: nothing may read one on the way."""
    for parameter in student.parameters():
        parameter.grad = torch.zeros_like(parameter)
    clip_each(student.parameters(), 3.0)
    build_optimizer("lars", parameter_groups(student, 0.1), 0.1).step()
    assert all(parameter.is_meta for parameter in student.parameters())
