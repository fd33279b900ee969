"""Starting from existing weights: copying those that fit, and reporting those that do not."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..dsd.side_outputs import SideOutputs
from ..stock.swin_unetr import LEGACY_MARK

PARTS = ("network", "encoder")

SIDE_HEADS = ("heads.", "hint_heads.")
"""Names that a basic run does not have."""

PLACES = ("", "network.", "network.encoder.")
"""Prefixes missing from the names in a file of a SideOutputs, a plain network, its encoder."""

WRAPPERS = ("teacher", "student", "ema", "model", "network", "net", "network_weights", "weights",
            "state_dict", "model_state_dict", "backbone", "encoder")
"""Usual keys and modules to save weights under. Under any other most of the network must fit."""

PUT_IN_BETWEEN = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts that torch's own wrappers (parallel, compiled, checkpointing) add to names, anywhere."""


@dataclass(frozen=True)
class TransferReport:
    """What `transfer_weights` copied and what it did not.

    Attributes:
        part: "network" or "encoder".
        matched: names of the entries copied, as in the network's state dict.
        unmatched: name to reason, for entries of the network and of the file.
        sizes: name to number of values, for all of these, in the network's order.
        encoder: names of the entries of the network's encoder; empty if it is not known.
        wanted: names of the entries that were asked for: all but side heads, or the encoder's.
    """

    part: str
    matched: tuple[str, ...]
    unmatched: dict[str, str]
    sizes: dict[str, int] = field(repr=False)
    encoder: tuple[str, ...] = field(default=(), repr=False)
    wanted: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        """A table: one line per module with what was copied, and what was not and why."""
        groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for name in self.sizes:
            kind = self.unmatched.get(name, "copied")
            if kind.startswith("of shape"):
                kind = "of another shape"
            groups[_group(name)][kind].append(name)
        width = max(map(len, groups))
        copied = f"{len(self.matched)} entries, {self._values(self.matched):,} values"
        if self.encoder:
            copied += f"; {self.encoder_count()}"
        lines = [f"Weights copied ({self.part}): {copied}; not copied: {len(self.unmatched)} "
                 f"entries."]
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

    def share(self) -> str:
        """How much of what was asked for was copied, as in "96 of 98 entries (99.1 % ...)"."""
        copied = [name for name in self.wanted if name not in self.unmatched]
        per_mille = 1000 * self._values(copied) // max(self._values(self.wanted), 1)
        return f"{len(copied)} of {len(self.wanted)} entries ({per_mille / 10} % of the values)"

    def _values(self, names: tuple[str, ...] | list[str]) -> int:
        return sum(self.sizes[name] for name in names)


def transfer_weights(network: SideOutputs, state: dict[str, torch.Tensor],
                     part: str = "network") -> TransferReport:
    """Copy the entries of `state` whose names and shapes are the network's.

    Args:
        network: is written to.
        state: its names must end in those of a SideOutputs, of a plain network (without
            "network." in front) or of its sub-module "encoder". If a teacher and a student fit
            equally, the teacher is taken.
        part: "network" for all of it, side heads included; "encoder" for the sub-modules in
            `network.encoder_modules` only.

    Raises:
        ValueError: no parameter matches, values are not finite, several sets of weights fit
            equally, the patch merging of a SwinUNETR differs, the encoder is not known, or `part`
            is unknown. Nothing has been written then.
    """
    if part not in PARTS:
        raise ValueError(f"Unknown part {part!r}; known: {', '.join(PARTS)}.")
    if part == "encoder" and not network.encoder_modules:
        raise ValueError("It is not known what the encoder of this network is: let its factory "
                         "return networks.find_levels(...), or LevelledNetwork(encoder_modules=).")
    return copy_weights(network, state, part,
                        tuple(f"network.{module}." for module in network.encoder_modules))


