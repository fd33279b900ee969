"""MONAI transforms: the fixed part that is computed once, and the random part of each crop."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import monai.transforms as mt
import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta, set_track_meta
from monai.transforms.utils import map_binary_to_indices

from ..nifti.images import read_volume
from ..sets.augmentations import Augmentation
from ..sets.cases import Case
from ..sets.datasets import Dataset
from ..sets.intensities import INTENSITIES

KEYS = ("image", "label")
DIST_MAP = "dist_map"
GEOMETRY = ("affine", "spacing_mm")
RAS_LABELS = (("L", "R"), ("P", "A"), ("I", "S"))
FOREGROUND, BACKGROUND = "foreground_indices", "background_indices"
MAX_CENTRES = 2**20  # of the crops of a volume without foreground
INTERPOLATION = {"image": "bilinear", "label": "nearest"}


def case_files(case: Case) -> dict[str, Any]:
    """The input of `preprocessing`; without "label" if the case has none."""
    files = {"image": tuple(map(str, case.images)), "case_id": case.case_id,
             "channel_first": case.channel_first}
    if case.label is not None:
        files["label"] = str(case.label)
    return files


def preprocessing(dataset: Dataset, keys: Sequence[str] = KEYS) -> mt.Compose:
    """Files -> volumes on the networks' grid, for training and evaluation.

    Gives {"image": (C, H, W, D) float32, "label": (1, H, W, D) uint8 classes, "affine": (4, 4)
    float64 in mm, "spacing_mm": (3,) float64, "case_id"}, all in RAS orientation: the spatial axes
    run to the patient's right, front and head. Resampling comes before reorientation, since the
    spacing is along the file's own axes (as in the authors' code).

    Args:
        keys: ("image",) for images without a label.
    """
    keys = tuple(keys)
    num_channels = {"image": len(dataset.channels), "label": 1}
    steps: list[mt.Transform] = [ReadVolumesd({key: num_channels[key] for key in keys})]
    if "label" in keys and any(value != index for value, index in dataset.label_values.items()):
        steps.append(mt.MapLabelValued("label", list(dataset.label_values),
                                       list(dataset.label_values.values()), dtype=np.float32))
    if dataset.spacing_mm is not None:
        steps.append(mt.Spacingd(keys, pixdim=dataset.spacing_mm,
                                 mode=[INTERPOLATION[key] for key in keys]))
    steps.append(mt.Orientationd(keys, axcodes="RAS", labels=RAS_LABELS))
    steps += [*intensity_steps(dataset), PlainTensorsd()]
    return mt.Compose(steps)


def intensity_steps(dataset: Dataset) -> list[mt.Transform]:
    """The dataset's intensity scheme, on "image"."""
    return [getattr(mt, name)("image", **arguments)
            for name, arguments in INTENSITIES[dataset.intensity](dataset.window)]


