"""What a DeSD pre-training run is, and the recipes it starts from."""

from dataclasses import dataclass
from typing import Any

from ..plain import from_plain, to_plain

METHOD = "desd"
ARCHS = tuple(f"res3d{depth}" for depth in (10, 18, 34, 50, 101, 152, 200))
OPTIMIZERS = ("sgd", "adamw", "lars")
AMP = ("none", "fp16", "bf16")
TOTAL_STRIDE = (16, 32, 32)  # of the encoder, (D, H, W)


@dataclass(frozen=True)
class PretrainingConfig:
    """Everything needed to build a pre-training run again; config.json of its folder.

    The defaults are the values of the authors' launcher. Names are those of its flags.
    """

    data_dir: str                               # DATA, absolute: what the list's lines are below
    tile_list: str                              # LIST, absolute
    output_dir: str                             # name or path of the run folder, NAME.exp

    arch: str = "res3d50"
    out_dim: int = 60000                        # prototypes: outputs of a head
    use_bn_in_head: bool = True
    norm_last_layer: bool = True                # rows of the last layer keep unit length

    crop_size: tuple[int, int, int] = (16, 96, 96)  # of the global views, (D, H, W) voxels
    local_crops_number: int = 0

    warmup_teacher_temp: float = 0.04
    teacher_temp: float = 0.07
    warmup_teacher_temp_epochs: int = 20
    student_temp: float = 0.1
    center_momentum: float = 0.9
    momentum_teacher: float = 0.996             # at the start; cosine to 1 at the end

    epochs: int = 300
    batch_size_per_gpu: int = 32                # tiles a step and process; each gives all views
    optimizer: str = "sgd"
    lr: float = 0.3                             # peak, for 256 tiles a step over all processes
    min_lr: float = 0.048                       # at the end; not scaled by the batch
    warmup_epochs: int = 10
    weight_decay: float = 1e-6
    weight_decay_end: float = 1e-6
    clip_grad: float = 0.0                      # largest norm of a tensor's gradient; 0: none
    freeze_last_layer: int = 1                  # epochs without updates of the last layers
    amp: str = "none"

    seed: int = 0
    deterministic: bool = False                 # GPUs compute in one fixed way
    num_workers: int = 10                       # loader processes, each process's own
    saveckp_freq: int = 50                      # epochs between the teachers that are kept
    device: str = "auto"
    show_verbose: bool = False
    overwrite: bool = False
    resume: bool = False

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


# What --tiny replaces: a CPU pre-trains with it in minutes. This project's choice.
TINY: dict[str, Any] = {
    "arch": "res3d10", "out_dim": 4096, "crop_size": (16, 64, 64), "batch_size_per_gpu": 8,
    "epochs": 20, "warmup_epochs": 2, "warmup_teacher_temp_epochs": 5, "lr": 3.2, "min_lr": 0.01,
    "momentum_teacher": 0.99, "num_workers": 0, "saveckp_freq": 10,
}
