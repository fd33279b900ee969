"""The other ways to pool and to upsample have torch's values and gradients."""

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate
from torch.testing import assert_close

from losses import DSDLoss
from networks import build_network
from networks.deterministic import MaxPool3d, Trilinear, is_asked_for, max_pool3d, trilinear


def with_gradient(function, features):
    """What it gives, and the gradient of a weighted sum of that."""
    features = features.clone().requires_grad_()
    result = function(features)
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)
    (result * weights).sum().backward()
    return result.detach(), features.grad


@pytest.mark.parametrize("size", [(8, 6, 4), (7, 5, 9), (1, 2, 3)])
def test_max_pooling(size):
    features = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).double()
    ours = with_gradient(lambda x: max_pool3d(x, 3, 2, 1), features)
    torchs = with_gradient(nn.MaxPool3d(3, 2, 1), features)
    for one, other in zip(ours, torchs, strict=True):
        assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("scale", [(2, 2, 1), (4, 2, 8), (1, 1, 1)])
def test_upsampling(scale, align_corners):
    features = torch.randn(2, 3, 4, 3, 2, generator=torch.Generator().manual_seed(0))
    ours = with_gradient(lambda x: trilinear(x, scale, align_corners), features)
    torchs = with_gradient(lambda x: interpolate(
        x, scale_factor=scale, mode="trilinear", align_corners=align_corners), features)
    for one, other in zip(ours, torchs, strict=True):
        assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_on_a_cpu_the_layers_are_torchs():
    features = torch.randn(1, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.use_deterministic_algorithms(True)
    try:
        assert not is_asked_for(features)
        assert torch.equal(MaxPool3d(3, 2, 1)(features), nn.MaxPool3d(3, 2, 1)(features))
        assert torch.equal(Trilinear((2, 2, 1), True)(features), interpolate(
            features, scale_factor=(2, 2, 1), mode="trilinear", align_corners=True))
    finally:
        torch.use_deterministic_algorithms(False)


NETWORKS = {
    "unetr": ((32, 32, 32), {"feature_size": 4}),
    "swinunetr": ((64, 64, 64), {"feature_size": 12}),
    "nnunet": ((16, 16, 16), {"filters": (4, 8, 8)}),
    "vnet": ((32, 32, 32), {}),
    "resnet10-unet": ((64, 64, 16), {}),
}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("upsampling", ["shared", "trilinear"])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_step_twice_on_a_gpu(name, upsampling, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    size, options = NETWORKS[name]
    torch.use_deterministic_algorithms(True)
    try:
        gradients = []
        for _ in range(2):
            torch.manual_seed(0)
            network = build_network(name, 1, 3, size, True, upsampling=upsampling, **options).cuda()
            images = torch.randn(2, 1, *size, device="cuda")
            label = torch.randint(0, 3, (2, 1, *size), device="cuda")
            DSDLoss()(network(images, whole=False), label).backward()
            gradients.append([p.grad for p in network.parameters() if p.grad is not None])
        assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
    finally:
        torch.use_deterministic_algorithms(False)
