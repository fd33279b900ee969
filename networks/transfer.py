"""Starting from weights that are there: reading them, and copying what fits."""

import pickle
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from .side_outputs import SideOutputs
from .swin_unetr import LEGACY_MARK

PARTS = ("network", "encoder")


@dataclass(frozen=True)
class TransferReport:
    """What `transfer_weights` copied and what it did not.

    Attributes:
        part: "network" or "encoder".
        matched: names of the entries copied, as in the network's state dict.
        unmatched: name to reason, for entries of the network and of the file.
        sizes: name to number of values, of all of these, in the network's order.
    """

    part: str
    matched: tuple[str, ...]
    unmatched: dict[str, str]
    sizes: dict[str, int] = field(repr=False)

    def __str__(self) -> str:
        """A table: one line per module with what was copied, and what was not and why."""
        groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for name in self.sizes:
            reason = self.unmatched.get(name, "copied")
            kind = "of another shape" if reason.startswith("of shape") else reason
            groups[_group(name)][kind].append(name)
        width = max(map(len, groups))
        lines = [f"Weights copied ({self.part}): {len(self.matched)} entries, "
                 f"{self._values(self.matched):,} values; not copied: "
                 f"{len(self.unmatched)} entries."]
        for group, kinds in groups.items():
            cells = [f"{len(names)} {kind} ({self._values(names):,})"
                     for kind, names in kinds.items()]
            lines.append(f"  {group:<{width}}  {'; '.join(cells)}")
            if "of another shape" in kinds:
                first = kinds["of another shape"][0]
                lines.append(f"  {'':<{width}}    such as {first}, {self.unmatched[first]}")
        return "\n".join(lines)

    def _values(self, names: tuple[str, ...] | list[str]) -> int:
        return sum(self.sizes[name] for name in names)


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a state dict onto the CPU; nothing in the file can run code.

    Args:
        path: a run folder (its best.model), a checkpoint of this project (.model), a torch state
            dict, also under the key "state_dict", or a .safetensors file.

    Raises:
        ValueError: absent, damaged, or something else than named tensors.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "best.model"
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.model")) if path.parent.is_dir() else []
        raise ValueError(f"{path}: no such file of weights; beside it: "
                         f"{', '.join(beside) or 'no .model'}. Give a run folder NAME.exp or a "
                         f"file.")
    try:
        state = (load_file(path) if path.suffix == ".safetensors"
                 else torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):
            reason = "not tensors alone"  # torch would advise to load it all the same
        kind = "not a safetensors file" if isinstance(error, SafetensorError) else "damaged"
        raise ValueError(f"{path}: cannot be read as weights ({reason}). It is {kind}, or holds "
                         f"objects, which are never loaded.") from error
    for key in ("network", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if (not isinstance(state, dict) or not state
            or not all(isinstance(value, torch.Tensor) for value in state.values())):
        raise ValueError(f"{path}: holds no state dict (names and tensors).")
    return dict(state)


def transfer_weights(network: SideOutputs, state: dict[str, torch.Tensor],
                     part: str = "network") -> TransferReport:
    """Copy the entries of `state` whose name and shape are the network's.

    Args:
        network: what is written to.
        state: names as in a SideOutputs, or in a plain network (without "network." in front).
        part: "network" for all of it, side heads included; "encoder" for the sub-modules in
            `network.encoder_modules` only.

    Raises:
        ValueError: no parameter matches, the patch merging of a SwinUNETR differs, the encoder is
            not known, or an unknown part. Nothing has been written then.
    """
    if part not in PARTS:
        raise ValueError(f"Unknown part {part!r}; known: {', '.join(PARTS)}.")
    if part == "encoder" and not network.encoder_modules:
        raise ValueError("It is not known what the encoder of this network is: let its factory "
                         "return networks.find_levels(...), or LevelledNetwork(encoder_modules=).")
    target, aliases = _entries(network)
    source = _renamed(state, target, aliases)
    _check_patch_merging(source, target)

    def reason(name: str) -> str | None:
        if name not in target:
            return "not in the network"
        if part == "encoder" and not _is_encoder(name, network.encoder_modules):
            return "not part of the encoder"
        if name not in source:
            return "not in the file"
        there, here = tuple(source[name].shape), tuple(target[name].shape)
        return None if there == here else f"of shape {there} in the file, {here} in the network"

    reasons = {name: reason(name) for name in dict.fromkeys((*target, *source))}
    matched = tuple(name for name, why in reasons.items() if why is None)
    unmatched = {name: why for name, why in reasons.items() if why is not None}
    if not any(isinstance(target[name], nn.Parameter) for name in matched):
        raise ValueError(f"No weight matches (part: {part}). The file has {_few(state)}; the "
                         f"network has {_few(target)}.")
    with torch.no_grad():
        for name in matched:
            target[name].copy_(source[name])
    sizes = {name: target.get(name, source.get(name)).numel() for name in reasons}
    return TransferReport(part, matched, unmatched, sizes)


def _entries(network: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The network's own tensors by their first name, and every name's first name.

    DynUNet holds its blocks under two names.
    """
    first: dict[int, str] = {}
    state = network.state_dict(keep_vars=True)
    aliases = {name: first.setdefault(id(value), name) for name, value in state.items()}
    return {name: state[name] for name in first.values()}, aliases


def _renamed(state: dict[str, torch.Tensor], target: dict[str, Any],
             aliases: dict[str, str]) -> dict[str, torch.Tensor]:
    """`state` by the target's first names, with "network." in front where it lacks that."""
    prefixed = {f"network.{name}": value for name, value in state.items()}
    source = max((state, prefixed), key=lambda names: sum(name in aliases for name in names))
    renamed = {aliases.get(name, name): value for name, value in source.items()}
    return renamed | {name: value for name, value in source.items() if name in target}


def _is_encoder(name: str, modules: tuple[str, ...]) -> bool:
    return any(name.startswith(f"network.{module}.") for module in modules)


def _check_patch_merging(source: dict[str, Any], target: dict[str, Any]) -> None:
    """Refuse weights of a SwinUNETR that merges patches in another way."""
    merging = ".downsample.reduction.weight"
    for name in source:
        if not (name.endswith(merging) and name in target):
            continue
        mark = name.removesuffix("reduction.weight") + LEGACY_MARK
        if (mark in source) != (mark in target):
            words = ["the authors' patch merging (legacy_patch_merging)", "today's patch merging"]
            there, here = words if mark in source else words[::-1]
            raise ValueError(f"The weights in the file were trained with {there}, the network has "
                             f"{here}: the shapes agree and the meaning does not. Build the "
                             f"network with the same legacy_patch_merging.")


def _group(name: str) -> str:
    """Top-level module of an entry; the wrapper's "network." does not count."""
    return name.removeprefix("network.").split(".")[0]


def _few(names: dict[str, Any]) -> str:
    shown = list(names)[:3]
    return ", ".join(shown) + (f", ... ({len(names)})" if len(names) > 3 else "")
