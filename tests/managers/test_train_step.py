"""One step: what it computes, how often, and that it never waits for the device."""

import copy

import pytest
import torch
from torch import nn

from losses import DiceCELoss, DSDLoss, dsd_loss
from networks import build_network


def to_meta(manager, batch):
    """Move a manager's network and a batch to the device without storage."""
    manager.to(torch.device("meta"))
    manager.model.train()
    return tuple(batch[key].to("meta") for key in ("image", "label"))


@pytest.mark.parametrize("loss", [DSDLoss(), DiceCELoss()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("network", ["nnunet", "unetr"])
def test_the_step_never_reads_a_value(manager_of, batches, network, loss):
    # A meta tensor has no values: item(), cpu(), nonzero() and branches on it raise.
    options = {"nnunet": {"filters": (2, 3, 4)},
               "unetr": {"feature_size": 2, "hidden_size": 12, "mlp_dim": 12, "num_heads": 2}}
    built = build_network(network, 1, 3, (32, 32, 32), True, **options[network])
    manager = manager_of(built, loss)
    images, label = to_meta(manager, batches(1, (32, 32, 32))[0])
    assert [manager.train_step(images, label) for _ in range(2)] == [{}, {}]
    assert manager.compiled_losses.result.device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):
        assert manager.summary  # reads values: the check above could have failed


def test_the_step_calls_the_network_and_the_loss_once(tiny_network, manager_of, batches,
                                                       monkeypatch):
    manager, batch = manager_of(tiny_network()), batches(1)[0]
    calls = []
    manager.model.register_forward_hook(lambda *_: calls.append("network"))
    terms = manager.loss_fn.terms
    monkeypatch.setattr(manager.loss_fn, "terms",
                        lambda *args: calls.append("loss") or terms(*args))
    manager.model.train()
    manager.train_step(batch["image"], batch["label"])
    assert calls == ["network", "loss"]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_two_steps_equal_plain_torch(tiny_network, manager_of, batches, optimizer):
    network = tiny_network().double()
    manager = manager_of(network, DSDLoss(0.5, 2.0))
    twin = copy.deepcopy(network.train())
    manager.optimizer = optimizer(network.parameters(), lr=0.01)
    by_hand = optimizer(twin.parameters(), lr=0.01)
    start = copy.deepcopy(network.state_dict())
    for batch in batches(2):
        images, label = batch["image"].double(), batch["label"]
        manager.train_step(images, label)
        loss, _ = dsd_loss(twin(images), label, 0.5, 2.0)
        by_hand.zero_grad()
        loss.backward()
        by_hand.step()
    for (name, ours), theirs in zip(network.state_dict().items(), twin.state_dict().values(),
                                    strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
        assert not torch.equal(ours, start[name]), f"{name} was not trained"


def test_summary_of_training(tiny_network, manager_of, batches):
    manager = manager_of(tiny_network(), lr=0.0)
    manager.model.train()
    pairs = [(batch["image"], batch["label"]) for batch in batches(2)]
    for pair in pairs:
        manager.train_step(*pair)
    summary = manager.summary
    assert list(summary) == ["loss", "dice_ce_out", "dice_ce_dec2", "dice_ce_dec1", "kl_dec",
                             "kl_enc"]
    with torch.no_grad():
        by_hand = [dsd_loss(manager.model(images), label) for images, label in pairs]
    assert summary["loss"] == pytest.approx(sum(float(total) for total, _ in by_hand) / 2)
    assert summary["kl_enc"] == pytest.approx(sum(float(t["kl_enc"]) for _, t in by_hand) / 2)
    # the terms make up the total
    assert summary["loss"] == pytest.approx(sum(summary.values()) - summary["loss"])


def test_summary_of_validation(tiny_network, manager_of, batches):
    manager = manager_of(tiny_network())
    summary = manager.test(batches(2, (9, 8, 11), crops=1), device=torch.device("cpu"))
    assert list(summary) == ["loss", "dice", "dice_anterior", "dice_posterior"]
    foreground = (summary["dice_anterior"] + summary["dice_posterior"]) / 2
    assert summary["dice"] == pytest.approx(foreground)
    with torch.no_grad():
        losses = []
        for batch in batches(2, (9, 8, 11), crops=1):
            logits = manager.predictor.logits(batch["image"][0])[None]
            losses.append(float(dsd_loss(logits, batch["label"])[0]))
    assert summary["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)


@pytest.mark.parametrize("size", [(8, 8, 8), (5, 8, 3), (6, 7, 20), (11, 9, 10)], ids=str)
def test_logits_keep_the_shape_of_the_volume(tiny_network, manager_of, size):
    predictor = manager_of(tiny_network().eval()).predictor
    image = torch.randn(1, *size)
    with torch.no_grad():
        logits = predictor.logits(image)
        assert logits.shape == (3, *size)
        if size == predictor.roi_size:
            assert torch.equal(logits[None], predictor.network(image[None]))
    label_map = predictor.label_map(image)
    assert label_map.dtype == torch.uint8 and torch.equal(label_map, logits.argmax(0).byte())


def test_windows_of_a_pointwise_network_are_seamless(manager_of):
    class Squares(nn.Module):
        """Logits x, x^2, 1."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, images):
            return torch.cat([images, images**2, torch.ones_like(images)], dim=1)

    manager = manager_of(Squares(), overlap=0.5, window_batch=3)
    image = torch.randn(1, 1, 19, 6, 13)
    torch.testing.assert_close(manager.predictor.logits(image[0]), manager.model(image)[0])
