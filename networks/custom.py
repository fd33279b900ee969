"""Networks from outside the project, by the Python path of their factory."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from torch import nn

from .dsd.levels import LevelledNetwork
from .dsd.probe import probe

ARGUMENTS = ("in_channels", "num_classes", "img_size")


def load_factory(path: str) -> Callable[..., Any]:
    """Import "package.module:factory"; modules are also found in the current directory.

    The factory is called as factory(in_channels=..., num_classes=..., img_size=..., **options).
    A callable that does not take these three arguments by name is refused without being called: a
    run folder names its factory, and must not be able to call just anything.

    Raises:
        ValueError: the module cannot be imported, has no such callable, or its arguments differ.
    """
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise ValueError(f"{path!r} is not of the form package.module:factory.")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # last: it must not hide installed modules
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the module's own code raises
        raise ValueError(f"{path}: {module_name} cannot be imported from {here} or the installed "
                         f"packages ({type(error).__name__}: {error}).") from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        hint = ""
        close = get_close_matches(attribute, [name for name in vars(module) if name[0] != "_"])
        if close:
            hint = f"; close to it: {', '.join(close)}"
        raise ValueError(f"{path}: {module_name} has no callable {attribute}{hint}.")
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        parameters = {}
    by_name = {name for name, parameter in parameters.items()
               if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY}
    lacking = [name for name in ARGUMENTS if name not in by_name]
    if lacking:
        raise ValueError(f"{path}: must take {', '.join(ARGUMENTS)} by name; it lacks "
                         f"{', '.join(lacking)}.")
    return factory


def measured(path: str, made: Any, in_channels: int, num_classes: int,
             img_size: tuple[int, int, int], self_distillation: bool) -> LevelledNetwork:
    """What a factory returned, as a LevelledNetwork with the right number of classes.

    Raises:
        ValueError: not a network, no levels although DSD needs them, or logits of another shape.
    """
    if isinstance(made, nn.Module):
        if self_distillation:
            raise ValueError(f"{path}: returned a plain {type(made).__name__}. For "
                             f"self-distillation its levels must be named: return "
                             f"networks.find_levels(network, in_channels, img_size, "
                             f"encoder=[names], decoder=[names]).")
        made = LevelledNetwork(made, (), ())
    if not isinstance(made, LevelledNetwork):
        raise ValueError(f"{path}: returned a {type(made).__name__}, not a torch.nn.Module or what "
                         f"networks.find_levels returns.")
    found = made.num_classes or probe(made.network, in_channels, img_size)[0]
    if found != num_classes:
        raise ValueError(f"{path}: its logits have {found} classes instead of {num_classes}.")
    return made