def copy_weights(network: nn.Module, state: dict[str, torch.Tensor], part: str,
                 encoder_prefixes: tuple[str, ...]) -> TransferReport:
    """`transfer_weights` for any module; the prefixes tell which names are its encoder's."""
    target, aliases = _entries(network)
    encoder = tuple(name for name in target if name.startswith(encoder_prefixes))
    source = _renamed(state, target, aliases)
    _check_patch_merging(source, target)

    def reason(name: str) -> str | None:
        if name not in target:
            return "not in the network"
        if part == "encoder" and name not in encoder:
            return "not part of the encoder"
        if name not in source:
            return "not in the file"
        there, here = source[name], target[name]
        if there.is_floating_point() != here.is_floating_point():
            return f"of {there.dtype} in the file, {here.dtype} in the network"
        if there.shape != here.shape:
            return (f"of shape {tuple(there.shape)} in the file, {tuple(here.shape)} in the "
                    f"network")
        return None

    reasons = {name: reason(name) for name in dict.fromkeys((*target, *source))}
    matched = tuple(name for name, why in reasons.items() if why is None)
    unmatched = {name: why for name, why in reasons.items() if why is not None}
    if not any(isinstance(target[name], nn.Parameter) for name in matched):
        shapes = [f"{name}, {why}" for name, why in unmatched.items() if why.startswith("of shape")]
        told = f"The file has {_few(state)}; the network has {_few(target)}"
        if shapes:
            told = (f"{len(shapes)} entries have the same name and another shape, such as "
                    f"{shapes[0]}")
        raise ValueError(f"No weight matches (part: {part}). {told}.")
    values = {name: source[name].to(target[name].dtype) for name in matched}
    broken = [name for name, value in values.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"{len(broken)} of {len(matched)} entries that fit have values that are "
                         f"not finite (NaN, infinite, or too large for {target[broken[0]].dtype}): "
                         f"{_few(broken)}. Nothing was copied; take weights of an earlier epoch, "
                         f"or of another source.")
    with torch.no_grad():
        for name, value in values.items():
            target[name].copy_(value)
    sizes = {name: target.get(name, source.get(name)).numel() for name in reasons}
    if part == "encoder" or all(name.startswith(encoder_prefixes) for name in source):
        wanted = encoder
    else:
        wanted = tuple(name for name in target if not name.startswith(SIDE_HEADS))
    return TransferReport(part, matched, unmatched, sizes, encoder, wanted)


def _entries(network: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The network's own tensors by their first name, and every name with its first name.

    DynUNet holds its blocks under two names.
    """
    first: dict[int, str] = {}
    state = network.state_dict(keep_vars=True)
    aliases = {name: first.setdefault(id(value), name) for name, value in state.items()}
    return {name: state[name] for name in first.values()}, aliases


def _renamed(state: dict[str, torch.Tensor], target: dict[str, torch.Tensor],
             aliases: dict[str, str]) -> dict[str, torch.Tensor]:
    """The set of weights in `state` that fits best, by the target's first names."""
    known = {_bare(name): first for name, first in aliases.items()}
    source: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if source.setdefault(_bare(name), value) is not value:
            raise ValueError(f"The file has {_bare(name)} twice, with and without one of "
                             f"{', '.join(PUT_IN_BETWEEN)}; keep one of them in the file.")
    removed, added = _best_alignment(source, target, known)
    renamed: dict[str, torch.Tensor] = {}
    for name, value in source.items():
        if name.startswith(removed):
            new = added + name.removeprefix(removed)
            first = known.get(new, new)
            if first not in renamed or new == _bare(first):
                renamed[first] = value
    return renamed


def _best_alignment(source: dict[str, torch.Tensor], target: dict[str, torch.Tensor],
                    known: dict[str, str]) -> tuple[str, str]:
    """The prefix to remove from the source's names and the one to add, so that most names match.

    Args:
        known: all names of the target, to its first names.
    """
    pairs: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name in source:
        parts = name.split(".")
        for cut in range(len(parts)):
            for added in PLACES:
                new = added + ".".join(parts[cut:])
                if new in known:
                    pairs["".join(f"{part}." for part in parts[:cut]), added][name] = known[new]
    counts = {}
    for (removed, added), names in pairs.items():
        wrappers = removed.split(".")[:-1]
        most = 2 * len(names) >= sum(name.startswith(added) for name in known)
        if most or all(wrapper in WRAPPERS for wrapper in wrappers):
            fitting = sum(source[name].shape == target[new].shape for name, new in names.items())
            counts[removed, added] = (fitting, len(names), "teacher" in wrappers)
    if not counts:
        return "", ""
    best = [pair for pair, count in counts.items() if count == max(counts.values())]
    if any(pairs[pair].keys().isdisjoint(pairs[best[0]]) for pair in best):
        raise ValueError(f"The file holds several sets of weights that fit equally, under "
                         f"{', '.join(repr(removed) for removed, _ in best)}; which one is meant "
                         f"is not known. Keep one of them in the file.")
    return best[0]


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in PUT_IN_BETWEEN)


def _check_patch_merging(source: dict[str, Any], target: dict[str, Any]) -> None:
    """Refuse weights of a SwinUNETR that merges patches in another way."""
    merging = ".downsample.reduction.weight"
    for name in source:
        if not (name.endswith(merging) and name in target):
            continue
        mark = name.removesuffix("reduction.weight") + LEGACY_MARK
        if (mark in source) != (mark in target):
            there, here = "today's patch merging", "the authors' (legacy_patch_merging)"
            if mark in source:
                there, here = here, there
            raise ValueError(f"The weights in the file were trained with {there}, the network has "
                             f"{here}: the shapes agree, their meaning does not. Build the network "
                             f"with the same legacy_patch_merging.")


def _group(name: str) -> str:
    """Top-level module of an entry; the wrapper's "network." does not count."""
    return name.removeprefix("network.").split(".")[0]


def _few(names: dict[str, Any]) -> str:
    shown = ", ".join(list(names)[:3])
    if len(names) > 3:
        shown += f", ... ({len(names)})"
    return shown
