"""The settings of a DeSD pre-training run, and the recipes it starts from."""

import argparse
from dataclasses import dataclass
from typing import Any

from ..options import LARGEST_SEED, as_typed, option
from ..plain import from_plain, to_plain

METHOD = "desd"
ARCHS = tuple(f"res3d{depth}" for depth in (10, 18, 34, 50, 101, 152, 200))
TOTAL_STRIDE = (16, 32, 32)  # of the encoder, (D, H, W)

# Set by --tiny, with which a CPU pre-trains in minutes. This project's choice.
TINY: dict[str, Any] = {
    "arch": "res3d10", "out_dim": 4096, "crop_size": (16, 64, 64), "batch_size_per_gpu": 8,
    "epochs": 20, "warmup_epochs": 2, "warmup_teacher_temp_epochs": 5, "lr": 3.2, "min_lr": 0.01,
    "momentum_teacher": 0.99, "num_workers": 0, "saveckp_freq": 10,
}


def boolean(text: str) -> bool:
    """true/false in the spellings of the authors' launcher."""
    words = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r}: must be true or false")
    return words[text.lower()]


def precision(text: str) -> str:
    """The value of --use_fp16 as one of --amp."""
    return "fp16" if boolean(text) else "none"


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """Everything needed to build a pre-training run again; config.json of its folder.

    Names and defaults are those of the flags of the authors' launcher. Each field defines its flag
    (configs/options.py).
    """

    data_dir: str = option(  # absolute
        None, "folder that the list's lines are below", positional=True, metavar="DATA")
    tile_list: str = option(  # absolute
        None, "text file with a tile's path per line, as scripts/preprocess_deeplesion.py writes "
        "it", positional=True, metavar="LIST")

    output_dir: str = option("run", "run folder: a name below experiments/, or a path",
                             required=True, metavar="NAME.exp")
    resume: bool = option("run", "continue the run where it was stopped", default=False,
                          exclusive="what is there")
    overwrite: bool = option("run", "replace a run of that name instead of refusing",
                             default=False, exclusive="what is there")

    arch: str = option("network and views", "encoder", default="res3d50", choices=ARCHS)
    out_dim: int = option("network and views", "outputs of a head: the prototypes", default=60000,
                          at_least=2)
    use_bn_in_head: bool = option("network and views", "batch norm in the heads", default=True,
                                  parse=boolean, metavar="BOOL")
    norm_last_layer: bool = option(
        "network and views", "keep the rows of the heads' last layers at unit length",
        default=True, parse=boolean, metavar="BOOL")
    crop_size: tuple[int, int, int] = option(
        "network and views", "of the global views, voxels; local ones are half as high and wide",
        default=(16, 96, 96), at_least=1, metavar=("D", "H", "W"))
    local_crops_number: int = option(
        "network and views", "local views of a tile besides the two global ones", default=0,
        at_least=0)

    teacher_temp: float = option("self-distillation", "the teacher's temperature", default=0.07,
                                 above=0)
    warmup_teacher_temp: float = option("self-distillation", "the temperature that it starts at",
                                        default=0.04, above=0)
    warmup_teacher_temp_epochs: int = option(
        "self-distillation", "epochs until --teacher_temp is reached", default=20, at_least=0)
    student_temp: float = option("self-distillation", "the students' temperature", default=0.1,
                                 above=0)
    center_momentum: float = option("self-distillation", "momentum of the centre", default=0.9,
                                    at_least=0, at_most=1)
    momentum_teacher: float = option(
        "self-distillation", "of the teacher's weights at the start; a cosine takes it to 1",
        default=0.996, at_least=0, at_most=1)

    epochs: int = option("training", "passes over the list", default=300, at_least=1)
    batch_size_per_gpu: int = option(
        "training", "tiles per step and process; each tile gives all views", default=32, at_least=1)
    optimizer: str = option("training", "of the student", default="sgd",
                            choices=("sgd", "adamw", "lars"))
    lr: float = option(
        "training", "peak learning rate for 256 tiles a step over all processes; scales with them",
        default=0.3, above=0)
    min_lr: float = option("training", "learning rate at the end; does not scale", default=0.048,
                           at_least=0)
    warmup_epochs: int = option("training", "epochs until the learning rate is at its peak",
                                default=10, at_least=0)
    weight_decay: float = option("training", "at the start", default=1e-6, at_least=0)
    weight_decay_end: float = option("training", "at the end", default=1e-6, at_least=0)
    clip_grad: float = option("training", "largest norm of each tensor's gradient; 0: none",
                              default=0.0, at_least=0)
    freeze_last_layer: int = option("training", "epochs in which the heads' last layers stay fixed",
                                    default=1, at_least=0)
    amp: str = option(
        "training", "mixed precision", default="none", choices=("none", "fp16", "bf16"),
        also={"--use_fp16": {"type": precision, "metavar": "BOOL",
                             "help": "the same as --amp fp16"}})

    device: str = option("machine", "cuda, cpu, ...", default="auto",
                         unless_given="GPUs where there are any")
    num_workers: int = option(
        "machine", "loader processes of each process, at most one a core; the views do not depend "
        "on it", default=10, at_least=0)
    saveckp_freq: int = option("machine", "epochs between the teachers that are kept", default=50,
                               at_least=1, metavar="EPOCHS")
    seed: int = option("machine", "of all random numbers", default=0, at_least=0,
                       at_most=LARGEST_SEED)
    deterministic: bool = option(
        "machine", "the same bits for the same seed on a GPU too, where steps become slower; on a "
        "CPU they are the same anyway", default=False)
    show_verbose: bool = option("machine", "progress bars", default=False)

    method: str = METHOD

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, tuples as lists."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PretrainingConfig":
        """The inverse of `to_dict`; what an older run does not say has its default.

        Raises:
            ValueError: a field is missing, unknown, or of another kind.
        """
        return from_plain(cls, values)

    def scaled_lr(self, world_size: int) -> float:
        """Peak of the learning rate: `lr` for every 256 tiles of a step over all processes."""
        return self.lr * self.batch_size_per_gpu * world_size / 256


@dataclass(frozen=True)
class Switches:
    """Flags that choose other settings, or show them, and are none themselves."""

    tiny: bool = option("run", "a recipe for CPUs: " + ", ".join(
        f"{name} {as_typed(value)}" for name, value in TINY.items()), default=False)
    show_settings: bool = option(
        "run", "print every setting and where it comes from, and stop", default=False)
