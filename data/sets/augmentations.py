"""How crops are augmented, as data: as in the papers, and in a way that keeps patients upright."""

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Augmentation:
    """Probabilities of the random transforms, and how many crops one volume gives."""

    num_crops: int
    positive: float = 1.0          # weight of crops centred on foreground ...
    negative: float = 0.0          # ... and on background
    centres: str = "foreground"    # any voxel of it, or "classes": first a class, then a voxel
    flip_prob: float = 0.1         # for each of ...
    flip_axes: tuple[int, ...] = (0, 1, 2)  # ... to the patient's right, front and head
    rotate_prob: float = 0.1       # by multiples of 90 degrees, in the first two axes
    affine_prob: float = 0.0       # turned by up to 15 degrees and scaled, for each axis
    shift_prob: float = 0.5        # of the intensity, by up to 0.1
    contrast_prob: float = 0.0     # the distance to the mean times 0.75 to 1.25
    gamma_prob: float = 0.0        # exponent 0.7 to 1.5 between the smallest and largest value
    blur_prob: float = 0.0         # Gaussian of 0.5 to 1 voxel


def anatomical(published: Augmentation, symmetric: bool) -> Augmentation:
    """Variations as between patients and scanners: front stays front, and up stays up.

    The published flips and quarter turns make a network learn organs in 16 orientations, although
    patients have one. Here crops are rotated and scaled a little, and their contrast changes.

    Args:
        published: the number and centres of the crops are taken from it.
        symmetric: whether the mirror image, left to right, is as likely as the image.
    """
    flip_axes: tuple[int, ...] = ()
    if symmetric:
        flip_axes = (0,)
    return replace(published, flip_prob=0.5, flip_axes=flip_axes, rotate_prob=0.0,
                   affine_prob=0.5, contrast_prob=0.15, gamma_prob=0.3, blur_prob=0.1)


def as_published(published: Augmentation, symmetric: bool) -> Augmentation:
    """The published augmentation, unchanged."""
    return published


AUGMENTATIONS: dict[str, Callable[[Augmentation, bool], Augmentation]] = {
    "published": as_published,
    "anatomical": anatomical,
}
