"""DSD on any network: from the names of its levels to a LevelledNetwork."""

import re
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from math import prod
from operator import itemgetter
from typing import Any

import torch
from torch import nn

from .levels import LevelledNetwork
from .probe import described, probe
from .side_outputs import Level, SideOutputs


def find_levels(network: nn.Module, in_channels: int, img_size: Sequence[int], *,
                encoder: Sequence[str], decoder: Sequence[str],
                encoder_modules: Sequence[str] | None = None,
                share_heads: bool = False) -> LevelledNetwork:
    """Name the levels of a network; their channels and scales are measured by one forward pass.

    A level is the output of a sub-module, by its dotted name as in `network.named_modules()`.
    Where that output is a tuple or a list, a name that ends in "[i]" takes its item i. Each branch
    is named along the data flow, so that its last level is the teacher: the encoder from full
    resolution to coarse, the decoder from the bottleneck to fine.

    Args:
        network: images (B, C, H, W, D) -> logits (B, K, H, W, D), in evaluation and training.
        img_size: (H, W, D) of training crops, voxels.
        encoder_modules: sub-modules that `--init_part encoder` may write to; None for those of the
            encoder's levels.
        share_heads: levels of equal channels and scale share one head; otherwise each has its own.

    Raises:
        ValueError: everything that is wrong, in one message: names that are unknown, never called
            or called several times in a forward pass; an output that is not a feature map of one
            image, or whose size does not divide the image's; a branch without levels or with
            levels in the wrong order; a network that cannot take the image or does not return
            logits; a text instead of a list of names.

    Warns:
        UserWarning: the encoder goes on to the bottleneck, which is then its teacher.
    """
    if isinstance(encoder, str) or isinstance(decoder, str):
        raise ValueError(f"encoder {encoder!r} and decoder {decoder!r} must each be a list of "
                         f"names.")
    img_size = tuple(img_size)
    branches = {"dec": tuple(decoder), "enc": tuple(encoder)}
    known = [name for name, _ in network.named_modules(remove_duplicate=False) if name]
    modules = {name: _split(name)[0] for names in branches.values() for name in names}
    extra = tuple(encoder_modules or ())
    problems = []
    for word, names in (("encoder", branches["enc"]), ("decoder", branches["dec"])):
        if not names:
            problems.append(f"the {word} has no levels")
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                problems.append(f"{name!r} is named twice in the {word}")
    unknown = dict.fromkeys(name for name in (*modules.values(), *extra) if name not in known)
    problems += [_unknown(name, known) for name in unknown]
    listen = dict.fromkeys(name for name in modules.values() if name not in unknown)
    num_classes, calls = None, None
    try:
        num_classes, calls = probe(network, in_channels, img_size, listen)
    except ValueError as error:
        problems.append(str(error).rstrip("."))

    shapes = {}
    for name, module in modules.items():
        if calls is not None and module in listen:
            found = _feature_shape(name, calls.get(module, []), img_size)
            if isinstance(found, str):
                problems.append(found)
            else:
                shapes[name] = found
    for word, names in (("encoder", branches["enc"]), ("decoder", branches["dec"])):
        if all(name in shapes for name in names):
            problems += _order_problem(word, names, shapes, list(calls or ()))
    if problems:
        raise ValueError(f"{type(network).__name__}: {'; '.join(problems)}.")
    _warn_of_bottleneck(branches, shapes)

    heads: dict[tuple, str] = {}

    def level(branch: str, number: int, name: str) -> Level:
        module, item = _split(name)
        channels, *size = shapes[name]
        scale = tuple(n // m for n, m in zip(img_size, size, strict=True))
        head = f"{branch}{number}"
        if share_heads:
            head = heads.setdefault((channels, scale), head)
        read = None
        if item is not None:
            read = itemgetter(item)
        return Level(module, channels, scale, head, read)

    return LevelledNetwork(
        network,
        decoder=tuple(level("dec", len(decoder) - i, name) for i, name in enumerate(decoder)),
        encoder=tuple(level("enc", i + 1, name) for i, name in enumerate(encoder)),
        encoder_modules=extra or tuple(dict.fromkeys(modules[name] for name in encoder)),
        num_classes=num_classes)


def with_side_outputs(network: nn.Module, in_channels: int, img_size: Sequence[int], *,
                      encoder: Sequence[str], decoder: Sequence[str], upsampling: str = "shared",
                      hints: bool = False, encoder_modules: Sequence[str] | None = None,
                      share_heads: bool = False) -> SideOutputs:
    """Any network, ready to be trained with DSD: its levels found, its side heads built.

    In training mode it returns {"out": logits, "dec": [...], "enc": [...]} as the built-in
    networks do, in evaluation mode the logits alone. K is that of the network's own output.

    Args:
        upsampling, hints: see `build_network`; for the others see `find_levels`.

    Raises:
        ValueError: see `find_levels`.
    """
    found = find_levels(network, in_channels, img_size, encoder=encoder, decoder=decoder,
                        encoder_modules=encoder_modules, share_heads=share_heads)
    return SideOutputs(network, found.num_classes, found.decoder, found.encoder,
                       upsampling=upsampling, hints=hints, encoder_modules=found.encoder_modules)


def _split(name: str) -> tuple[str, int | None]:
    """"encoder[2]" to ("encoder", 2), "encoder" to ("encoder", None)."""
    match = re.fullmatch(r"(.*)\[(-?\d+)\]", name)
    if match is None:
        return name, None
    return match[1], int(match[2])


def _order_problem(branch: str, names: Sequence[str], shapes: dict[str, tuple],
                   called: list[str]) -> list[str]:
    """What is wrong with the order of a branch's levels, if anything.

    Levels of one size are in the order of their calls: data flow cannot be seen otherwise.

    Args:
        shapes: (C, h, w, d) by name.
        called: modules in the order of their outputs.
    """
    right = sorted(names, key=lambda name: called.index(_split(name)[0]))
    right.sort(key=lambda name: prod(shapes[name][1:]), reverse=branch == "encoder")
    if right == list(names):
        return []
    sizes = ", ".join(f"{name!r} {shapes[name][1:]}" for name in names)
    return [f"the {branch}'s levels {sizes} are not along the data flow, so that "
            f"{names[-1]!r} would be the teacher; the right order is {branch}={right}"]


def _warn_of_bottleneck(branches: dict[str, tuple[str, ...]], shapes: dict[str, tuple]) -> None:
    """The bottleneck begins the decoder; an encoder of several levels ends before it."""
    last, first = branches["enc"][-1], branches["dec"][0]
    is_coarser = prod(shapes[last][1:]) < prod(shapes[first][1:])
    if len(branches["enc"]) > 1 and (last in branches["dec"] or is_coarser):
        why = "a level of the decoder too"
        if is_coarser:
            why = f"coarser than {first!r}, where the decoder begins"
        warnings.warn(f"The encoder's last level {last!r}, its teacher, is {why}. As published the "
                      f"bottleneck is the decoder's first level and the encoder ends before it: "
                      f"encoder={list(branches['enc'][:-1])}.", stacklevel=3)


def _unknown(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"{name!r} is no sub-module; close to it are {', '.join(close)}"
    top = dict.fromkeys(other.split(".")[0] for other in known)
    return f"{name!r} is no sub-module; the outermost are {', '.join(top) or 'none'}"


def _feature_shape(name: str, calls: list[Any], img_size: tuple[int, ...]) -> tuple | str:
    """(C, h, w, d) of a level, or what is wrong with it."""
    if not calls:
        return f"{name!r} is not called in a forward pass"
    if len(calls) > 1:
        return (f"{name!r} is called {len(calls)} times in a forward pass, so it is not one level; "
                f"name a sub-module that is called once")
    output, item = calls[0], _split(name)[1]
    if item is not None:
        if not isinstance(output, list):
            return f"{name!r} asks for an item, but the output is not a tuple or list"
        if not -len(output) <= item < len(output):
            return f"{name!r} asks for an item that is not there, the output has {len(output)}"
        output = output[item]
    elif isinstance(output, list):
        return (f"{name!r} returns {len(output)} things; name one of them, "
                f"'{name}[0]' to '{name}[{len(output) - 1}]'")
    if not isinstance(output, torch.Tensor) or output.ndim != 5:
        return f"{name!r} returns {described(output)}, not a feature map (B, C, h, w, d)"
    batch, channels, *size = output.shape
    if batch != 1:
        return f"{name!r} returns {batch} feature maps for one image"
    if any(m == 0 or n % m for n, m in zip(img_size, size, strict=True)):
        return f"{name!r} returns the size {tuple(size)}, which does not divide {img_size}"
    return (channels, *size)
