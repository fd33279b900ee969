"""The encoder of a DeSD pre-training, from its checkpoint into a network."""

import pickle
import re
import shlex
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.serialization import safe_globals

from configs.files import archive_problem

from .resnet3d import STAGES, BasicBlock, ResNet3D
from .transfer import TransferReport

CHECKPOINTS = ("last.model", "checkpoint.pth")
"""The checkpoint in a run's folder: ours, the authors'."""

PARTS = ("teacher", "network", "state_dict")
"""Keys of a checkpoint under which the weights are, the first that is there."""

_ENCODER = re.compile(r"(conv1|norm1|layer[1-4]\.\d+\.(conv[123]|norm[123]|downsample\.[01]))"
                      r"\.(weight|bias)")


class _Ignored:
    """Stands in for the objects beside the weights; takes their contents and keeps nothing."""

    def __new__(cls, *_: Any) -> "_Ignored":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


IGNORED = tuple((_Ignored, name) for name in
                ("argparse.Namespace", "numpy.dtype", "numpy.core.multiarray.scalar",
                 "numpy._core.multiarray.scalar"))
"""What the authors' code pickles beside tensors: its settings, and learning rates as NumPy makes
them. None of it is built, nor is it looked up."""

RUNS_CODE = ("os", "posix", "nt", "sys", "subprocess", "commands", "pty", "shutil", "runpy",
             "importlib", "pickle", "builtins")
"""Modules of which nothing belongs beside weights; "commands" is how pickle calls subprocess."""


def load_encoder_weights(encoder: nn.Module, path: str | Path) -> TransferReport:
    """Copy the weights of a pre-trained encoder, by name and shape.

    Differs from the authors' code: the names may have any prefix, where theirs copies nothing and
    goes on when it is not "module.backbone."; what does not fit is reported.

    Args:
        encoder: a ResNet3D, or a network that has one as `encoder` or `network.encoder`.
        path: as for `read_encoder_weights`.

    Returns:
        What was copied and what was not; names are the encoder's own, without a prefix.

    Raises:
        ValueError: the file cannot be read, nothing in it fits, or `encoder` has no ResNet3D.
            Nothing has been written then.

    Warns:
        UserWarning: only a part of the encoder's weights is in the file, or the file is of an
            encoder with more blocks.
    """
    resnet = _resnet_of(encoder)
    source, target = read_encoder_weights(path), resnet.state_dict()

    def reason(name: str) -> str | None:
        if name not in target:
            return "not in the network"
        if name not in source:
            return "not in the file"
        there, here = tuple(source[name].shape), tuple(target[name].shape)
        return None if there == here else f"of shape {there} in the file, {here} in the network"

    reasons = {name: reason(name) for name in dict.fromkeys((*target, *source))}
    matched = tuple(name for name, why in reasons.items() if why is None)
    unmatched = {name: why for name, why in reasons.items() if why is not None}
    if unmatched:
        message = _partial_message(path, resnet, source, matched, unmatched)
        if not matched:
            raise ValueError(message)
        warnings.warn(message, stacklevel=2)
    with torch.no_grad():
        for name in matched:
            target[name].copy_(source[name])
    sizes = {name: (target if name in target else source)[name].numel() for name in reasons}
    return TransferReport("encoder", matched, unmatched, sizes, encoder=tuple(target))


