"""Overlap of two boolean masks: voxel counts and the Dice coefficient."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

    Array = np.ndarray | torch.Tensor


class OverlapCounts(NamedTuple):
    """Voxels in both masks, in the prediction only and in the true mask only."""

    true_positive: int
    false_positive: int
    false_negative: int

    @property
    def empty(self) -> str:
        """Which mask is empty: "", "both", "prediction" or "label"."""
        has_pred = self.true_positive + self.false_positive > 0
        has_true = self.true_positive + self.false_negative > 0
        if has_pred and has_true:
            return ""
        if has_pred:
            return "label"
        if has_true:
            return "prediction"
        return "both"


def overlap_counts(pred_mask: Array, true_mask: Array) -> OverlapCounts:
    """Count the voxels two boolean masks (H, W, D) share and those only one of them has.

    Raises:
        ValueError: masks not boolean, not three-dimensional or of different shapes.
    """
    pred, true = mask_pair(pred_mask, true_mask)
    num_shared = int(np.count_nonzero(pred & true))
    return OverlapCounts(num_shared, int(np.count_nonzero(pred)) - num_shared,
                         int(np.count_nonzero(true)) - num_shared)


def dice(pred_mask: Array, true_mask: Array) -> float:
    """Dice coefficient 2 |P and T| / (|P| + |T|) of two boolean masks (H, W, D), in 0..1.

    Both masks empty gives 1.0, exactly one empty gives 0.0.
    Differs from the authors' code: MONAI's DiceMetric gives NaN whenever the true mask is empty.

    Raises:
        ValueError: masks not boolean, not three-dimensional or of different shapes.
    """
    return dice_from_counts(overlap_counts(pred_mask, true_mask))


def dice_from_counts(counts: OverlapCounts) -> float:
    """Dice coefficient of counted voxels, with the rule for empty masks of `dice`."""
    if counts.empty == "both":
        return 1.0
    shared = 2 * counts.true_positive
    return shared / (shared + counts.false_positive + counts.false_negative)


def class_overlaps(voxels: np.ndarray) -> list[OverlapCounts]:
    """Each foreground class's overlap, from voxel counts (K, K) by predicted and true class."""
    shared = voxels.diagonal()
    false_positive, false_negative = voxels.sum(axis=1) - shared, voxels.sum(axis=0) - shared
    table = np.stack((shared, false_positive, false_negative), axis=-1)
    return [OverlapCounts(*counts) for counts in table[1:].tolist()]


def mask_pair(pred_mask: Array, true_mask: Array) -> tuple[np.ndarray, np.ndarray]:
    """Two boolean masks (H, W, D) as checked numpy arrays.

    Raises:
        ValueError: masks not boolean, not three-dimensional or of different shapes.
    """
    pred, true = to_numpy(pred_mask), to_numpy(true_mask)
    for name, mask in (("pred_mask", pred), ("true_mask", true)):
        if mask.dtype != bool:
            raise ValueError(f"{name} must be boolean, got dtype {mask.dtype}: compare first, "
                             f"e.g. label_map == class_index or probs > 0.5")
        check_volume(name, mask)
    check_same_shape(("pred_mask", pred), ("true_mask", true))
    return pred, true


def check_volume(name: str, array: np.ndarray) -> None:
    """Raise ValueError unless the array is one volume (H, W, D)."""
    if array.ndim != 3:
        raise ValueError(f"{name} must have three axes (H, W, D), got shape {array.shape}: drop "
                         f"batch and channel axes")


def check_same_shape(first: tuple[str, np.ndarray], second: tuple[str, np.ndarray]) -> None:
    """Raise ValueError unless two (name, array) pairs have one shape."""
    (name_a, a), (name_b, b) = first, second
    if a.shape != b.shape:
        raise ValueError(f"{name_a} has shape {a.shape} but {name_b} has {b.shape}: resample one "
                         f"onto the grid of the other")


def to_numpy(array: Array) -> np.ndarray:
    """A numpy view of an array or, copied to the CPU if need be, of a tensor."""
    if hasattr(array, "detach"):  # an isinstance check would have to import torch
        return array.detach().cpu().numpy()
    return np.asarray(array)
