"""What a training run is: one frozen dataclass, filled from flags, name and recipe."""

import argparse
import dataclasses
import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .experiment_name import NameHints, read_experiment_name
from .recipes import DATASETS, NETWORKS, RECIPES, Recipe
from .training_parser import training_parser


@dataclass(frozen=True)
class TrainingConfig:
    """Everything needed to build a run again; written to the run folder as config.json."""

    method: str                                 # "basic" or "dsd"
    data_dir: str                               # DATA, absolute
    output_model: str | None                    # where the final weights are exported, or None
    experiment: str                             # name or path of the run folder, NAME.exp
    dataset: str
    network: str
    network_options: dict[str, Any]
    img_size: tuple[int, int, int]              # crop and sliding window, voxels
    fold: int                                   # 1-based
    training_split: int | None                  # size of the held-out group; None: published
    validation_split: int | None                # cases; None: published or 15 %
    splits: str | None                          # a file of nnU-Net's splits_final.json structure
    epochs: int
    batch_size: int                             # volumes a step; each gives several crops
    lr: float
    weight_decay: float
    lr_schedule: str
    alpha: float                                # weight of the KL terms
    temperature: float
    include_background: bool                    # in the KL terms
    val_every: int                              # epochs
    overlap: float                              # of sliding windows, fraction
    window_batch: int                           # sliding windows per forward pass
    num_workers: int
    seed: int
    device: str
    use_multi_gpus: bool
    show_verbose: bool
    overwrite: bool                             # replace an experiment of that name
    resume: bool                                # continue it after its last finished epoch

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, tuples as lists."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingConfig":
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is missing or unknown.
        """
        if not isinstance(values, dict):
            raise ValueError("config.json must hold one object.")
        names = {field.name for field in dataclasses.fields(cls)}
        missing, unknown = names - set(values), set(values) - names
        if missing or unknown:
            raise ValueError(f"config.json does not fit this version: missing {sorted(missing)}, "
                             f"unknown {sorted(unknown)}.")
        options = {name: tuple(value) if isinstance(value, list) else value
                   for name, value in values["network_options"].items()}
        values = dict(values, img_size=tuple(values["img_size"]), network_options=options)
        return cls(**values)


def training_config(method: str, argv: list[str] | None = None) -> TrainingConfig:
    """Read the command line; a flag wins over the experiment's name, and that over the recipe.

    Raises:
        ValueError: every setting that cannot be, in one message.
    """
    args = training_parser(method).parse_args(argv)
    hints = read_experiment_name(Path(args.experiment or "").name)
    problems: list[str] = []
    dataset = _choose("dataset", args, hints, DATASETS, problems)
    network = _choose("network", args, hints, NETWORKS, problems)
    fold = _choose("fold", args, hints, None, problems)
    fold = 1 if fold is None else fold
    recipe = RECIPES[dataset][network] if dataset and network else None
    problems += _range_problems(args, fold)
    if recipe:
        options, option_problems = _network_options(network, args, recipe)
        problems += option_problems
    if problems:
        raise ValueError("\n".join(["These settings cannot be used:", *problems]))

    def pick(flag, published):
        return published if flag is None else flag

    return TrainingConfig(
        method=method, data_dir=str(Path(args.data_dir).resolve()),
        output_model=None if args.output_model == "_" else args.output_model,
        experiment=args.experiment or f"{dataset}_{network}_{method}_Fold{fold}.exp",
        dataset=dataset, network=network, network_options=options,
        img_size=tuple(pick(args.img_size, recipe.img_size)),
        fold=fold, training_split=args.training_split, validation_split=args.validation_split,
        splits=args.splits, epochs=pick(args.epochs, recipe.epochs), batch_size=args.batch_size,
        lr=pick(args.lr, recipe.lr), weight_decay=pick(args.weight_decay, recipe.weight_decay),
        lr_schedule=pick(args.lr_schedule, recipe.lr_schedule),
        alpha=getattr(args, "alpha", 1.0), temperature=getattr(args, "temperature", 3.0),
        include_background=not getattr(args, "exclude_background", False),
        val_every=args.val_every, overlap=args.overlap, window_batch=args.window_batch,
        num_workers=args.num_workers, seed=args.seed, device=args.device or "auto",
        use_multi_gpus=args.use_multi_gpus, show_verbose=args.show_verbose,
        overwrite=args.overwrite, resume=args.resume)


def _choose(kind: str, args: argparse.Namespace, hints: NameHints, choices, problems) -> Any:
    """The flag, else what the name says; a contradiction is warned of, silence is a problem."""
    flag, said = getattr(args, kind), getattr(hints, kind)
    if flag is not None:
        if said and said != (flag,):
            warnings.warn(f"--{kind} {flag} is used, although the experiment's name "
                          f"{args.experiment} says {' and '.join(map(str, said))}.", stacklevel=3)
        return flag
    usable = [value for value in said if choices is None or value in choices]
    if len(said) == 1 and usable:
        return usable[0]
    if said or choices:
        why = (f"the name {args.experiment} says {' and '.join(map(str, said))}" if said
               else "neither a flag nor the experiment's name says it")
        pick = f"one of {', '.join(choices)}" if choices else "a number"
        problems.append(f"  --{kind}: {why}; give --{kind} as {pick}.")
    return None


def _range_problems(args: argparse.Namespace, fold: int) -> list[str]:
    at_least_one = {"epochs": args.epochs, "batch_size": args.batch_size, "fold": fold,
                    "training_split": args.training_split, "val_every": args.val_every,
                    "validation_split": args.validation_split, "window_batch": args.window_batch,
                    "feature_size": args.feature_size}
    problems = [f"  --{name} {value}: must be at least 1."
                for name, value in at_least_one.items() if value is not None and value < 1]
    for name in ("img_size", "filters"):
        if any(value < 1 for value in getattr(args, name) or ()):
            problems.append(f"  --{name} {getattr(args, name)}: every number must be at least 1.")
    for name, low, strict in (("lr", 0, True), ("weight_decay", 0, False), ("alpha", 0, False),
                              ("temperature", 0, True), ("num_workers", 0, False),
                              ("seed", 0, False)):
        value = getattr(args, name, None)
        if value is not None and (not math.isfinite(value) or value < low
                                  or (strict and value == low)):
            problems.append(f"  --{name} {value}: must be {'above' if strict else 'at least'} 0.")
    if not 0 <= args.overlap < 1:
        problems.append(f"  --overlap {args.overlap}: must be at least 0 and below 1.")
    return problems


OPTION_NETWORK = {"feature_size": "unetr", "filters": "nnunet"}


def _network_options(network: str, args: argparse.Namespace, recipe: Recipe):
    """The recipe's options with the flags over them; a flag of another network is a problem."""
    options, problems = dict(recipe.network_options), []
    for name, owner in OPTION_NETWORK.items():
        value = getattr(args, name)
        if value is None:
            continue
        if network == owner:
            options[name] = tuple(value) if isinstance(value, list) else value
        else:
            problems.append(f"  --{name}: is an option of {owner}, but the network is {network}.")
    return options, problems
