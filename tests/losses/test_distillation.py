"""The pixel-wise KL: by hand, its closed-form gradients, and confident teachers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losses import pixelwise_kl

temperatures = pytest.mark.parametrize("temperature", [1.0, 3.0])


def random_pair(seed=0, shape=(2, 4, 3, 2, 2), scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(scale * torch.randn(shape, generator=generator, dtype=torch.float64)
                 for _ in range(2))


def test_one_voxel_by_hand():
    # teacher (3/4, 1/4), student (1/2, 1/2), T = 1
    teacher = torch.tensor([math.log(3.0), 0.0], dtype=torch.float64).view(1, 2, 1, 1, 1)
    student = torch.zeros(1, 2, 1, 1, 1, dtype=torch.float64)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert pixelwise_kl(student, teacher, 1).item() == pytest.approx(expected, rel=1e-12)
    # T = 3 on logits three times as large: the same probabilities, times T^2
    tempered = pixelwise_kl(3 * student, 3 * teacher, 3)
    assert tempered.item() == pytest.approx(9 * expected, rel=1e-12)
    # KL(student || teacher) is another number: the teacher comes first
    reverse = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert pixelwise_kl(teacher, student, 1).item() == pytest.approx(reverse, rel=1e-12)


def test_mean_over_samples_and_voxels():
    student, teacher = random_pair()
    voxels = [pixelwise_kl(s.view(1, 4, 1, 1, 1), t.view(1, 4, 1, 1, 1), 3).item()
              for s, t in zip(student.movedim(1, -1).reshape(-1, 4),
                              teacher.movedim(1, -1).reshape(-1, 4), strict=True)]
    assert len(voxels) == 2 * 12
    assert pixelwise_kl(student, teacher, 3).item() == pytest.approx(sum(voxels) / 24, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), temperature=st.floats(0.5, 10), shift=st.floats(-50, 50),
       scale=st.floats(0.1, 20))
def test_properties_of_a_divergence(seed, temperature, shift, scale):
    student, teacher = random_pair(seed, (1, 3, 2, 2, 1), scale)
    value = pixelwise_kl(student, teacher, temperature).item()
    assert value > 0
    assert pixelwise_kl(teacher, teacher, temperature).item() == 0
    shifted = pixelwise_kl(student + shift, teacher - shift, temperature).item()
    assert shifted == pytest.approx(value, rel=1e-6, abs=1e-12)


@temperatures
def test_closed_form_gradients(temperature):
    student, teacher = (z.requires_grad_() for z in random_pair())
    pixelwise_kl(student, teacher, temperature).backward()
    p_s, p_t = (torch.softmax(z.detach() / temperature, 1) for z in (student, teacher))
    num_voxels = 2 * 3 * 2 * 2
    gap = p_t.log() - p_s.log()
    voxel_kl = (p_t * gap).sum(1, keepdim=True)
    torch.testing.assert_close(student.grad, temperature / num_voxels * (p_s - p_t),
                               rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(teacher.grad, temperature / num_voxels * p_t * (gap - voxel_kl),
                               rtol=1e-10, atol=1e-15)


@temperatures
def test_gradcheck(temperature):
    pair = tuple(z.requires_grad_() for z in random_pair(shape=(1, 3, 2, 1, 1)))
    assert torch.autograd.gradcheck(lambda s, t: pixelwise_kl(s, t, temperature), pair)


@temperatures
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_confident_teacher_has_finite_gradients(temperature, dtype):
    # exp(-400) and exp(-400 / 3) underflow to 0 in float32
    teacher = torch.tensor([400.0, 0.0]).view(1, 2, 1, 1, 1).to(dtype).requires_grad_()
    student = torch.tensor([0.0, 400.0]).view(1, 2, 1, 1, 1).to(dtype).requires_grad_()
    value = pixelwise_kl(student, teacher, temperature)
    value.backward()
    # teacher certain of class 0, whose log-probability is -400/T for the student
    assert value.item() == pytest.approx(temperature * 400, rel=1e-6)
    assert torch.equal(teacher.grad, torch.zeros_like(teacher))
    signs = torch.tensor([-temperature, temperature], dtype=dtype).view(1, 2, 1, 1, 1)
    torch.testing.assert_close(student.grad, signs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_are_widened(dtype):
    student, teacher = (z.to(dtype) for z in random_pair(shape=(1, 3, 24, 24, 24)))
    value = pixelwise_kl(student, teacher, 3)
    assert value.dtype == torch.float32
    exact = pixelwise_kl(student.double(), teacher.double(), 3)
    assert exact.dtype == torch.float64
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
