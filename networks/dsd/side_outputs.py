"""The one wrapper that gives any U-shaped network its side outputs."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .hint_head import HintHead
from .probe import described
from .side_head import LastStep, SideHead

_FEATURE = "_requested_side_feature"


@dataclass(frozen=True)
class Level:
    """One encoder or decoder level of a network: where its feature map is and what it is like.

    Attributes:
        module: dotted name of the sub-module whose output is the feature map.
        channels: of the feature map.
        scale: input size over feature size, per axis.
        head: levels that name the same head share its weights.
        read: turns the sub-module's output into the feature map (B, C, h, w, d); None when it
            is the feature map already.
    """

    module: str
    channels: int
    scale: tuple[int, int, int]
    head: str
    read: Callable[[Any], torch.Tensor] | None = None


class SideOutputs(nn.Module):
    """A network with heads on its decoder and encoder levels.

    In training mode `forward` returns {"out": logits} and, where levels were given, "dec" and
    "enc": lists of side logits in the order of the levels, the teacher last. Every entry is
    (B, K, H, W, D). With hints it also returns "hints": {"dec": ..., "enc": ...}, lists of vectors
    (B, 128) of the levels but each branch's first, the teacher last. In evaluation mode it returns
    the logits alone and no head runs.

    The network's own parameters are under "network.", the heads' under "heads." and
    "hint_heads.": a checkpoint without its heads is the plain network.

    Differs from the authors' code: theirs runs the heads in evaluation too, keeps their outputs
    on the module, and returns a tuple whose positions carry the meaning.

    Args:
        network: (B, C, H, W, D) -> logits (B, K, H, W, D).
        num_classes: K, background included.
        decoder: levels along the data flow: the one next to the bottleneck first, the teacher last.
        encoder: levels along the data flow: full resolution first, the teacher last.
        initialise: applied to every module of the heads; None keeps torch's defaults.
        upsampling: of the heads, one of UPSAMPLINGS; hints always use the published one.
        hints: adds the hint heads; levels of equal channels and scale share one.
        encoder_modules: the encoder's sub-modules, for `transfer_weights`.

    Raises:
        ValueError: a level names a module that the network lacks, levels that share a head differ,
            or hints are asked for and no branch has the three levels that they need.
    """

    def __init__(self, network: nn.Module, num_classes: int, decoder: Sequence[Level] = (),
                 encoder: Sequence[Level] = (),
                 initialise: Callable[[nn.Module], None] | None = None, *,
                 upsampling: str = "shared", hints: bool = False,
                 encoder_modules: Sequence[str] = ()):
        super().__init__()
        self.network = network
        self.num_classes = num_classes
        self.encoder_modules = tuple(encoder_modules)
        self.levels = {"dec": tuple(decoder), "enc": tuple(encoder)}
        levels = [level for branch in self.levels.values() for level in branch]
        _check_levels(network, levels)
        self.heads = nn.ModuleDict()
        for level in levels:
            if level.head not in self.heads:
                self.heads[level.head] = SideHead(level.channels, num_classes, level.scale,
                                                  upsampling)
        self.hint_heads, self.hint_levels = nn.ModuleDict(), {}
        if hints:
            self.hint_levels = _hint_levels(self.levels)
            for branch in self.hint_levels.values():
                for level in branch:
                    key = _hint_key(level)
                    if key not in self.hint_heads:
                        self.hint_heads[key] = HintHead(level.channels, level.scale)
        if initialise is not None:
            self.heads.apply(initialise)
            self.hint_heads.apply(initialise)
        for name in {level.module for level in levels}:
            network.get_submodule(name).register_forward_hook(_hand_over)

    def forward(self, images: torch.Tensor,
                whole: bool = True) -> torch.Tensor | dict[str, Any]:
        """Images (B, C, H, W, D) to the training dict, or to logits in evaluation mode.

        Args and errors: see `all_outputs`.
        """
        if self.training:
            return self.all_outputs(images, whole)
        return self.network(images)

    def all_outputs(self, images: torch.Tensor, whole: bool = True) -> dict[str, Any]:
        """Images (B, C, H, W, D) to the training dict, in either mode.

        Unless `whole`, side logits may be a LastStep: the losses take that step piece by piece, so
        that the heads' largest volumes never exist.

        Raises:
            ValueError: the network returns anything but (B, K, H, W, D), or does not call the
                module of a level.
        """
        with _requested(self.network, self.levels) as features:
            outputs = {"out": self.network(images)}
            _check_logits(outputs["out"], (len(images), self.num_classes, *images.shape[2:]))
            logits = self._side_logits(features, whole)
            for branch, levels in self.levels.items():
                if levels:
                    outputs[branch] = [logits[branch, index] for index in range(len(levels))]
            if self.hint_levels:
                outputs["hints"] = hints = {}
                for branch, levels in self.hint_levels.items():
                    hints[branch] = [self.hint_heads[_hint_key(level)](features(level))
                                     for level in levels]
        return outputs

    def _side_logits(self, features: Callable[[Level], torch.Tensor],
                     whole: bool) -> dict[tuple[str, int], torch.Tensor | LastStep]:
        """By branch and index; each head is called once, for all its levels."""
        found = {}
        for name, head in self.heads.items():
            places, maps = [], []
            for branch, levels in self.levels.items():
                for index, level in enumerate(levels):
                    if level.head == name:
                        places.append((branch, index))
                        maps.append(features(level))
            made = head(maps, whole)
            found |= dict(zip(places, made, strict=True))
        return found


def _hand_over(module: nn.Module, _inputs: Any, output: Any) -> None:
    """Forward hook: leave the output where it was asked for, and nowhere else."""
    if _FEATURE in module.__dict__:
        module.__dict__[_FEATURE] = output


@contextmanager
def _requested(network: nn.Module, branches: dict[str, tuple[Level, ...]]):
    """Ask the levels' modules for their outputs; none is kept once the block is left."""
    modules = {}
    for levels in branches.values():
        for level in levels:
            modules[level.module] = network.get_submodule(level.module)

    def feature(level: Level) -> torch.Tensor:
        output = modules[level.module].__dict__[_FEATURE]
        if output is None:
            raise ValueError(f"In training mode the network does not call {level.module}, so it "
                             f"cannot be used as a level.")
        if level.read is None:
            return output
        return level.read(output)

    for module in modules.values():
        module.__dict__[_FEATURE] = None
    try:
        yield feature
    finally:
        for module in modules.values():
            module.__dict__.pop(_FEATURE, None)


