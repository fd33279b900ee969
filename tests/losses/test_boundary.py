"""The boundary loss: by hand, properties, and every number of the reference."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from losses import boundary_loss, boundary_weight

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "dsd_boundary.json").read_text())
NUM_CLASSES = 5

dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


def distance_map(mask: np.ndarray) -> np.ndarray:
    """Voxels to the mask outside it; inside, minus the distance to its boundary voxels."""
    if not mask.any():
        return np.zeros(mask.shape)
    return np.where(mask, 1 - distance_transform_edt(mask), distance_transform_edt(~mask))


@pytest.fixture(scope="module")
def label():
    """The label volume (16, 16, 16) of the reference: a ball, a cube, a box at the border."""
    i, j, k = np.indices((16, 16, 16))
    label = np.zeros((16, 16, 16), int)
    label[(i - 5) ** 2 + (j - 5) ** 2 + (k - 5) ** 2 <= 9] = 1
    label[9:14, 2:7, 8:13] = 2
    label[1:3, 12:15, 12:16] = 3
    return label


@pytest.fixture(scope="module")
def dist_map(label):
    """Its distance maps (1, 5, 16, 16, 16), that of the background 0."""
    maps = [np.zeros(label.shape), *(distance_map(label == c) for c in range(1, NUM_CLASSES))]
    return torch.from_numpy(np.stack(maps)).float()[None]


@pytest.fixture
def heads(dtype):
    """The four logit volumes of the reference, as leaves."""
    return [(torch.randn(1, NUM_CLASSES, 16, 16, 16,
                         generator=torch.Generator().manual_seed(200 + i)) * 2)
            .to(getattr(torch, dtype)).requires_grad_() for i in range(4)]


def test_the_maps_are_the_references(label, dist_map):
    reference = GOLDEN["resolution_1_1_1"]
    for c, one_map in enumerate(dist_map[0].double()):
        expected = reference[f"class{c}"]
        assert (label == c).sum() == expected["n_voxels"]
        assert one_map.sum().item() == pytest.approx(expected["sum"], rel=1e-12)
        assert (one_map.min().item(), one_map.max().item()) == (expected["min"], expected["max"])
        assert (one_map < 0).sum() == expected["n_negative"]
        assert (one_map == 0).sum() == expected["n_zero"]


@dtypes
def test_each_head(dist_map, heads, dtype):
    reference = GOLDEN[f"loss_{dtype}"]
    values = [boundary_loss(logits, dist_map).item() for logits in heads]
    assert values == pytest.approx(reference["per_head"], rel=1e-6)
    rel = 1e-12 if dtype == "float64" else 1e-6
    assert values == pytest.approx(reference["per_head_float64_formula"], rel=rel)


@dtypes
@pytest.mark.parametrize("beta", ["1e-06", "0.001001", "0.5"])
def test_weighted_sum_and_its_gradients(dist_map, heads, dtype, beta):
    reference = GOLDEN[f"loss_{dtype}"]
    total = float(beta) * sum(boundary_loss(logits, dist_map) for logits in heads)
    assert total.item() == pytest.approx(reference[f"total_beta_{beta}"], rel=1e-6)
    norms = [grad.norm().item() for grad in torch.autograd.grad(total, heads)]
    assert norms == pytest.approx(reference[f"grad_norms_beta_{beta}"], rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32"])
def test_main_output_alone(dist_map, heads):
    value = 0.5 * boundary_loss(heads[0], dist_map).item()
    expected = GOLDEN["loss_float32"]["eval_mode_tensor_beta_0.5"]
    assert value == pytest.approx(expected, rel=1e-6)


def test_a_near_perfect_prediction_is_negative(label, dist_map):
    one_hot = np.stack([label == c for c in range(NUM_CLASSES)])[None]
    logits = torch.from_numpy(np.where(one_hot, 20.0, -20.0)).float()
    expected = GOLDEN["loss_float32"]["perfect_onehot_logits_pm20"]
    assert expected < 0
    assert boundary_loss(logits, dist_map).item() == pytest.approx(expected, rel=1e-6)


def test_two_voxels_by_hand():
    # probabilities of classes 0, 1, 2: (1/2, 1/4, 1/4) and (1/5, 3/5, 1/5)
    probs = torch.tensor([[0.5, 0.2], [0.25, 0.6], [0.25, 0.2]], dtype=torch.float64)
    maps = torch.tensor([[7.0, 7.0], [-1.0, 2.0], [0.0, -3.0]])
    value = boundary_loss(probs.log().view(1, 3, 2, 1, 1), maps.view(1, 3, 2, 1, 1))
    # background not read: -1/4 + 6/5 + 0 - 3/5 over two classes and two voxels
    assert value.item() == pytest.approx((-0.25 + 1.2 - 0.6) / 4, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), factor=st.floats(-4, 4), classes=st.integers(2, 4))
def test_linear_in_the_map_and_bounded_by_it(seed, factor, classes):
    generator = torch.Generator().manual_seed(seed)
    logits, first, second = (3 * torch.randn(2, classes, 2, 3, 2, generator=generator,
                                             dtype=torch.float64) for _ in range(3))
    value = boundary_loss(logits, first).item()
    both = boundary_loss(logits, first + factor * second).item()
    assert both == pytest.approx(value + factor * boundary_loss(logits, second).item(), abs=1e-12)
    assert abs(value) <= first[:, 1:].abs().max() / (classes - 1)
    assert boundary_loss(logits + factor, first).item() == pytest.approx(value, abs=1e-12)


def test_gradcheck():
    generator = torch.Generator().manual_seed(0)
    logits, maps = (torch.randn(1, 3, 2, 1, 2, generator=generator, dtype=torch.float64)
                    for _ in range(2))
    assert torch.autograd.gradcheck(lambda z: boundary_loss(z, maps), logits.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_are_averaged_in_float32(dtype):
    # 48^3 voxels 100 mm away: a sum of 2.8 million, above float16's 65,504
    logits = torch.randn(1, 2, 48, 48, 48, generator=torch.Generator().manual_seed(0)).to(dtype)
    maps = torch.full(logits.shape, 100.0)
    value = boundary_loss(logits, maps)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(boundary_loss(logits.double(), maps).item(), rel=1e-5)


def test_maps_of_another_shape():
    with pytest.raises(AssertionError):
        boundary_loss(torch.zeros(1, 2, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2))


def test_weight_of_an_epoch():
    assert boundary_weight(0) == 1e-6
    assert boundary_weight(1) == pytest.approx(0.001001)
    assert boundary_weight(599) == pytest.approx(0.599001)
    assert boundary_weight(3, start=0.5, step=0.25) == 1.25
    accumulated = math.fsum([1e-6, *[1e-3] * 299])
    assert boundary_weight(299) == pytest.approx(accumulated)
