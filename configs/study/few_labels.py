"""A study of DeSD pre-training with few labels: presets, command line, settings."""

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from system.command_line import CommandLine

from ..pretraining.pretraining import ARCHS
from .cross_validation import METHODS

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # For a GPU of 24 GB. The peak of the learning rate is that of --tiny, 0.1.
    "full": {
        "hippocampus": {
            "arch": "res3d50", "labels": (5, 10, 20), "seeds": (0, 1, 2), "images": None,
            "pretrain_epochs": 200, "steps": 2000, "validations": 10, "val_cases": 30,
            "test_cases": 60, "prepare_flags": "--rescale 0.5 99.5 --spacing 0.5",
            "pretrain_flags": "--crop_size 16 64 64 --batch_size_per_gpu 32 --lr 0.8 "
                              "--num_workers 8",
            "train_flags": "--img_size 64 64 48 --spacing 0.5 0.5 0.5 --num_workers 4"},
        "phantoms": {
            "arch": "res3d50", "labels": (5, 10, 20), "seeds": (0, 1, 2), "images": 200,
            "pretrain_epochs": 200, "steps": 2000, "validations": 10, "val_cases": 8,
            "test_cases": 40, "prepare_flags": "",
            "pretrain_flags": "--crop_size 16 96 96 --batch_size_per_gpu 32 --lr 0.8 "
                              "--num_workers 8",
            "train_flags": "--img_size 96 96 96 --spacing 1 1 1 --num_workers 4",
            "heart_flags": "--size 160 160 128", "series_flags": "--size 256 256 61"}},
    "quick": {
        "hippocampus": {
            "arch": "res3d10", "labels": (5, 10, 20), "seeds": (0,), "images": None,
            "pretrain_epochs": 10, "steps": 100, "validations": 5, "val_cases": 8,
            "test_cases": 60, "prepare_flags": "--rescale 0.5 99.5 --spacing 0.5",
            "pretrain_flags": "--crop_size 16 48 48",
            "train_flags": "--img_size 32 32 32 --lr 0.001"},
        "phantoms": {
            "arch": "res3d10", "labels": (5, 10, 20), "seeds": (0,), "images": 30,
            "pretrain_epochs": 10, "steps": 100, "validations": 5, "val_cases": 4,
            "test_cases": 12, "prepare_flags": "--spacing 2.4",
            "pretrain_flags": "--crop_size 16 48 48",
            "train_flags": "--img_size 64 64 32 --spacing 2.4 2.4 2.4 --lr 0.001",
            "heart_flags": "--size 64 64 56", "series_flags": "--size 128 128 40"}},
}
SPLIT_INTO_WORDS = ("prepare_flags", "pretrain_flags", "train_flags", "heart_flags",
                    "series_flags")
MAY_CHANGE = ("seeds", "methods", "device", "discard_models")
"""What may differ from the command that a study began with: its finished runs stay as they are."""


@dataclass(frozen=True)
class LabelStudy:
    """All that such a study is; kept in study.json of its folder.

    Flags are lists of words, for the script that they are named after and for all arms alike.
    """

    data: str                           # a key of SOURCES
    output: str                         # folder, absolute
    hippocampus: str | None             # folder of Task04_Hippocampus, absolute
    arch: str
    labels: tuple[int, ...]             # numbers of labelled cases
    seeds: tuple[int, ...]              # each draws its cases and trains all arms once
    methods: tuple[str, ...]            # of SCRIPTS
    images: int | None                  # unlabelled volumes to pre-train on; None: all there are
    pretrain_epochs: int
    steps: int                          # of fine-tuning, one volume each; the same for all arms
    validations: int                    # in a run of fine-tuning
    val_cases: int
    test_cases: int
    prepare_flags: tuple[str, ...] = ()
    pretrain_flags: tuple[str, ...] = ()
    train_flags: tuple[str, ...] = ()
    heart_flags: tuple[str, ...] = ()   # of make_phantoms.py
    series_flags: tuple[str, ...] = ()
    device: str = "auto"
    discard_models: bool = False        # remove the weights of a run once it is scored

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return Path(self.output)

    @property
    def pretraining(self) -> Path:
        """The run folder of the pre-training."""
        return self.folder / "runs" / "pretraining.exp"


@dataclass(frozen=True)
class FewLabelsCall:
    """A study of few labels, and what is done with it now."""

    study: LabelStudy
    budget_minutes: float | None
    show_plan: bool
    show_verbose: bool