class ReadVolumesd(mt.Transform):
    """Paths to volumes (C, X, Y, Z) float32 with their affine.

    Differs from MONAI's LoadImaged: the channels of a file may come first, and the affine is
    always the header's, which MONAI changes if the header's voxel sizes differ from it. The label
    takes the image's affine: the verification made sure that they are equal up to rounding, and
    rounding alone might turn the label another way. Label values are rounded to the whole numbers
    that the verification found them close to.

    Args:
        num_channels: by key, the image's first.
    """

    def __init__(self, num_channels: Mapping[str, int]):
        self.num_channels = dict(num_channels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the paths; take "channel_first" out."""
        data = dict(data)
        channel_first = data.pop("channel_first", False)
        affine = None
        for key, number in self.num_channels.items():
            array, its_own = read_volume(data[key], number, channel_first)
            if key == "label":
                np.rint(array, out=array)
            if affine is None:
                affine = its_own
            data[key] = MetaTensor(array, affine=torch.from_numpy(affine.copy()))
        return data


class PlainTensorsd(mt.Transform):
    """MetaTensors to plain tensors and the metadata that evaluation needs."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace image and label; add "affine" (4, 4) and "spacing_mm" (3,)."""
        image: MetaTensor = data["image"]
        affine = image.affine.to(torch.float64)
        plain = {"image": image.as_tensor().to(torch.float32).contiguous(), "affine": affine,
                 "spacing_mm": affine[:3, :3].square().sum(0).sqrt()}
        if "label" in data:
            plain["label"] = data["label"].as_tensor().round().to(torch.uint8).contiguous()
        return dict(data) | plain


def prepare_crops(volume: Mapping[str, Any], dataset: Dataset,
                  img_size: tuple[int, int, int]) -> dict[str, Any]:
    """The other deterministic steps of training: padding to the crop size, and the crops' centres.

    Both sides are padded, reflecting as often as needed (torch and MONAI reflect once). The
    centres are flat indices (N,), int32 if the volume has fewer than 2^31 voxels, as
    "foreground_indices" and "background_indices"; background is where the label is 0 and the image
    above 0. If no crop is ever centred on background, a single index stands for all of them, of
    which there may be 10^8. If there is no foreground, up to MAX_CENTRES voxels from the whole
    volume replace it, so that crops are cut at random; see `has_foreground`. With centres
    "classes" each class of the volume has as many of them as the others.
    """
    lacking = [max(want - have, 0)
               for want, have in zip(img_size, volume["image"].shape[1:], strict=True)]
    widths = [(0, 0), *((n // 2, n - n // 2) for n in lacking)]
    image = np.pad(volume["image"].numpy(), widths, dataset.padding_mode)
    label = np.pad(volume["label"].numpy(), widths, dataset.padding_mode)
    foreground, background = map_binary_to_indices(label, image, 0.0)
    if len(foreground) == 0:
        foreground = np.linspace(0, label.size - 1, min(label.size, MAX_CENTRES)).astype(np.int64)
    elif dataset.augmentation.centres == "classes":
        foreground = balanced_centres(label.ravel(), foreground)
    if dataset.augmentation.negative == 0:
        background = background[:1]
    kind = np.int32 if label.size < 2**31 else np.int64
    return dict(volume) | {
        "image": torch.from_numpy(image), "label": torch.from_numpy(label),
        FOREGROUND: foreground.astype(kind), BACKGROUND: background.astype(kind)}


def balanced_centres(label: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """As many centres of each class as of the others, so that each is drawn as often.

    They are spread evenly over the voxels of the class. A small class has its voxels repeated, up
    to the number of the largest; together there are at most MAX_CENTRES.

    Args:
        label: (N,) classes.
        foreground: flat indices of the voxels that are not background.
    """
    classes, sizes = np.unique(label[foreground], return_counts=True)
    each = min(int(sizes.max()), MAX_CENTRES // len(classes))
    centres = []
    for one in classes:
        voxels = foreground[label[foreground] == one]
        centres.append(voxels[np.arange(each) * len(voxels) // each])
    return np.concatenate(centres)


def has_foreground(volume: Mapping[str, Any]) -> bool:
    """Whether the crops of a prepared volume are centred on its foreground."""
    return bool(volume["label"].flatten()[int(volume[FOREGROUND][0])] > 0)


def augmentation(dataset: Dataset, img_size: tuple[int, int, int]) -> mt.Compose:
    """Random crops of a prepared volume and their augmentation; a list of crops per volume.

    Rotations by 90 degrees need a plane with equal sides; a crop without one is not rotated.
    Smaller rotations are about the crop's centre, as if voxels were cubes; voxels from outside the
    crop repeat its edge. Image, label and distance maps, if there are any, move together. The
    distances of a rotated or scaled crop are not recomputed, although voxels need not be cubes.
    """
    how, keys = dataset.augmentation, (*KEYS, DIST_MAP)
    present = {"allow_missing_keys": True}  # only the distance maps may be missing
    steps: list[mt.Transform] = [mt.RandCropByPosNegLabeld(
        keys, label_key="label", spatial_size=img_size, pos=how.positive, neg=how.negative,
        num_samples=how.num_crops, fg_indices_key=FOREGROUND, bg_indices_key=BACKGROUND,
        **present)]
    steps += [mt.RandFlipd(keys, prob=how.flip_prob, spatial_axis=axis, **present)
              for axis in how.flip_axes]
    planes = [(a, b) for a, b in ((0, 1), (0, 2), (1, 2)) if img_size[a] == img_size[b]]
    if planes:
        steps.append(mt.RandRotate90d(keys, prob=how.rotate_prob, max_k=3, spatial_axes=planes[0],
                                      **present))
    if how.affine_prob > 0:
        steps += [mt.RandAffined(
            keys, prob=how.affine_prob, rotate_range=[np.pi / 12] * 3,
            scale_range=[(-0.15, 0.2)] * 3, mode=["bilinear", "nearest", "bilinear"],
            padding_mode="border", **present), mt.CastToTyped("label", torch.uint8)]
    steps += _intensity_steps(how)
    steps.append(mt.SelectItemsd((*keys, "case_id"), **present))
    return mt.Compose(steps)


def _intensity_steps(how: Augmentation) -> list[mt.Transform]:
    """The steps of nonzero probability; all but the published shift suit any scale of intensity."""
    steps = [
        (how.blur_prob, mt.RandGaussianSmoothd, dict.fromkeys(
            ("sigma_x", "sigma_y", "sigma_z"), (0.5, 1.0))),
        (how.contrast_prob, mt.RandScaleIntensityFixedMeand, {"factors": 0.25}),
        (how.gamma_prob, mt.RandAdjustContrastd, {"gamma": (0.7, 1.5)}),
        (how.shift_prob, mt.RandShiftIntensityd, {"offsets": 0.1}),
    ]
    return [kind("image", prob=prob, **options) for prob, kind, options in steps if prob > 0]


@contextmanager
def plain_tensors():
    """Within, MONAI's transforms give plain tensors, without metadata, which crops do not need."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)
