"""What a training run is: one frozen dataclass, written to the run folder and read back.

Each field defines its flag (configs/options.py). --help, --show_settings and config.json keep the
order of the fields.
"""

from dataclasses import dataclass
from typing import Any

from ..options import LARGEST_SEED, option
from ..plain import defaults, from_plain, to_plain
from ..recipes import AUGMENTATIONS, CROP_CENTRES, INTENSITIES
from .gpus import GPUS
from .words import (
    AMP,
    DATASET_WORDS,
    NETWORK_WORDS,
    dataset_word,
    named_value,
    network_word,
    step,
)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything needed to build a run again; written to the run folder as config.json.

    Defaults are the published settings. Fields without one come from the command line, the
    experiment's name, or the recipe of dataset and network (configs/training/settings.py).
    None stands for what the data set or the run decides; in the group "speed" it is what --fast
    leaves to the device (managers/segmentation/speed_options.py).
    """

    method: str  # "basic" or "dsd", by the script
    data_dir: str = option(  # absolute
        None, "folder of the dataset's image and label folders, or its parent", positional=True,
        metavar="DATA")
    output_model: str | None = option(  # None for _
        None, "file for the weights of the last epoch (.safetensors, or any other ending for a "
        "torch state dict); _ for none", positional=True, metavar="OUTPUT")

    experiment: str = option("what to train", "run folder: a name below experiments/, or a path",
                             flags=("--experiment", "-exp"), metavar="NAME.exp",
                             unless_given="DATASET_NETWORK_METHOD_FoldK.exp")
    resume: bool = option("what to train", "continue the experiment where it was stopped",
                          default=False, exclusive="what is there")
    overwrite: bool = option(
        "what to train", "replace an experiment of that name instead of refusing", default=False,
        exclusive="what is there")
    dataset: str = option(  # of DATASETS, or "dataset.json"
        "what to train", "FILE.json: a dataset.json as of the Medical Segmentation Decathlon or "
        "nnU-Net", parse=dataset_word, metavar=DATASET_WORDS,
        unless_given="from the name, else DATA/dataset.json")
    dataset_definition: dict[str, Any] | None = None  # of the dataset.json; None: published set
    network: str = option(  # of NETWORKS, or package.module:factory
        "what to train", "resnetN-unet: on DeSD's encoder; or a function of your own",
        parse=network_word, metavar=NETWORK_WORDS, unless_given="from the name")
    init_from: str | None = option(
        "what to train", "start from these weights: a run folder (its best.model; of "
        "pretrain_DeSD.py its teacher), the authors' DeSD checkpoint, a .model checkpoint or "
        "exported weights", default=None, metavar="PATH")
    init_part: str = option(
        "what to train", "which of these weights: all that fit, or the encoder's",
        default="network", choices=("network", "encoder"), needs="init_from",
        also={"--encoder_only": {"action": "store_const", "const": "encoder",
                                 "help": "the same as --init_part encoder"}})

    img_size: tuple[int, int, int] = option(
        "network", "training crop and sliding window, voxels", at_least=1,
        flags=("--img_size", "-size"), metavar=("X", "Y", "Z"),
        unless_given="recipe; FILE.json: planned")
    network_options: dict[str, Any] = option(
        "network", "any option of the network's function, values as JSON; the common ones have "
        "flags of their own", parse=named_value, nargs="+", metavar="NAME=VALUE")

    spacing_mm: tuple[float, float, float] | None = option(
        "images", "resample to this spacing, mm along the file's axes", default=None, above=0,
        flags=("--spacing",), metavar=("X", "Y", "Z"),
        unless_given="the dataset's; FILE.json: planned")
    intensity: str | None = option(
        "images", "ct: window to 0..1, then zscore; hu: window to -1..1; zscore: over the voxels "
        "that are not 0; minmax: to 0..1", default=None, choices=INTENSITIES,
        unless_given="the dataset's; FILE.json: hu or zscore by its modality",
        also={"--no_normalize": {
            "action": "store_const", "const": "none",
            "help": "leave the intensities as they are; the same as --intensity none"}})
    window: tuple[float, float] | None = option(
        "images", "range of --intensity ct and hu, HU", default=None, metavar=("LOW", "HIGH"),
        unless_given="-175 250; FILE.json: planned")

    fold: int = option("cases", "1-based; the experiment's name may say it", default=1, at_least=1)
    training_split: int | None = option(
        "cases", "size of the held-out group: cases per fold for MM-WHS, test cases otherwise; "
        "0 with --num_folds: every case is in a fold", default=None, at_least=0, metavar="N",
        unless_given="MM-WHS 4, BraTS 24, Hippocampus 60, FILE.json 20 %")
    validation_split: int | None = option(
        "cases", "validation cases where a test set is held out", default=None, at_least=1,
        metavar="N", unless_given="the published number, or 15 % in a small set")
    num_folds: int | None = option(
        "cases", "N folds over the cases that are not held out for the test, instead of the "
        "published split", default=None, at_least=2, metavar="N",
        range_note="without it the published split is used")
    splits: str | None = option(
        "cases", "case ids per fold, in the structure of nnU-Net's splits_final.json; overrides "
        "the sizes", default=None, metavar="FILE")

    epochs: int = option("training", "passes over the training cases", at_least=1,
                         flags=("--epochs", "-e"), unless_given="recipe; FILE.json: planned")
    batch_size: int = option("training", "volumes per step, each giving several crops", default=1,
                             at_least=1, flags=("--batch_size", "-b"))
    num_crops: int | None = option(
        "training", "crops of a volume in a step", default=None, at_least=1,
        unless_given="MM-WHS 2, BraTS 2, Hippocampus 8; FILE.json: planned")
    crop_centres: str = option(
        "training", "of crops; foreground: any labelled voxel; classes: each class as often as the "
        "others", default="foreground", choices=CROP_CENTRES,
        unless_given="foreground; FILE.json: planned")
    augmentation: str = option(
        "training", "of crops; published: flips and quarter turns; anatomical: small turns, "
        "scaling and contrast, flips from left to right alone and only for the brain and the "
        "hippocampus", default="published", choices=AUGMENTATIONS)
    optimizer: str = option(
        "training", "sgd: with Nesterov momentum 0.99; takes an --lr such as 0.01",
        default="adamw", choices=("adamw", "sgd"))
    lr: float = option("training", "learning rate", above=0, unless_given="recipe, for adamw")
    weight_decay: float = option("training", "of the optimiser", at_least=0,
                                 unless_given="recipe, for adamw")
    lr_schedule: str = option(
        "training", "step: halved every epochs//6 epochs; poly: times (1 - epoch / epochs)^0.9",
        choices=("step", "constant", "poly"), unless_given="recipe")

    distil: str = option("distillation", "branches with a KL term; none is deep supervision only",
                         default="both", choices=("both", "decoder", "encoder", "none"))
    alpha: float = option("distillation", "weight of the KL terms", default=1.0, at_least=0)
    temperature: float = option(
        "distillation", "of teacher and students in the KL terms", default=3.0, above=0)
    include_background: bool = option("distillation", "leave class 0 out of the KL terms",
                                      default=True, flags=("--exclude_background",))
    detach_teacher: bool = option(
        "distillation", "no gradient through the teacher of a branch; the last encoder head then "
        "learns from --supervise_encoder alone", default=False)
    supervise_encoder: bool = option(
        "distillation", "Dice-CE on the encoder outputs too", default=False)
    upsampling: str = option(
        "distillation", "of the side heads: one 2x transposed convolution applied again and "
        "again, a single one with kernel = stride = scale, or trilinear without weights",
        default="shared", choices=("shared", "single", "trilinear"))
    hint_weight: float = option(
        "distillation", "weight of the L2 between pooled features of teacher and students; "
        "published 1e-4", default=0.0, at_least=0)
    side_weights: str = option(
        "distillation", "of the side outputs' Dice-CE and KL; halved: 1/2, 1/4, ... from the "
        "largest to the smallest, which has 0, as nnU-Net", default="equal",
        choices=("equal", "halved"))
    teacher: str = option(
        "distillation", "of the KL; deepest: the last side output of each branch, as published; "
        "main: the main output; ensemble: the mean of the main output and the two decoder outputs "
        "next to it; ema: the network with averaged weights; all but the first take no gradient, "
        "the last two teach the main output too", default="deepest",
        choices=("deepest", "main", "ensemble", "ema"))
    kl_where: str = option(
        "distillation", "voxels of the KL; right: where the teacher has the label's class; "
        "boundary: up to two voxels from a change of the label", default="everywhere",
        choices=("everywhere", "right", "boundary"))
    kl_ramp: float = option(
        "distillation", "share of the epochs, from 0 to 1, in which alpha grows from 0 to its "
        "value", default=0.0, at_least=0, at_most=1, metavar="SHARE")
    encoder_heads: str = option(
        "distillation", "shared: with the decoder outputs, in nnunet and vnet; own: every encoder "
        "output has a head of its own", default="shared", choices=("shared", "own"))

    shape_priors: bool = option(
        "shape priors", "add the boundary loss on distance maps of the labels", default=False)
    distance_unit: str = option("shape priors", "of the distance maps", default="mm",
                                choices=("mm", "voxel"), needs="shape_priors")
    beta_start: float = option("shape priors", "weight of the boundary loss in the first epoch",
                               default=1e-6, at_least=0, needs="shape_priors")
    beta_step: float = option("shape priors", "added to that weight after each epoch", default=1e-3,
                              at_least=0, needs="shape_priors")

    val_every: int = option("validation", "validate every so many epochs, and after the last",
                            default=1, at_least=1, metavar="EPOCHS")
    early_stop: int | None = option(
        "validation", "stop when val_dice has not risen for so many epochs; --epochs stays the "
        "length of the learning rate's schedule", default=None, at_least=1, metavar="EPOCHS",
        unless_given="never")
    overlap: float = option("validation", "of neighbouring sliding windows, as a fraction",
                            default=0.25, at_least=0, below=1)
    window_batch: int = option("validation", "sliding windows per forward pass; a CPU takes one",
                               default=4, at_least=1)

    amp: str | None = option(
        "speed", "mixed precision of the network in training and validation; loss, weights "
        "and the scores after training stay in float32; eval.py and predict.py have an --amp of "
        "their own", default="off", choices=AMP)
    compile: bool | None = option(
        "speed", "torch.compile the network for training; the first step takes a minute or more",
        default=False)
    channels_last: bool | None = option(
        "speed", "memory layout of crops and kernels", default=False)
    fused: bool | None = option("speed", "the optimiser's step as one kernel", default=False)
    tf32: bool | None = option(
        "speed", "TensorFloat-32 for matrix products on NVIDIA GPUs; torch uses it for "
        "convolutions anyway", default=False)
    use_checkpoint: bool = option(
        "speed", "swinunetr: compute the blocks a second time in the backward pass instead of "
        "keeping what is inside them: less memory, same gradients", default=False,
        networks=("swinunetr",))

    device: str = option("machine", "cuda:0, cpu, ...", default="auto",
                         unless_given="cuda:0 when there is one")
    use_multi_gpus: bool = option(
        "machine", "share each batch among all GPUs of this machine, a process for each "
        "(torchrun does the same, also for several machines)", default=False)
    cache: str = option(
        "machine", "where prepared volumes are kept, the crops are the same: on disk, for later "
        "runs too; in memory; or off, prepared anew for each use", default="disk",
        choices=("disk", "memory", "off"))
    cache_dir: str | None = option(
        "machine", "folder of --cache disk; prepared_volumes in it may be deleted at any time",
        default=None, metavar="FOLDER", unless_given="cache beside the run folder")
    num_workers: int | None = option(  # None: chosen when the volumes are there
        "machine", "loader processes; the crops and all random numbers are the same for any number",
        default=None, at_least=0, unless_given="on a GPU a core each but one, at most 8 and as "
        "many as /dev/shm has room for; on a CPU 0")
    seed: int = option("machine", "of all random numbers", default=100, at_least=0,
                       at_most=LARGEST_SEED)
    deterministic: bool = option(
        "machine", "the same bits for the same seed on a GPU too, where steps become slower; on a "
        "CPU they are the same anyway", default=False)
    show_verbose: bool = option("machine", "progress bars", default=False)
    track: str | None = option(
        "machine", "send settings and epochs to MLflow or Weights & Biases too, which must be "
        "installed; training goes on where the service cannot be reached", default=None,
        choices=("mlflow", "wandb"), unless_given="neither")

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


@dataclass(frozen=True)
class NetworkFlags:
    """Flags of single network options; what they say goes to TrainingConfig.network_options."""

    feature_size: int | None = option(
        "network", "unetr, swinunetr: width of the first level", default=None, at_least=1,
        networks=("unetr", "swinunetr"), unless_given="recipe")
    filters: tuple[int, ...] | None = option(
        "network", "nnunet: channels per level", default=None, at_least=1, networks=("nnunet",),
        unless_given="recipe; FILE.json: planned")
    kernel_size: tuple[Any, ...] | None = option(
        "network", "nnunet: one for all or one per level, as 3 or 1,3,3", default=None, parse=step,
        metavar="K", networks=("nnunet",), unless_given="3; FILE.json: planned")
    strides: tuple[Any, ...] | None = option(
        "network", "nnunet: one per level, as 2 or 1,2,2", default=None, parse=step, metavar="S",
        networks=("nnunet",), unless_given="1 2 2 ...; FILE.json: planned")
    legacy_patch_merging: bool = option(
        "network", "swinunetr: patch merging as in the authors' code, which leaves out two of "
        "eight sub-lattices", default=False, networks=("swinunetr",))


@dataclass(frozen=True)
class Switches:
    """Flags that choose other settings, or show them, and are none themselves."""

    show_settings: bool = option(
        "what to train", "print every setting and where it comes from, and stop", default=False)
    estimate: str | None = option(
        "what to train", "print what a training step would take of this GPU (launches, bytes, "
        "FLOPs, peak memory, least time) and stop; needs neither the GPU nor the data, but a C++ "
        "compiler", default=None, choices=tuple(GPUS))
    fast: bool = option(
        "speed", "the options below that pay on the device: on a GPU --amp bf16 (fp16 where it "
        "has none) --compile --fused --tf32; on a CPU --fused, and --amp bf16 where it has "
        "instructions for it; --amp and the others win over it", default=False)


DEFAULTS = defaults(TrainingConfig)
