"""Settings that follow from the data: planned for a user's own, or left to the dataset."""

import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ..options import shown_value
from ..recipes import WINDOWED, Recipe
from ..use.run_folder import cache_dir, cache_dir_of, experiment_dir, read_config
from .contents import Contents
from .plan import LEVELS, PLANNED, Grids, make_plan
from .training import DEFAULTS, TrainingConfig

# What to show for a setting that is None if nothing else decides it.
NOTHING = {"output_model": "none", "init_from": "none", "num_folds": "none", "splits": "none",
           "dataset_definition": "published", "window": "none", "spacing_mm": "unchanged",
           "training_split": "dataset's", "validation_split": "dataset's",
           "intensity": "dataset's", "num_crops": "dataset's", "early_stop": "never",
           "track": "none"}
BY_DEVICE = "device's"
SPLIT = ("splits", "fold", "num_folds", "training_split", "validation_split")


class DataRoom(Protocol):
    """What settings need to know of data on disk; the package `data` can tell."""

    def measured_grids(self, data_dir: str, definition: dict[str, Any]) -> Grids:
        """The grids of the images of a user's own data, from their headers."""
        ...

    def measured_contents(self, data_dir: str, definition: dict[str, Any],
                          split: dict[str, Any], folder: Path | None) -> Contents:
        """What the cases outside the test hold; kept in a folder if that is there."""
        ...

    def decided_values(self, config: TrainingConfig) -> dict[str, Any]:
        """The dataset's values for settings that are None."""
        ...


def own_settings(experiment: str, network: str, recipe: Recipe, flags: Mapping[str, Any],
                 data: DataRoom | None) -> tuple[dict[str, Any], str, dict[str, str]]:
    """Settings for a user's own data that no flag sets, their source, and the reasons.

    A run that exists keeps those of its config.json ("run"), so that a study or a cross-validation
    knows its runs again, unless it is overwritten; any other has a "plan". If the images
    cannot be measured, nothing is planned: the verification will report what is wrong with them.
    Warns of classes that few cases have.

    Args:
        flags: those that are given, by name; data_dir and dataset_definition are among them.
    """
    if not flags.get("overwrite"):
        kept = _kept(experiment, network, flags)
        if kept is not None:
            return kept, "run", {}
    if data is None:
        return {}, "plan", {}
    try:
        grids = data.measured_grids(flags["data_dir"], flags["dataset_definition"])
    except (ValueError, OSError):
        return {}, "plan", {}
    contents = None
    folder = None
    if flags.get("cache", DEFAULTS["cache"]) == "disk":
        folder = cache_dir_of(experiment, flags.get("cache_dir"))
    split = {name: flags.get(name, DEFAULTS[name]) for name in SPLIT}
    with suppress(ValueError, OSError):
        contents = data.measured_contents(flags["data_dir"], flags["dataset_definition"], split,
                                          folder)
    levels = {name: value for name, value in flags.get("network_options", ()) if name in LEVELS}
    plan = make_plan(grids, network, recipe, {**flags, **levels}, contents)
    if plan.doubts:
        warnings.warn("\n  ".join([f"{flags['data_dir']}:", *plan.doubts]), stacklevel=4)
    return dict(plan.values), "plan", plan.reasons


def _kept(experiment: str, network: str, flags: Mapping[str, Any]) -> dict[str, Any] | None:
    """The planned settings of the run in a folder; None if there is no run of this network."""
    try:
        run = read_config(experiment_dir(experiment))
    except ValueError:
        return None
    if run.dataset_definition is None or run.network != network:
        return None
    names = [name for name in PLANNED if name == "network_options" or name not in flags]
    kept = {name: getattr(run, name) for name in names}
    if flags.get("intensity", "hu") not in WINDOWED:
        kept["window"] = None  # the message is to be about the scheme
    return kept


def plan_in_words(values: Mapping[str, Any], reasons: Mapping[str, str]) -> str:
    """The plan, a line for each value with its reason."""
    lines = [f"Planned from the images of {values['data_dir']}; flags override it:"]
    for name, reason in reasons.items():
        value = NOTHING.get(name)
        if values.get(name) is not None:
            value = shown_value(values[name])
        lines.append(f"  {name} {value}: {reason}")
    return "\n".join(lines)


def is_first_process() -> bool:
    """Whether this is the only process of a run, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


def shown_settings(config: TrainingConfig, data: DataRoom | None) -> dict[str, Any]:
    """Every setting with the value that will be used, for --show_settings."""
    decided = {}
    if data is not None:
        decided = data.decided_values(config)
    decided["cache_dir"] = str(cache_dir(config))
    shown = config.to_dict()
    if config.dataset_definition is not None:
        shown["dataset_definition"] = config.dataset_definition.get("name")
    for name, value in shown.items():
        if value is None:
            value = decided.get(name)
        if value is None:
            value = NOTHING.get(name, BY_DEVICE)
        shown[name] = value
        if value == {}:
            shown[name] = "none"
    return shown
