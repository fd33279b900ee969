"""From a command line to the settings of a run: flags over name over recipe over defaults."""

import math
import sys
import warnings
from pathlib import Path
from typing import Any

from ..dataset_json import dataset_json_of, read_dataset_json
from ..experiment_name import NameHints, read_experiment_name, refuse_control_characters
from ..options import options_of, out_of_range, refuse, settings_table
from ..recipes import DATASETS, NETWORKS, recipe_of
from .own_settings import (
    DataRoom,
    is_first_process,
    own_settings,
    plan_in_words,
    shown_settings,
)
from .training import DEFAULTS, NetworkFlags, TrainingConfig
from .training_parser import training_parser

OWN_DATASET = "dataset.json"
LEFT_TO_DATASET = ("intensity", "window", "spacing_mm", "num_crops", "training_split",
                   "validation_split")
LEFT_TO_DEVICE = ("amp", "compile", "channels_last", "fused", "tf32")  # by --fast
OPTIONS = options_of(TrainingConfig) | options_of(NetworkFlags)


def training_config(method: str, argv: list[str] | None = None,
                    data: DataRoom | None = None) -> TrainingConfig:
    """The settings of `training_command`, whatever it says of --estimate."""
    return training_command(method, argv, data)[0]


def training_command(method: str, argv: list[str] | None = None, data: DataRoom | None = None
                     ) -> tuple[TrainingConfig, str | None]:
    """Read the command line; with --show_settings print the result and exit.

    A script that reads its own command line prints the plan for its data, too.

    Args:
        data: the package `data`, which can read headers; without it, a user's own data are not
            planned but take the recipe of MM-WHS.

    Returns:
        The settings, and the GPU of --estimate, None without it.

    Raises:
        ValueError: all impossible settings, in one message.
    """
    own_line = argv is None
    flags = vars(training_parser(method).parse_args(argv))
    show, gpu = flags.pop("show_settings", False), flags.pop("estimate", None)
    values, sources, reasons = resolve(method, flags, data)
    config = TrainingConfig(**values)
    if reasons and (show or (own_line and is_first_process())):
        print(plan_in_words(values, reasons))
    if show:
        print(settings_table(shown_settings(config, data), sources))
        sys.exit(0)
    return config, gpu


def resolve(method: str, flags: dict[str, Any], data: DataRoom | None = None
            ) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """Every setting's value, its source, and the reasons for planned values.

    A source is "flag", "name", "recipe", "default", "script" (the method), "DATA" (the
    dataset.json in the data folder), "plan" (for a user's own data), "run" (the same, of a resumed
    run), or, for values left open (None), "dataset" or "--fast", which chooses by the device.

    Args:
        flags: those that were given, by name.
        data: see `training_command`.

    Raises:
        ValueError: all impossible settings, in one message.
    """
    flags = dict(flags)
    hints = read_experiment_name(Path(flags.get("experiment", "")).name)
    problems: list[str] = []
    try:
        refuse_control_characters("--experiment", flags.get("experiment", ""))
    except ValueError as error:
        problems.append(f"  {error}")
    in_data = dataset_json_of(flags["data_dir"])
    found_in_data = "dataset" not in flags and not hints.dataset and in_data is not None
    if found_in_data:
        flags["dataset"] = in_data
    chosen = {}
    for kind, choices in (("dataset", DATASETS), ("network", NETWORKS), ("fold", None)):
        chosen[kind] = _choose(kind, flags, hints, choices, problems)
    _warn_of_method(method, flags, hints)
    own = str(chosen["dataset"]).endswith(".json")
    if own:
        flags["dataset"], flags["dataset_definition"] = _own_dataset(chosen["dataset"], problems)
        chosen["dataset"] = flags["dataset"]
    said = {}
    if method == "dsd":
        said |= hints.variants
    said |= {kind: value for kind, value in chosen.items() if value is not None}
    _warn_of_idle(flags, said)
    if flags.get("optimizer") == "sgd" and "lr" not in flags:
        warnings.warn("--optimizer sgd: the recipe's learning rate is for adamw; give --lr, such "
                      "as 0.01.", stacklevel=3)
    recipe = recipe_of(chosen["dataset"], chosen["network"])
    given = flags | {"fold": chosen["fold"]}
    problems += out_of_range(TrainingConfig, given) + out_of_range(NetworkFlags, given)
    problems += _window_problems(flags) + _problems_of_network(chosen["network"], flags)
    if own and method == "dsd":
        _check_kl(flags, said, problems)
    refuse(problems)
    planned, planner, reasons = {}, "plan", {}
    if own:
        name = flags.get("experiment") or _experiment_name(
            DEFAULTS | said | flags | {"method": method})
        fold = chosen["fold"] or DEFAULTS["fold"]
        planned, planner, reasons = own_settings(name, chosen["network"], recipe,
                                                 flags | {"fold": fold}, data)
    base = planned.pop("network_options", recipe.network_options)
    options, option_source = _network_options(flags, base)
    if option_source == "recipe" and base is not recipe.network_options:
        option_source = planner

    from_recipe = ("img_size", "epochs", "lr", "weight_decay", "lr_schedule")
    fast = {}
    if flags.get("fast"):
        fast = dict.fromkeys(LEFT_TO_DEVICE)
    fields = TrainingConfig.__dataclass_fields__
    layers = {
        "default": DEFAULTS,
        "recipe": {name: getattr(recipe, name) for name in from_recipe},
        planner: planned,
        "name": said,
        "--fast": fast,
        "flag": {name: value for name, value in flags.items() if name in fields},
    }
    values, sources = {}, {}
    for source, layer in layers.items():
        values |= layer
        sources |= dict.fromkeys(layer, source)
    values |= {"method": method, "network_options": options,
               "data_dir": str(Path(flags["data_dir"]).resolve())}
    if values["output_model"] == "_":
        values["output_model"] = None
    values.setdefault("experiment", _experiment_name(values))
    sources |= {"method": "script", "network_options": option_source}
    if found_in_data:
        sources |= {"dataset": "DATA", "dataset_definition": "DATA"}
    for name in LEFT_TO_DATASET:
        if values[name] is None and sources.get(name) != planner:
            sources[name] = "dataset"
    return values, {name: sources.get(name, "default") for name in values}, reasons


