"""Logits that are not finite: refused before they are used, with an explanation."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from system.exit import StatedError


class LogitsError(StatedError):
    """Logits that are not finite, of which an argmax would still make a label map."""


def check_logits(logits: torch.Tensor) -> None:
    """Raise LogitsError if a logit is NaN or infinite; waits for the device."""
    low, high = torch.aminmax(logits)  # NaN if one is
    if not bool((high - low).isfinite()):
        raise LogitsError("the network's logits are not finite")


TAKE_ANOTHER = ("the training has diverged, or the checkpoint is damaged. Take another checkpoint, "
                "or train again with a smaller learning rate")
DIVERGED = ("training is not finite any more; the last good epoch is in last.model, if there is "
            "one. Try a smaller --lr")
OVERFLOW = ("the values overflow in it. Look at those of the image; in mixed precision, use bf16 "
            "or none")


@contextmanager
def naming(case_id: str, network: Any, of_weights: str = TAKE_ANOTHER) -> Iterator[None]:
    """Add to a LogitsError the case, and whether the weights are the cause.

    Args:
        of_weights: what to say if they are.
    """
    try:
        yield
    except LogitsError as error:
        cause = f"although its weights are: {OVERFLOW}"
        if isinstance(network, nn.Module) and not weights_are_finite(network):
            cause = f"and neither are its weights: {of_weights}"
        # Without a cause of its own: `fit` shows the innermost.
        raise LogitsError(f"{case_id}: {error}, {cause}.") from None


def weights_are_finite(network: nn.Module) -> bool:
    """Whether all parameters and buffers are; waits for the device."""
    values = [*network.parameters(), *network.buffers()]
    return all(value.isfinite().all() for value in values)
