"""What a training run is: one frozen dataclass, written to the run folder and read back."""

from dataclasses import dataclass
from typing import Any

from ..plain import defaults, from_plain, to_plain


@dataclass(frozen=True)
class TrainingConfig:
    """Everything needed to build a run again; written to the run folder as config.json.

    Defaults are the published settings. A field without one is said by the command line, by the
    experiment's name, or by the recipe of dataset and network (configs/training/settings.py).
    """

    method: str                                 # "basic" or "dsd"
    data_dir: str                               # DATA, absolute
    output_model: str | None                    # where the final weights are exported, or None
    experiment: str                             # name or path of the run folder, NAME.exp
    dataset: str                                # of DATASETS, or "dataset.json"
    network: str                                # of NETWORKS, or package.module:factory
    network_options: dict[str, Any]
    img_size: tuple[int, int, int]              # crop and sliding window, voxels
    epochs: int
    lr: float
    weight_decay: float
    lr_schedule: str

    dataset_definition: dict[str, Any] | None = None  # of the dataset.json; None: published set
    intensity: str | None = None                # of INTENSITIES; None: the dataset's own
    window: tuple[float, float] | None = None   # of intensity "ct"; None: the published one
    spacing_mm: tuple[float, float, float] | None = None  # None: the dataset's own

    fold: int = 1                               # 1-based
    training_split: int | None = None           # size of the held-out group; None: published
    validation_split: int | None = None         # cases; None: published or 15 %
    num_folds: int | None = None                # folds instead of the published split
    splits: str | None = None                   # a file of nnU-Net's splits_final.json structure

    batch_size: int = 1                         # volumes a step; each gives several crops
    num_crops: int | None = None                # of a volume, each time; None: the dataset's own
    augmentation: str = "published"             # of crops, one of AUGMENTATIONS
    optimizer: str = "adamw"                    # or "sgd"
    init_from: str | None = None                # weights to start from
    init_part: str = "network"                  # or "encoder"

    distil: str = "both"                        # branches with a KL term
    alpha: float = 1.0                          # weight of the KL terms
    temperature: float = 3.0
    include_background: bool = True             # in the KL terms
    detach_teacher: bool = False
    supervise_encoder: bool = False             # Dice-CE on encoder outputs too
    upsampling: str = "shared"                  # of the side heads
    hint_weight: float = 0.0                    # of the L2 between pooled features; 0: none
    side_weights: str = "equal"                 # of the side outputs, or "halved"
    teacher: str = "deepest"                    # of the KL: or "main", "ensemble", "ema"
    kl_where: str = "everywhere"                # voxels of the KL: or "right", "boundary"
    kl_ramp: float = 0.0                        # share of the epochs in which alpha grows from 0
    encoder_heads: str = "shared"               # with decoder levels, or "own"
    shape_priors: bool = False                  # boundary loss
    distance_unit: str = "mm"                   # of its distance maps, or "voxel"
    beta_start: float = 1e-6                    # its weight in epoch e, from 0: start + step * e
    beta_step: float = 1e-3

    val_every: int = 1                          # epochs
    overlap: float = 0.25                       # of sliding windows, fraction
    window_batch: int = 4                       # sliding windows per forward pass

    # None, which --fast leaves, is chosen by the device before the run begins
    # (managers/segmentation/speed_options.py).
    amp: str | None = "off"                     # mixed precision of the network, one of AMP
    compile: bool | None = False                # torch.compile in training
    channels_last: bool | None = False          # memory layout of crops and kernels
    fused: bool | None = False                  # optimiser's step as one kernel
    tf32: bool | None = False                   # matrix products on NVIDIA GPUs
    use_checkpoint: bool = False                # recompute Swin blocks instead of keeping them

    cache: str = "disk"                         # of prepared volumes, or "memory", "off"
    cache_dir: str | None = None                # None: cache/ beside the run folder
    device: str = "auto"
    use_multi_gpus: bool = False
    num_workers: int = 0
    seed: int = 100
    deterministic: bool = False                 # GPUs compute in one fixed way
    show_verbose: bool = False
    overwrite: bool = False                     # replace an experiment of that name
    resume: bool = False                        # continue it where it was stopped

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, tuples as lists."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingConfig":
        """The inverse of `to_dict`; what an older run does not say has its default.

        Raises:
            ValueError: a field is missing, unknown, or of another kind.
        """
        return from_plain(cls, values, verbatim=("dataset_definition",))


DEFAULTS = defaults(TrainingConfig)
