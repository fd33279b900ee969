"""What a network and its sub-modules return, measured by one forward pass."""

from collections.abc import Iterable
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..errors import first_line


def probe(network: nn.Module, in_channels: int, img_size: tuple[int, int, int],
          modules: Iterable[str] = ()) -> tuple[int, dict[str, list[Any]]]:
    """Run zeros (1, in_channels, *img_size) through a network, without gradient or side effect.

    The pass is in evaluation mode, and every sub-module gets back the mode it was in.

    Args:
        modules: dotted names of sub-modules to listen to.

    Returns:
        K of the logits, and each module's outputs in the order of its calls: tensors on the meta
        device, which have shapes only. Modules are in the order of their first outputs; those
        that were not called are absent.

    Raises:
        ValueError: the network cannot take such an image, or does not return (1, K, *img_size).
    """
    calls: dict[str, list[Any]] = {}

    def listen(name: str) -> RemovableHandle:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            calls.setdefault(name, []).append(_shapes(output))

        return network.get_submodule(name).register_forward_hook(hook)

    hooks = [listen(name) for name in dict.fromkeys(modules)]
    like = next(chain(network.parameters(), network.buffers()), torch.empty(0))
    dtype = torch.float32
    if like.is_floating_point():
        dtype = like.dtype
    zeros = torch.zeros(1, in_channels, *img_size, device=like.device, dtype=dtype)
    kind = type(network).__name__
    try:
        with _evaluation(network), torch.no_grad():
            output = network(zeros)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise ValueError(f"{kind} cannot take an image {tuple(zeros.shape)}: "
                         f"{first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    want = f"(1, K, {', '.join(map(str, img_size))})"
    if not isinstance(output, torch.Tensor):
        raise ValueError(f"{kind} returns a {type(output).__name__} in evaluation mode; it must "
                         f"return one tensor of logits {want}.")
    if output.ndim != 5 or output.shape[0] != 1 or tuple(output.shape[2:]) != tuple(img_size):
        raise ValueError(f"{kind} returns {tuple(output.shape)} for an image "
                         f"{tuple(zeros.shape)}; it must return logits {want}.")
    return output.shape[1], calls


def _shapes(output: Any) -> Any:
    """Tensors to their shapes, also inside tuples and lists, so no feature map is kept."""
    if isinstance(output, torch.Tensor):
        return torch.empty(output.shape, device="meta")
    if isinstance(output, tuple | list):
        return [_shapes(item) for item in output]
    return output


def described(output: Any) -> str:
    """What a module returned, in words: "a tensor (1, 2)" or "a dict"."""
    if isinstance(output, torch.Tensor):
        return f"a tensor {tuple(output.shape)}"
    return f"a {type(output).__name__}"


@contextmanager
def _evaluation(network: nn.Module):
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
