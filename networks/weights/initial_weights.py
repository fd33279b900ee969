"""A network, or an encoder alone, that starts from the weights in a file."""

import re
import warnings
from collections.abc import Collection
from pathlib import Path

import torch
from torch import nn

from ..dsd.side_outputs import SideOutputs
from ..resnet.resnet3d import STAGES, BasicBlock, ResNet3D
from .transfer import TransferReport, copy_weights, transfer_weights
from .weight_files import read_weights


def start_from(network: SideOutputs, path: str | Path, part: str = "network") -> TransferReport:
    """Copy those weights of a file or a run folder that fit.

    Args:
        path: see `read_weights`.
        part: "network" or "encoder", see `transfer_weights`.

    Raises:
        ValueError: the file cannot be read, nothing in it fits, or see `transfer_weights`.
            Nothing has been written then.

    Warns:
        UserWarning: the file has only a part of what was asked for (side heads never are, nor is
            the decoder if the file holds an encoder alone), or a 3D ResNet of another depth.
    """
    state = read_weights(path)
    there, here = resnet_depth(state), resnet_depth(network.state_dict())
    if there and not here:
        raise ValueError(f"{path}: holds DeSD's 3D ResNet of depth {there}, which this network "
                         f"does not have: give --network resnet{there}-unet.")
    try:
        report = transfer_weights(network, state, part)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _warn_of_rest(path, report, here)
    return report


def load_encoder_weights(encoder: nn.Module, path: str | Path) -> TransferReport:
    """Copy the weights of a pre-trained encoder, by name and shape.

    Differs from the authors' code: the names may have any prefix; theirs copies nothing, silently,
    if it is not "module.backbone.". What does not fit is reported.

    Args:
        encoder: a ResNet3D, or a network that has one as `encoder` or `network.encoder`.
        path: see `read_weights`.

    Returns:
        What was copied and what was not; names are the encoder's own, without a prefix.

    Raises:
        ValueError: the file cannot be read, nothing in it fits, `encoder` has no ResNet3D, or see
            `transfer_weights`. Nothing has been written then.

    Warns:
        UserWarning: only a part of the encoder's weights is in the file, or the file is of an
            encoder of another depth.
    """
    resnet = _resnet_of(encoder)
    state = read_weights(path)
    try:
        report = copy_weights(resnet, state, "encoder", encoder_prefixes=("",))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _warn_of_rest(path, report, resnet.depth)
    return report


def _warn_of_rest(path: str | Path, report: TransferReport, here: int | None) -> None:
    """Warn of what was asked for but is not in the file, and of a 3D ResNet of another depth."""
    missing = [name for name in report.wanted if name in report.unmatched]
    extra = [name for name, why in report.unmatched.items() if why == "not in the network"]
    there = depth_of({re.sub(r"^(network\.)?(encoder\.)?", "", name)
                      for name in (*report.matched, *extra)})
    is_other_depth = there is not None and there != here
    if not missing and not is_other_depth:
        return
    what = "network"
    if report.wanted == report.encoder:
        what = "network's encoder"
    message = f"{path}: {report.share()} of the {what} could be copied"
    if missing:
        message += ", the rest keeps its values"
    if is_other_depth:
        message += (f". The file holds a 3D ResNet of depth {there}, the network has one of depth "
                    f"{here}: --network resnet{there}-unet takes all that the file has.")
    else:
        named = [f"{name}: {report.unmatched[name]}" for name in missing[:3]]
        message += f". Not copied: {'; '.join(named)}"
        message += "; ..." if len(missing) > 3 else "."
        if extra:
            message += (f" The file has {len(extra)} entries without a place, such as "
                        f"{', '.join(extra[:3])}.")
    warnings.warn(message, stacklevel=3)


def resnet_depth(state: dict[str, torch.Tensor]) -> int | None:
    """The depth of DeSD's 3D ResNet in a state dict, under any prefix; None if it has none."""
    for name, value in state.items():
        stem = re.fullmatch(r"(.*\.)?conv1\.weight", name)
        if stem is not None and value.shape[2:] == (7, 7, 7):
            prefix = stem[1] or ""
            depth = depth_of({other.removeprefix(prefix) for other in state
                              if other.startswith(prefix)})
            if depth is not None:
                return depth
    return None


def depth_of(names: Collection[str]) -> int | None:
    """The depth of the ResNet3D whose entries have these names; None if there is none."""
    blocks: dict[str, set[str]] = {"1": set(), "2": set(), "3": set(), "4": set()}
    for name in names:
        found = re.match(r"layer([1-4])\.(\d+)\.", name)
        if found is not None:
            blocks[found[1]].add(found[2])
    present = tuple(len(numbers) for numbers in blocks.values())
    is_basic = "layer1.0.conv3.weight" not in names
    for depth, (block, counts) in STAGES.items():
        if (block is BasicBlock) == is_basic and counts == present:
            return depth
    return None


def _resnet_of(network: nn.Module) -> ResNet3D:
    inner = getattr(network, "network", network)
    for module in (network, inner, getattr(inner, "encoder", None)):
        if isinstance(module, ResNet3D):
            return module
    raise ValueError(f"{type(inner).__name__} has no 3D ResNet as its encoder, which the weights "
                     f"of a DeSD pre-training are for. Choose a network on one, such as "
                     f"resnet50-unet.")
