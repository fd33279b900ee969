"""Sliding-window inference that hands out finished slabs instead of a whole volume of logits."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import torch
from monai.data.utils import dense_patch_slices
from torch import nn
from torch.nn.functional import pad
from tqdm import tqdm

from data.nifti.geometry import grid_map, native_planes
from data.nifti.native_files import NativeGrid, ProbabilityFile
from losses.dice_ce import in_float32

from .logit_checks import check_logits


class MeanLogits(nn.Module):
    """The mean logits of several networks, each over every combination of flips.

    Logits are averaged, not probabilities; that is linear, so it may be done inside each window,
    and one volume of logits is all there ever is.

    Args:
        networks: images (B, C, H, W, D) -> logits (B, K, H, W, D), in evaluation mode.
        flip_axes: of 0, 1, 2 for H, W, D; none for no test-time augmentation.
    """

    def __init__(self, networks: Sequence[nn.Module], flip_axes: Sequence[int] = ()):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        axes = [2 + axis for axis in sorted(set(flip_axes))]
        self.flips = [flip for n in range(len(axes) + 1) for flip in combinations(axes, n)]
        self.eval()

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows (B, C, h, w, d) to mean logits (B, K, h, w, d) float32."""
        total: torch.Tensor | float = 0.0
        for flip in self.flips:
            flipped = windows.flip(flip) if flip else windows
            for network in self.networks:
                logits = network(flipped).float()
                total = total + (logits.flip(flip) if flip else logits)
        return total / (len(self.flips) * len(self.networks))


@dataclass(frozen=True)
class SlidingWindow:
    """How a network is led over a volume.

    Attributes:
        predict: windows (B, C, h, w, d) on `device` to logits (B, K, h, w, d).
        roi_size: (h, w, d), voxels.
        overlap: of neighbouring windows, fraction.
        window_batch: windows per call of `predict`.
        sums_on: where windows are added up and slabs are; the CPU spares a GPU's memory.
    """

    predict: Callable[[torch.Tensor], torch.Tensor]
    roi_size: tuple[int, int, int]
    overlap: float = 0.25
    window_batch: int = 4
    device: torch.device = torch.device("cpu")
    sums_on: torch.device = torch.device("cpu")


