"""A training step takes side logits a piece at a time: the gradients of the whole volumes."""

import pytest
import torch
from torch.testing import assert_close

from losses import DSDLoss, dsd_loss
from networks import LastStep, build_network

OPTIONS = {
    "unetr": {"feature_size": 4, "hidden_size": 48, "mlp_dim": 96, "num_heads": 4},
    "swinunetr": {"feature_size": 12},
    "nnunet": {"filters": (4, 5, 6, 7, 8)},
    "vnet": {},
    "nnunet ": {"filters": (4, 5, 6), "strides": (1, (2, 2, 1), (2, 1, 2))},
}


@pytest.mark.parametrize("upsampling", ["shared", "single", "trilinear"])
@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_of_the_step(manager_of, name, upsampling):
    if name.strip() != "nnunet" and upsampling != "shared":
        pytest.skip("how heads go to full size does not depend on the network")
    torch.manual_seed(0)
    network = build_network(name.strip(), 1, 3, (64, 32, 32), True, upsampling=upsampling,
                            **OPTIONS[name]).train()
    for module in network.modules():  # dropout draws anew in each pass
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
    images, label = torch.randn(1, 1, 64, 32, 32), torch.randint(0, 3, (1, 1, 64, 32, 32))
    by_name = {name: p for name, p in network.named_parameters() if p.requires_grad}
    plain = dsd_loss(network(images), label)[0]
    expected = torch.autograd.grad(plain, list(by_name.values()), allow_unused=True)

    outputs = network(images, whole=False)
    steps = [isinstance(head, LastStep) for branch in ("dec", "enc") for head in outputs[branch]]
    assert any(steps) == (upsampling != "trilinear")
    manager = manager_of(network, DSDLoss(), lr=0.0)
    manager.model.train()
    manager.train_step(images, label)
    assert_close(manager.loss_fn.result, plain.detach(), rtol=1e-5, atol=1e-5)
    norm = torch.stack([grad.norm() for grad in expected if grad is not None]).max()
    for (name, parameter), grad in zip(by_name.items(), expected, strict=True):
        assert (parameter.grad is None) == (grad is None), name
        if grad is not None:
            assert_close(parameter.grad / norm, grad / norm, rtol=1e-3, atol=1e-5,
                         msg=lambda text, name=name: f"{name}: {text}")
