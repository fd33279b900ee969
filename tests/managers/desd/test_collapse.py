"""Signs of collapse: by hand, and in small trainings that collapse on purpose."""

import copy
import math
import re

import pytest
import torch
from torch import nn

from losses import DeSDLoss
from managers.desd.collapse import feature_moments, feature_std, signs_of_collapse
from managers.desd.momentum_teacher import pair_by_name, update
from networks.resnet.projection_head import ProjectionHead

HEALTHY = {"teacher_entropy": 9.8, "kl": 0.6, "target_information": 0.3, "center_norm": 15.0,
           "feature_std": 0.15 / math.sqrt(2048)}


def signs(**changes):
    """Signs for 60000 prototypes and 2048 features."""
    return signs_of_collapse(HEALTHY | changes, 60000, 2048)


def std_of(features):
    """Of a single step."""
    return feature_std(feature_moments(features))


def test_features_by_hand():
    alike = torch.tensor([[1.0, 1.0], [3.0, 3.0]])
    assert std_of(alike).item() == pytest.approx(0, abs=1e-7)
    # Normalised (1, 0) and (0, 1): 1/2 from the mean in each dimension.
    assert std_of(torch.tensor([[2.0, 0.0], [0.0, 5.0]])).item() == pytest.approx(0.5)
    spread = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert std_of(spread).item() == pytest.approx(1 / 8, rel=0.01)
    assert std_of(spread.to("meta")).is_meta


def test_moments_of_steps_average_to_those_of_all_rows():
    features = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    steps = [feature_moments(part) for part in features.split(4)]
    torch.testing.assert_close(feature_std(sum(steps) / 16), std_of(features))
    same = features[:1].bfloat16().repeat(2, 1)
    many = sum(feature_moments(same) for _ in range(1000)) / 1000
    assert feature_std(many).item() < 1e-6


def test_healthy_epochs():
    assert signs() == []
    # Untrained, centred, without batch norm: nearly uniform, but the student is not there yet.
    assert signs(teacher_entropy=0.998 * math.log(60000), kl=0.4, target_information=0.02) == []
    # Easy data: targets that are certain and tell the samples apart.
    assert signs(teacher_entropy=0.01, kl=0.001, target_information=1.3) == []


@pytest.mark.parametrize(("changes", "words"), [
    ({"teacher_entropy": math.log(60000), "kl": 0.0, "target_information": 0.0}, "are uniform"),
    ({"teacher_entropy": 0.02, "kl": 0.01, "target_information": 1e-6}, "the same target"),
    ({"target_information": 0.0}, "the same target"),
    ({"feature_std": 1e-5}, "hardly differ"), ({"feature_std": 0.0}, "hardly differ"),
    ({"center_norm": 130.0}, "norm, 130.0, is more than half .* 244.9"),
    ({"center_norm": math.inf}, "norm, inf")])
def test_each_sign(changes, words):
    sentence, = signs(**changes)
    assert re.search(words, sentence)


def test_all_signs_together():
    assert len(signs(target_information=0.0, feature_std=0.0, center_norm=1e3)) == 3


def training(use_bn=True, center_momentum=0.9, teacher_temp=0.04, steps=250, width=32, out_dim=64):
    """Mean terms of the last 50 steps of a small training on 20 clusters of vectors."""
    torch.manual_seed(0)
    clusters = torch.randn(20, 16)

    def encoder_and_head():
        head = ProjectionHead(width, out_dim, use_bn, hidden=width, bottleneck=16)
        return nn.Sequential(nn.Sequential(nn.Linear(16, width), nn.LeakyReLU(),
                                           nn.Linear(width, width), nn.LeakyReLU()), head)
    student = encoder_and_head()
    teacher = copy.deepcopy(student).requires_grad_(False)
    pairs = pair_by_name(teacher, student)
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], 0.3, 0.9)
    loss, moments = DeSDLoss(out_dim, center_momentum=center_momentum), []
    loss.teacher_temp = teacher_temp
    for step in range(steps):
        if step == steps - 50:
            loss.reset()
            moments.clear()
        vectors = clusters[torch.randint(20, (16,))]
        views = (vectors + 0.3 * torch.randn(2, 16, 16)).flatten(0, 1)
        features = teacher[0](views)
        moments.append(feature_moments(features))
        total = loss([student(views)], teacher[1](features))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        update(*pairs, 0.98)
    return loss.mean_terms | {"feature_std": feature_std(sum(moments) / 50).item()}


def test_a_training_that_learns_has_no_sign():
    stats = training()
    assert stats["target_information"] > 0.5 and signs_of_collapse(stats, 64, 32) == []


def test_without_sharpening_the_targets_become_uniform():
    sentence, = signs_of_collapse(training(teacher_temp=1.0), 64, 32)
    assert "uniform" in sentence


def test_without_centring_all_samples_get_one_target():
    sentence, = signs_of_collapse(training(use_bn=False, center_momentum=1.0), 64, 32)
    assert "the same target" in sentence