@torch.no_grad()  # not inference_mode: weights moved inside it could never train again
def rolling_logits(image: torch.Tensor, window: SlidingWindow, axis: int = 0,
                   progress: bool = False) -> Iterator[tuple[int, torch.Tensor]]:
    """Sliding-window logits of one image, in slabs along `axis`.

    The windows, their averaging (constant weights) and the padding of small images (zeros, both
    sides) are those of MONAI's sliding_window_inference, and so are the logits. But only
    roi_size[axis] rows of them are ever held. Half precisions are added up in float32.

    Args:
        image: (C, H, W, D).
        axis: 0, 1 or 2, the one that the slabs follow each other along.
        progress: shows a bar over the windows.

    Yields:
        (first row, logits (K, H, W, D)) with some of the rows of `axis`, in order. The tensor is
        overwritten by the next step.

    Raises:
        LogitsError: they are not finite.
    """
    shape, roi = tuple(image.shape[1:]), window.roi_size
    lacking = [max(want - have, 0) for want, have in zip(roi, shape, strict=True)]
    margins = [(n // 2, n - n // 2) for n in lacking]
    if any(lacking):
        image = pad(image, [n for margin in reversed(margins) for n in margin])
    size = image.shape[1:]
    starts = [_starts(size[d], roi[d], window.overlap) for d in range(3)]
    counts = [_counts(starts[d], size[d], roi[d]).to(window.sums_on) for d in range(3)]
    b, c = (d for d in range(3) if d != axis)
    places = list(product(starts[b], starts[c]))
    sums = None  # (roi rows, K, size of b, size of c)
    bar = tqdm(total=len(starts[axis]) * len(places), desc="windows", unit="window", leave=False,
               disable=not progress)
    for row, next_row in zip(starts[axis], [*starts[axis][1:], size[axis]], strict=True):
        for first in range(0, len(places), window.window_batch):
            batch = places[first:first + window.window_batch]
            windows = torch.stack([_cut(image, {axis: row, b: at_b, c: at_c}, roi)
                                   for at_b, at_c in batch])
            logits = in_float32(window.predict(windows.to(window.device))).to(window.sums_on)
            logits = logits.movedim(2 + axis, 1)
            if sums is None:
                sums = logits.new_zeros(roi[axis], logits.shape[2], size[b], size[c])
            for (at_b, at_c), part in zip(batch, logits, strict=True):
                sums[:, :, at_b:at_b + roi[b], at_c:at_c + roi[c]] += part
            bar.update(len(batch))
        final = sums[:next_row - row]  # no later window reaches these rows
        final /= counts[axis][row:next_row].view(-1, 1, 1, 1) * torch.outer(counts[b], counts[c])
        check_logits(final)
        yield row, _without_margins(final.movedim(0, 1 + axis), margins)
        _drop_rows(sums, len(final))
    bar.close()


def whole_logits(image: torch.Tensor, window: SlidingWindow) -> torch.Tensor:
    """The slabs of `rolling_logits` put together: (K, H, W, D) of one image (C, H, W, D)."""
    whole = None
    for row, slab in rolling_logits(image, window):
        if whole is None:
            whole = slab.new_empty(len(slab), *image.shape[1:])
        whole[:, row:row + slab.shape[1]] = slab
    return whole


def _cut(image: torch.Tensor, corner: dict[int, int], roi: Sequence[int]) -> torch.Tensor:
    """One window (C, h, w, d), a view."""
    for d, start in corner.items():
        image = image.narrow(1 + d, start, roi[d])
    return image


def _without_margins(logits: torch.Tensor, margins: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Logits (K, H, W, D) less the padding; along the slabs' axis only a sole slab has any."""
    for d, (low, high) in enumerate(margins):
        logits = logits.narrow(1 + d, low, logits.shape[1 + d] - low - high)
    return logits


def _starts(size: int, roi: int, overlap: float) -> list[int]:
    """Where windows begin along an axis of at least `roi` voxels."""
    interval = roi if size == roi else max(int(roi * (1 - overlap)), 1)
    return [window.start for window, in dense_patch_slices((size,), (roi,), (interval,))]


def _counts(starts: Sequence[int], size: int, roi: int) -> torch.Tensor:
    """How many windows cover each index, (size,) float32."""
    counts = torch.zeros(size)
    for start in starts:
        counts[start:start + roi] += 1
    return counts


def _drop_rows(sums: torch.Tensor, number: int) -> None:
    """Move the rows that are not final to the front and clear the rest, in place."""
    kept = len(sums) - number
    for row in range(kept):
        sums[row] = sums[row + number]
    sums[kept:] = 0


def native_label_map(volume: Mapping[str, Any], grid: NativeGrid, window: SlidingWindow,
                     probabilities: ProbabilityFile | None = None,
                     progress: bool = False) -> np.ndarray:
    """Label map (X, Y, Z) uint8 of class indices on a file's own grid.

    It is the argmax of the logits interpolated at the file's voxels. Memory is bounded: besides
    image and label map there are never more than a window's depth of logits.

    Args:
        volume: as data.preprocessing gives it.
        grid: of the file that it came from.
        probabilities: takes the softmax of the interpolated logits, if given.
        progress: shows a bar over the windows.

    Raises:
        ValueError: the file's grid is sheared; see data.nifti.geometry.grid_map.
        LogitsError: the network's logits are not finite.
    """
    to_model = grid_map(grid.affine, grid.shape, volume["affine"].numpy(),
                        volume["image"].shape[1:])
    slabs = rolling_logits(volume["image"], window, to_model.axes[2].model_axis, progress)
    label_map = np.empty(grid.shape, np.uint8, order="F")
    for planes, logits in native_planes(slabs, to_model):
        label_map[:, :, planes] = logits.argmax(0).to(torch.uint8).numpy()
        if probabilities is not None:
            probabilities.put(planes.tolist(), logits.softmax(0).numpy())
    return label_map
