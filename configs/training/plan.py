"""Settings for a user's own data: its images' grids and its contents in, values and reasons out.

Spacing and crop follow nnU-Net (Isensee et al., Nature Methods 18, 2021). Its patch grows until the
GPU is full; here the crop has at most as many voxels as in the network's recipe for MM-WHS. The
number of epochs is this project's rule: a run sees each voxel VIEWS times. In the published recipe
for BraTS it is 153 times (325 epochs of 2 crops of 128^3 in 240 x 240 x 155 voxels), in this
project's for Hippocampus 428 times (100 epochs of 8 crops of 32^3 in about 35 x 50 x 35).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, prod
from statistics import median
from typing import Any

from ..recipes import RESNET_UNETS, Recipe
from .contents import (
    Contents,
    doubts_of,
    percentile,
    plan_intensity,
    planned_centres,
    rarest_presence,
)
from .poolings import SMALLEST, Triple, divisor_of, filters_of, nnunet_levels

ANISOTROPY = 3          # nnU-Net's: how many times as wide as the others a coarse axis's voxels are
ALIKE = 0.05            # spacings that differ by no more are not resampled
LARGEST_CUBE = 256**3   # voxels that nnU-Net's patch starts from
VIEWS = 250
FEWEST_EPOCHS, MOST_EPOCHS = 100, 600
FEWEST_CROPS, MOST_CROPS = 2, 8
# Size of an image over that of the bottleneck, per axis; nnunet's follows from its strides.
DIVISORS: dict[str, Triple] = {"unetr": (16, 16, 16), "swinunetr": (32, 32, 32),
                               "vnet": (16, 16, 16), **dict.fromkeys(RESNET_UNETS, (32, 32, 16))}
ANY_NETWORK = (16, 16, 16)
PLANNED = ("img_size", "spacing_mm", "intensity", "window", "crop_centres", "num_crops", "epochs",
           "network_options")
FEWEST_LEVELS = 3         # of nnunet
HALVED_TWICE = 4 * SMALLEST
LEVELS = ("filters", "kernel_size", "strides")  # options of nnunet that depend on each other


@dataclass(frozen=True)
class Grids:
    """The grids of a dataset's images, axes in the order of the patient: right, front, head.

    Attributes:
        shapes: per case, voxels.
        spacings_mm: per case.
        file_axes: per case, the file's axis along each axis of the patient.
        sheared: whether an image has axes that are not at right angles.
    """

    shapes: tuple[Triple, ...]
    spacings_mm: tuple[tuple[float, float, float], ...]
    file_axes: tuple[Triple, ...]
    sheared: bool = False


@dataclass(frozen=True)
class Plan:
    """Values of settings by name, for each a reason, and what the data should be looked at for."""

    values: dict[str, Any]
    reasons: dict[str, str]
    doubts: list[str] = field(default_factory=list)


def make_plan(grids: Grids, network: str, recipe: Recipe, given: Mapping[str, Any],
              contents: Contents | None = None) -> Plan:
    """Crop, spacing, intensities, crops per step, levels and epochs of a run on these images.

    Args:
        recipe: of the network, for a user's own data.
        given: settings and options of the network that are fixed already; the others follow from
            them.
        contents: of the cases outside the test; None plans neither intensities nor centres of
            crops.

    Returns:
        Values for those of PLANNED that are not given; spacing_mm None for no resampling.
    """
    values: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    if "spacing_mm" in given:
        file_spacing = given["spacing_mm"]
    else:
        file_spacing, reasons["spacing_mm"] = planned_spacing(grids)
        values["spacing_mm"] = file_spacing
    doubts: list[str] = []
    if contents is not None:
        scaled, why_scaled = plan_intensity(contents, given)
        values |= scaled
        reasons |= why_scaled
        doubts = doubts_of(contents)
    shape, spacing = resampled_median(grids, file_spacing)
    said = f"median image {_words(shape)} voxels of {_words(spacing)} mm"

    most = prod(recipe.img_size)
    if network == "nnunet" and not set(LEVELS) & set(given):
        size = given.get("img_size") or initial_crop(shape, spacing)
        img_size, options, reasons["network_options"] = _crop_and_levels(
            size, shape, spacing, most, "img_size" in given, dict(recipe.network_options))
        values["network_options"] = options
    else:
        divisor = DIVISORS.get(network, ANY_NETWORK)
        if network == "nnunet":
            divisor = _divisor_of_levels(recipe.network_options | dict(given))
        img_size = fitted(initial_crop(shape, spacing), shape, divisor, most)
    img_size = given.get("img_size", img_size)
    if "img_size" not in given:
        values["img_size"] = img_size
        reasons["img_size"] = (f"{said}, at most {most} voxels, in multiples that {network} can "
                               f"halve")
    centres = given.get("crop_centres")
    if centres is None and contents is not None:
        centres, reasons["crop_centres"] = planned_centres(contents)
        values["crop_centres"] = centres
    fewest, also = FEWEST_CROPS, ""
    if centres == "classes" and contents is not None:
        fewest = max(FEWEST_CROPS, len(contents.class_names) - 1)
    if fewest > FEWEST_CROPS:
        also = f", at least one for each of {fewest} classes"
    num_crops = given.get("num_crops", crops_of(img_size, shape, most, fewest))
    if "num_crops" not in given:
        values["num_crops"] = num_crops
        reasons["num_crops"] = (f"twice as many as it takes to cover the median image{also}, "
                                f"within {FEWEST_CROPS} to {MOST_CROPS}")
    if "epochs" not in given:
        presence, also = 1.0, ""
        if contents is not None:
            presence, where = rarest_presence(contents)
        if presence < 1:
            also = f", and {1 / presence:.3g} times as often since {where}"
        values["epochs"] = epochs_of(img_size, shape, num_crops, presence)
        reasons["epochs"] = (f"each voxel is seen about {VIEWS} times{also}, within "
                             f"{FEWEST_EPOCHS} to {MOST_EPOCHS}")
    return Plan(values, reasons, doubts)


def _divisor_of_levels(options: Mapping[str, Any]) -> Triple:
    """nnunet's divisor with these filters and strides; ANY_NETWORK if they are impossible.

    The network itself reports then what is wrong with them.
    """
    filters, strides = options["filters"], options.get("strides")
    if not isinstance(filters, (list, tuple)) or len(filters) > 20:
        return ANY_NETWORK
    if strides is None:
        strides = (1, *(2,) * (len(filters) - 1))
    try:
        divisor = divisor_of(strides)
    except (TypeError, IndexError):
        return ANY_NETWORK
    if not all(type(one) is int and one > 0 for one in divisor):
        return ANY_NETWORK
    return divisor


def planned_spacing(grids: Grids) -> tuple[tuple[float, float, float] | None, str]:
    """The spacing along the files' axes to resample to (None: no resampling), and why."""
    target = target_spacing(grids.spacings_mm, grids.shapes)
    off = 0.0
    for spacing in grids.spacings_mm:
        for have, want in zip(spacing, target, strict=True):
            off = max(off, abs(have / want - 1))
    if off <= ALIKE:
        return None, f"not resampled: the files' own, alike within {ALIKE:.0%}"
    if grids.sheared:
        return None, ("not resampled: an image has axes that are not at right angles, and there "
                      "would be no way back to its own grid")
    if len(set(grids.file_axes)) > 1 and len(set(target)) > 1:
        return None, ("not resampled: the files store their axes in different orders, and a "
                      "spacing is along these; give equal numbers as --spacing")
    along_file = dict(zip(grids.file_axes[0], target, strict=True))
    axes = list(zip(*grids.spacings_mm, strict=True))
    low, high = _words(map(min, axes)), _words(map(max, axes))
    why = f"median of {len(grids.shapes)} images, whose voxels are {low} to {high} mm"
    if max(target) < (1 - ALIKE / 2) * max(map(median, axes)):
        why += "; of the coarse axis the 10th percentile"
    return tuple(along_file[axis] for axis in range(3)), why