def few_labels_parser() -> argparse.ArgumentParser:
    """The command line of desd_label_study.py; a flag that is not given leaves no trace."""
    parser = CommandLine(
        description="Does DeSD pre-training help when labels are few?",
        epilog="What a flag leaves out is the preset's: --show_plan prints all command lines.",
        argument_default=argparse.SUPPRESS)
    parser.add_argument("--data", required=True, choices=("hippocampus", "phantoms"),
                        help="hippocampus: MSD task 4; phantoms: DeepLesion and heart phantoms")
    parser.add_argument("--hippocampus", metavar="DIR", help="Task04_Hippocampus, as downloaded")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where all of it goes")
    parser.add_argument("--quick", action="store_true", help="a small study for a CPU")
    parser.add_argument("--show_plan", action="store_true",
                        help="print the command lines, and stop")
    parser.add_argument("--arch", choices=ARCHS, help="encoder")
    parser.add_argument("--labels", type=int, nargs="+", metavar="N", help="labelled cases")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED",
                        help="of the labelled cases and of the training")
    parser.add_argument("--methods", nargs="+", choices=("basic", "dsd"), help="default both")
    parser.add_argument("--images", type=int, metavar="N", help="unlabelled volumes to pre-train "
                        "on (hippocampus: of the training group)")
    parser.add_argument("--pretrain_epochs", type=int)
    parser.add_argument("--steps", type=int, help="of every fine-tuning run")
    parser.add_argument("--validations", type=int, help="in every fine-tuning run")
    parser.add_argument("--val_cases", type=int)
    parser.add_argument("--test_cases", type=int)
    for name, script in (("prepare", "preprocess_deeplesion.py"), ("pretrain", "pretrain_DeSD.py"),
                         ("train", "both training scripts")):
        parser.add_argument(f"--{name}_flags", metavar="'FLAGS'",
                            help=f"further flags of {script}, in quotes; after the preset's")
    parser.add_argument("--device", help="cuda:0, cpu, ...")
    parser.add_argument("--discard_models", action="store_true",
                        help="remove the weights of each run once it is scored")
    return parser


def few_labels_call(flags: dict[str, Any], budget_minutes: float | None = None,
                    show_verbose: bool = False) -> FewLabelsCall:
    """The study of a command line of desd_label_study.py.

    Args:
        flags: that were given, by name.

    Raises:
        ValueError: all impossible settings, in one message.
    """
    flags = dict(flags)
    preset = "full"
    if flags.pop("quick", False):
        preset = "quick"
    show_plan = flags.pop("show_plan", False)
    values = {"methods": METHODS, "hippocampus": None} | PRESETS[preset][flags["data"]]
    for name in SPLIT_INTO_WORDS:
        values[name] = (*shlex.split(values.get(name, "")), *shlex.split(flags.pop(name, "")))
    for name, value in flags.items():
        if isinstance(value, list):
            value = tuple(value)
        values[name] = value
    problems = _problems(values)
    if problems:
        raise ValueError("\n".join(["These settings cannot be used:", *problems]))
    for name in ("output", "hippocampus"):
        if values[name] is not None:
            values[name] = str(Path(values[name]).resolve())
    return FewLabelsCall(LabelStudy(**values), budget_minutes, show_plan, show_verbose)


OWN_FLAGS = {"train_flags": ("--dataset", "--network", "--splits", "--experiment", "--epochs",
                             "--val_every", "--seed", "--device", "--init_from", "--init_part",
                             "--encoder_only", "--batch_size", "-b", "--resume", "--overwrite"),
             "pretrain_flags": ("--output_dir", "--arch", "--epochs", "--device", "--resume",
                                "--overwrite"),
             "prepare_flags": ("--overwrite",)}


def _problems(values: dict[str, Any]) -> list[str]:
    problems = []
    if (values["data"] == "hippocampus") != (values["hippocampus"] is not None):
        problems.append("  --hippocampus: is needed with --data hippocampus, and only there.")
    for name in ("pretrain_epochs", "steps", "validations", "val_cases", "test_cases", "images"):
        if values[name] is not None and values[name] < 1:
            problems.append(f"  --{name} {values[name]}: must be at least 1.")
    for name, least in (("labels", 1), ("seeds", 0)):
        numbers = values[name]
        if min(numbers) < least or len(set(numbers)) < len(numbers):
            problems.append(f"  --{name} {' '.join(map(str, numbers))}: must be different numbers "
                            f"from {least}.")
    whole = values["validations"]
    uneven = [number for number in values["labels"]
              if min(number, whole) > 0 and values["steps"] % (number * whole)]
    if uneven:
        problems.append(f"  --steps {values['steps']}: is no multiple of {whole} validations times "
                        f"{' or '.join(map(str, uneven))} labels. An epoch is a step for each "
                        f"labelled case; all runs must have as many steps and validations.")
    for name, own in OWN_FLAGS.items():
        clash = [word for word in values[name] if word.partition("=")[0] in own]
        if clash:
            problems.append(f"  --{name} {' '.join(clash)}: is given by the study itself.")
    return problems
