"""Starting from weights that are there: copying what fits, and saying what does not."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
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
        encoder: names of the entries of the network's encoder; none where it is not known.
    """

    part: str
    matched: tuple[str, ...]
    unmatched: dict[str, str]
    sizes: dict[str, int] = field(repr=False)
    encoder: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        """A table: one line per module with what was copied, and what was not and why."""
        groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for name in self.sizes:
            reason = self.unmatched.get(name, "copied")
            kind = "of another shape" if reason.startswith("of shape") else reason
            groups[_group(name)][kind].append(name)
        width = max(map(len, groups))
        encoder = f"; {self.encoder_count()}" if self.encoder else ""
        lines = [f"Weights copied ({self.part}): {len(self.matched)} entries, "
                 f"{self._values(self.matched):,} values{encoder}; not copied: "
                 f"{len(self.unmatched)} entries."]
        for group, kinds in groups.items():
            cells = [f"{len(names)} {kind} ({self._values(names):,})"
                     for kind, names in kinds.items()]
            lines.append(f"  {group:<{width}}  {'; '.join(cells)}")
            if "of another shape" in kinds:
                first = kinds["of another shape"][0]
                lines.append(f"  {'':<{width}}    such as {first}, {self.unmatched[first]}")
        return "\n".join(lines)

    def encoder_count(self) -> str:
        """How many of the encoder's entries were copied, as in "159 of 159 of the encoder"."""
        copied = set(self.matched).intersection(self.encoder)
        return f"{len(copied)} of {len(self.encoder)} of the encoder"

    def _values(self, names: tuple[str, ...] | list[str]) -> int:
        return sum(self.sizes[name] for name in names)


def transfer_weights(network: SideOutputs, state: dict[str, torch.Tensor],
                     part: str = "network") -> TransferReport:
    """Copy the entries of `state` whose name and shape are the network's.

    Args:
        network: what is written to.
        state: names as in a SideOutputs, in a plain network (without "network." in front) or in
            its sub-module "encoder".
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
        shapes = [f"{name}, {why}" for name, why in unmatched.items() if why.startswith("of shape")]
        told = (f"{len(shapes)} entries have the same name and another shape, such as {shapes[0]}"
                if shapes else
                f"The file has {_few(state)}; the network has {_few(target)}")
        raise ValueError(f"No weight matches (part: {part}). {told}.")
    with torch.no_grad():
        for name in matched:
            target[name].copy_(source[name])
    sizes = {name: target.get(name, source.get(name)).numel() for name in reasons}
    encoder = tuple(name for name in target if _is_encoder(name, network.encoder_modules))
    return TransferReport(part, matched, unmatched, sizes, encoder)


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
    """`state` by the target's first names, with what it lacks in front of them."""
    candidates = [{f"{prefix}{name}": value for name, value in state.items()}
                  for prefix in ("", "network.", "network.encoder.")]
    source = max(candidates, key=lambda names: sum(name in aliases for name in names))
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