def target_spacing(spacings_mm: Sequence[Sequence[float]],
                   shapes: Sequence[Sequence[int]]) -> tuple[float, float, float]:
    """The median; the 10th percentile along an axis that is coarse in all images.

    A coarse axis has voxels more than ANISOTROPY times as wide as the others, and less than a third
    as many: the rule of nnU-Net's planner, which loses less of the finer images.
    """
    spacing = [median(axis) for axis in zip(*spacings_mm, strict=True)]
    shape = [median(axis) for axis in zip(*shapes, strict=True)]
    coarse = max(range(3), key=lambda axis: spacing[axis])
    others = [axis for axis in range(3) if axis != coarse]
    widest = max(spacing[axis] for axis in others)
    if (spacing[coarse] > ANISOTROPY * widest
            and shape[coarse] * ANISOTROPY < min(shape[axis] for axis in others)):
        spacing[coarse] = max(percentile([one[coarse] for one in spacings_mm], 0.1), widest)
    return tuple(float(f"{one:.5g}") for one in spacing)


def resampled_median(grids: Grids, file_spacing: Sequence[float] | None
                     ) -> tuple[Triple, tuple[float, float, float]]:
    """Median shape and spacing after resampling, both in the order of the patient's axes."""
    shapes, spacings = [], []
    for shape, spacing, axes in zip(grids.shapes, grids.spacings_mm, grids.file_axes, strict=True):
        target = spacing
        if file_spacing is not None:
            target = [file_spacing[axis] for axis in axes]
        shapes.append([size * have / want
                       for size, have, want in zip(shape, spacing, target, strict=True)])
        spacings.append(target)
    return (tuple(max(round(median(axis)), 1) for axis in zip(*shapes, strict=True)),
            tuple(median(axis) for axis in zip(*spacings, strict=True)))


