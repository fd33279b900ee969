"""The network with averaged weights, as a teacher of DSD (Tarvainen and Valpola, NeurIPS 2017)."""

import copy
from typing import Any

import torch
from torch import nn

MOMENTUM = 0.99  # once the average is old enough


class MeanTeacher:
    """A running mean of a network's weights, whose logits teach; it takes no gradient.

    The mean keeps a share of min(0.99, (s + 1) / (s + 10)) in step s, so that the random weights
    of the first steps are soon forgotten. Buffers, such as the statistics of a batch norm, are
    those of the network's latest step.

    Args:
        network: images (B, C, H, W, D) -> logits (B, K, H, W, D) in evaluation mode.
    """

    def __init__(self, network: nn.Module):
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.steps = 0

    @torch.no_grad()
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, H, W, D) to logits (B, K, H, W, D)."""
        return self.network(images)

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Take one step of the network into the mean; nothing waits for the device."""
        momentum = min(MOMENTUM, (self.steps + 1) / (self.steps + 10))
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()),
                             1 - momentum)
        for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)
        self.steps += 1

    def to(self, device: torch.device) -> None:
        """Move the mean."""
        self.network.to(device)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.network.load_state_dict(state["network"])
        self.steps = state["steps"]