def read_encoder_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The encoder's state dict from a checkpoint, on the CPU; nothing in the file can run code.

    Args:
        path: a pre-training run's folder, its checkpoint (last.model; of the authors' code
            checkpoint.pth), of which the teacher is read; a checkpoint of a network that has the
            encoder; or a state dict, by torch or as .safetensors.

    Returns:
        Tensors by the names of a ResNet3D, "conv1.weight" and so on.

    Raises:
        ValueError: absent, damaged, holding other objects, or without a 3D ResNet encoder.
    """
    path = _checkpoint_of(Path(path))
    state = load_tensors(path)
    for part in PARTS:
        if isinstance(state, dict) and isinstance(state.get(part), dict):
            state = state[part]
            break
    if (not isinstance(state, dict) or not state
            or not all(isinstance(name, str) and isinstance(value, torch.Tensor)
                       for name, value in state.items())):
        raise ValueError(f"{path}: holds no state dict (names and tensors), alone or under one of "
                         f"{', '.join(PARTS)}.")
    prefixes = sorted({name.removesuffix("conv1.weight") for name, value in state.items()
                       if _is_stem(name, value)})
    prefixes = [prefix for prefix in prefixes if f"{prefix}layer1.0.conv1.weight" in state]
    if not prefixes:
        names = list(state)
        raise ValueError(f"{path}: holds no encoder of a DeSD pre-training: no 7x7x7 conv1.weight "
                         f"and layer1.0.conv1.weight under any prefix. It has {len(names)} "
                         f"entries, such as {', '.join(names[:3])}. Give a checkpoint of a "
                         f"pre-training, or of a network on a 3D ResNet.")
    if len(prefixes) > 1:
        raise ValueError(f"{path}: holds several encoders, under {', '.join(map(repr, prefixes))}; "
                         f"which one is meant is not known. Keep one of them in the file.")
    inside = {name.removeprefix(prefixes[0]): value for name, value in state.items()
              if name.startswith(prefixes[0])}
    return {name: value for name, value in inside.items() if _ENCODER.fullmatch(name)}


def load_tensors(path: Path) -> Any:
    """Whatever a file of tensors holds, on the CPU; nothing in it can run code.

    Tensors of a torch file are mapped into memory, so that those nobody uses, such as an
    optimizer's, are not read. The settings that the authors' code saves beside them (IGNORED) are
    replaced by empty objects.

    Args:
        path: a torch file, or a .safetensors file.

    Raises:
        ValueError: damaged, or holding other objects.
    """
    damage = archive_problem(path)
    if damage is not None:
        raise ValueError(f"{path}: cannot be read as weights, since it is damaged ({damage}). Put "
                         f"a copy of it back, or download it again.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with safe_globals(list(IGNORED)):
            return torch.load(path, map_location="cpu", weights_only=True,
                              mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged file may raise anything
        if isinstance(error, pickle.UnpicklingError) and (
                found := re.search(r"GLOBAL (\w+(\.\w+)*) (was|whose)", str(error))):
            raise ValueError(_refusal(path, found[1])) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):
            reason = "not tensors alone"  # torch would advise to load it all the same
        kind = "not a safetensors file" if isinstance(error, SafetensorError) else "damaged"
        raise ValueError(f"{path}: cannot be read as weights ({reason}). It is {kind}, or holds "
                         f"objects, which are never loaded.") from error


def depth_of(names: dict[str, Any]) -> int | None:
    """The depth of the ResNet3D with entries of these names; None when there is no such one."""
    blocks = [{match[1] for match in (re.match(rf"layer{stage}\.(\d+)\.", name) for name in names)
               if match} for stage in (1, 2, 3, 4)]
    basic = "layer1.0.conv3.weight" not in names
    return next((depth for depth, (block, counts) in STAGES.items()
                 if (block is BasicBlock) == basic and counts == tuple(map(len, blocks))), None)


def _resnet_of(network: nn.Module) -> ResNet3D:
    inner = getattr(network, "network", network)
    for module in (network, inner, getattr(inner, "encoder", None)):
        if isinstance(module, ResNet3D):
            return module
    raise ValueError(f"{type(inner).__name__} has no 3D ResNet as its encoder, which the weights "
                     f"of a DeSD pre-training are for. Choose a network on one, such as "
                     f"resnet50-unet.")


def _checkpoint_of(path: Path) -> Path:
    """The file of weights; a folder's checkpoint."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"{path}: no such file or folder. Give the folder of a pre-training run, "
                         f"NAME.exp, or a checkpoint.")
    found = next((path / name for name in CHECKPOINTS if (path / name).is_file()), None)
    if found is None:
        raise ValueError(f"{path}: has no {' or '.join(CHECKPOINTS)}; a pre-training run writes "
                         f"its checkpoint after the first epoch. Let the run go on, or name the "
                         f"file itself.")
    return found


def _refusal(path: Path, name: str) -> str:
    """Why a file with this global is not loaded, and how its weights can be had all the same."""
    if name.split(".")[0] in RUNS_CODE or "." not in name:  # torch drops "builtins."
        return (f"{path}: asks for {name} while it is loaded, which weights have no use for and "
                f"which may run commands. It was not loaded: get the weights from another source.")
    command = ("import sys, torch; torch.save(torch.load(sys.argv[1], map_location='cpu', "
               "weights_only=False)['teacher'], sys.argv[2])")
    line = shlex.join(["python", "-c", command, str(path), str(path.with_suffix(".teacher.pt"))])
    return (f"{path}: holds a {name} beside its weights. Such objects can run code and are never "
            f"loaded. If you trust whoever made the file, write out its teacher alone, on a "
            f"machine where any code in the file may run, and give what that makes:\n{line}")


def _is_stem(name: str, value: torch.Tensor) -> bool:
    return re.search(r"(^|\.)conv1\.weight$", name) is not None and value.shape[2:] == (7, 7, 7)


def _partial_message(path: str | Path, resnet: ResNet3D, source: dict[str, torch.Tensor],
                     matched: tuple[str, ...], unmatched: dict[str, str]) -> str:
    """How much of the encoder a file has, and why file and encoder are not the same."""
    target = resnet.state_dict()
    values = sum(target[name].numel() for name in matched)
    total = sum(value.numel() for value in target.values())
    depth = depth_of(source)
    if depth is not None and depth != resnet.depth:
        cause = (f"The file is of a ResNet of depth {depth}, the encoder of depth {resnet.depth}: "
                 f"choose the same depth.")
    else:
        few = [f"{name}: {why}" for name, why in list(unmatched.items())[:3]]
        cause = f"Such as {'; '.join(few)}."
    return (f"{path}: {len(matched)} of the encoder's {len(target)} entries fit ({values:,} of "
            f"{total:,} values), the others keep their values; {len(source) - len(matched)} of "
            f"the file's {len(source)} have no place. {cause}")