def initial_crop(shape: Sequence[int], spacing_mm: Sequence[float]) -> Triple:
    """A cube in mm of LARGEST_CUBE voxels, no larger than the median image."""
    side = (LARGEST_CUBE * prod(spacing_mm)) ** (1 / 3)
    return tuple(min(size, max(round(side / step), 1))
                 for size, step in zip(shape, spacing_mm, strict=True))


def fitted(size: Sequence[int], shape: Sequence[int], divisor: Triple, most: int) -> Triple:
    """A crop in multiples of a divisor, of at most `most` voxels.

    It is rounded up; then the axis that covers most of the median image loses a multiple until the
    crop fits. If one voxel would be left at the bottleneck, the longest axis is doubled.
    """
    crop = [ceil(one / step) * step for one, step in zip(size, divisor, strict=True)]
    while prod(crop) > most:
        larger = [axis for axis in range(3) if crop[axis] > divisor[axis]]
        if not larger:
            break
        widest = max(larger, key=lambda axis: crop[axis] / shape[axis])
        crop[widest] -= divisor[widest]
    if tuple(crop) == tuple(divisor):
        crop[max(range(3), key=lambda axis: shape[axis])] *= 2
    return tuple(crop)


def _crop_and_levels(size: Sequence[int], shape: Triple, spacing_mm: Sequence[float], most: int,
                     is_given: bool, options: dict[str, Any]
                     ) -> tuple[Triple, dict[str, Any], str]:
    """nnunet's crop and the options of its levels, which depend on each other.

    Args:
        size: to start from; if `is_given`, it is only rounded up.
        options: the recipe's, kept if the crop cannot be halved twice.
    """
    size = list(size)
    if not is_given and len(nnunet_levels(size, spacing_mm)[0]) < FEWEST_LEVELS:
        size = [max(one, HALVED_TWICE) for one in size]
    while True:
        strides, kernels = nnunet_levels(size, spacing_mm, exact=is_given)
        divisor = divisor_of(strides)
        crop = [ceil(one / step) * step for one, step in zip(size, divisor, strict=True)]
        larger = [axis for axis in range(3) if crop[axis] > divisor[axis]]
        if is_given or prod(crop) <= most or not larger:
            break
        widest = max(larger, key=lambda axis: crop[axis] / shape[axis])
        size = crop
        size[widest] -= divisor[widest]
    if len(strides) < FEWEST_LEVELS:
        return tuple(crop), options, "the recipe's: the crop cannot be halved twice"
    options = {"filters": filters_of(len(strides))}
    if any(len(set(stride)) > 1 for stride in strides):
        options |= {"kernel_size": tuple(kernels), "strides": tuple(strides)}
    return tuple(crop), options, (f"{len(strides)} levels: an axis is halved while it has 8 "
                                  f"voxels, and voxels less than twice as wide as the finest")


def crops_of(img_size: Triple, shape: Triple, voxels: int, fewest: int = FEWEST_CROPS) -> int:
    """How many crops of a volume a step takes; together they have at most 2 * `voxels` voxels."""
    cover = prod(ceil(size / side) for size, side in zip(shape, img_size, strict=True))
    wanted = max(2 * cover, fewest)
    return max(FEWEST_CROPS, min(wanted, 2 * voxels // prod(img_size), MOST_CROPS))


def epochs_of(img_size: Triple, shape: Triple, num_crops: int, presence: float = 1.0) -> int:
    """Epochs in which each voxel of a volume is seen about VIEWS times.

    Args:
        presence: share of the cases that have the class that fewest have: it is seen as often.
    """
    seen = num_crops * prod(min(side, size) for side, size in zip(img_size, shape, strict=True))
    epochs = round(VIEWS * prod(shape) / (seen * presence))
    return max(FEWEST_EPOCHS, min(epochs, MOST_EPOCHS))


def _words(values: Any) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