def _hint_levels(branches: dict[str, tuple[Level, ...]]) -> dict[str, tuple[Level, ...]]:
    """Each branch without its first level, if that leaves a student and the teacher."""
    found = {branch: levels[1:] for branch, levels in branches.items() if len(levels) > 2}
    if not found:
        counts = ", ".join(f"{branch} {len(levels)}" for branch, levels in branches.items())
        raise ValueError(f"Hints need a branch of at least three levels; there are {counts}.")
    return found


def _hint_key(level: Level) -> str:
    return f"channels{level.channels}_scale" + "x".join(map(str, level.scale))


def _check_logits(output: Any, want: tuple[int, ...]) -> None:
    if isinstance(output, torch.Tensor) and output.shape == want:
        return
    raise ValueError(f"In training mode the network returned {described(output)}; it must return "
                     f"one tensor of logits {want}. Switch off its own deep supervision, if it "
                     f"has any.")


def _check_levels(network: nn.Module, levels: list[Level]) -> None:
    have = {name for name, _ in network.named_modules(remove_duplicate=False)}
    lacking = [level.module for level in levels if level.module not in have]
    if lacking:
        raise ValueError(f"Levels {', '.join(lacking)} are not sub-modules of "
                         f"{type(network).__name__}; its own are "
                         f"{', '.join(name for name, _ in network.named_children())}.")
    shape: dict[str, tuple] = {}
    for level in levels:
        want = (level.channels, level.scale)
        if shape.setdefault(level.head, want) != want:
            raise ValueError(f"Level {level.module} cannot share head {level.head}: it has "
                             f"(channels, scale) {want}, the head is for {shape[level.head]}.")