def _choose(kind: str, flags: dict[str, Any], hints: NameHints, choices, problems) -> Any:
    """The flag, or else what the name says; warns of a contradiction, reports if neither does."""
    flag, said = flags.get(kind), getattr(hints, kind)
    in_words = " and ".join(map(str, said))
    if flag is not None:
        if said and said != (flag,):
            warnings.warn(f"--{kind} {flag} is used, although the experiment's name "
                          f"{flags['experiment']} says {in_words}.", stacklevel=4)
        return flag
    if len(said) == 1:
        return said[0]
    if said or choices:
        why = "neither a flag nor the experiment's name says it"
        if said:
            why = f"the name {flags['experiment']} says {in_words}"
        pick = "a number"
        if choices:
            pick = f"one of {', '.join(choices)}"
        if kind == "dataset":
            pick += ", or the path of a dataset.json (DATA has none)"
        problems.append(f"  --{kind}: {why}; give --{kind} as {pick}.")
    return None


def _warn_of_method(method: str, flags: dict[str, Any], hints: NameHints) -> None:
    said = set(hints.method)
    if hints.variants:
        said.add("dsd")
    if said and method not in said:
        script = {"basic": "train_basic.py", "dsd": "train_SelfDistil_Original.py"}
        other = next(iter(said))
        warnings.warn(f"{script[method]} trains without the method that the experiment's name "
                      f"{flags['experiment']} says; {script[other]} trains with it.", stacklevel=4)


def _warn_of_idle(flags: dict[str, Any], said: dict[str, Any]) -> None:
    for name, option in OPTIONS.items():
        switch = option.needs
        if switch and name in flags and not (flags.get(switch) or said.get(switch)):
            warnings.warn(f"--{name} {flags[name]}: has no effect without --{switch}.",
                          stacklevel=4)
    if "cache_dir" in flags and flags.get("cache", DEFAULTS["cache"]) != "disk":
        warnings.warn(f"--cache_dir {flags['cache_dir']}: has no effect with --cache "
                      f"{flags['cache']}.", stacklevel=4)


def _check_kl(flags: dict[str, Any], said: dict[str, Any], problems: list[str]) -> None:
    """With a single class the softmax is 1 everywhere, and the KL between outputs is 0."""
    labels = (flags["dataset_definition"] or {}).get("labels", ())
    if len(labels) != 2 or flags.get("distil", said.get("distil")) == "none":
        return
    text = "leaves one class out of two for the KL, which is 0 then"
    if flags.get("include_background") is False:
        problems.append(f"  --exclude_background: {text}; leave it out, or give --distil none.")
    if flags.get("shape_priors", said.get("shape_priors")):
        warnings.warn(f"--shape_priors: {text}: the run has no distillation.", stacklevel=4)


def _own_dataset(path: str, problems: list[str]) -> tuple[str, dict[str, Any] | None]:
    try:
        return OWN_DATASET, read_dataset_json(path)
    except ValueError as error:
        problems.append(f"  --dataset: {error}")
        return OWN_DATASET, None


def _window_problems(flags: dict[str, Any]) -> list[str]:
    low, high = flags.get("window", (0, 1))
    if math.isfinite(low) and math.isfinite(high) and low < high:
        return []
    return [f"  --window {low} {high}: LOW must be below HIGH."]


def _problems_of_network(network: str | None, flags: dict[str, Any]) -> list[str]:
    """A problem for each flag that belongs to other networks."""
    problems = []
    for name, option in OPTIONS.items():
        if name in flags and option.networks and network not in (None, *option.networks):
            problems.append(f"  --{name}: is an option of {' and '.join(option.networks)}, but "
                            f"the network is {network}.")
    return problems


def _network_options(flags: dict[str, Any], base: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The recipe's or plan's options, overridden by the flags, and their source."""
    given = {name: flags[name] for name in options_of(NetworkFlags) if name in flags}
    given |= dict(flags.get("network_options", ()))
    if not given:
        return dict(base), "recipe"
    for name, value in given.items():
        if isinstance(value, list):
            given[name] = tuple(value)
    return base | given, "flag"


def _experiment_name(values: dict[str, Any]) -> str:
    """DATASET_NETWORK_METHOD_FoldK.exp, of letters that every file system takes."""
    dataset = values["dataset"]
    if values["dataset_definition"]:
        dataset = values["dataset_definition"]["name"]
    network = values["network"].split(":")[-1]
    name = f"{dataset}_{network}_{values['method']}_Fold{values['fold']}"
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name) + ".exp"
