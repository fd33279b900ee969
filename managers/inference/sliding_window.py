"""Sliding-window inference that yields finished slabs instead of a whole volume of logits."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import torch
from monai.data.utils import dense_patch_slices
from torch.nn.functional import pad
from tqdm import tqdm

from losses.dice_ce import in_float32

from .logit_checks import check_logits

CPU = torch.device("cpu")


@torch.no_grad()  # not inference_mode: weights moved inside it could never train again
def rolling_logits(image: torch.Tensor, predict: Callable[[torch.Tensor], torch.Tensor],
                   roi_size: Sequence[int], overlap: float = 0.25, window_batch: int = 4,
                   axis: int = 0, progress: bool = False,
                   device: torch.device | None = None) -> Iterator[tuple[int, torch.Tensor]]:
    """Sliding-window logits of one image, in slabs along `axis`.

    The windows, their averaging (constant weights), the padding of small images (zeros, both
    sides) and so the logits are those of MONAI's sliding_window_inference. But only roi_size[axis]
    rows of them are ever held. Half precisions are added up in float32.

    When the memory of `device` is full, a warning says so and windows are added up on the CPU from
    then on; the sums so far are kept.

    Args:
        image: (C, H, W, D), on any device.
        predict: windows (B, C, h, w, d) to logits (B, K, h, w, d), on any device.
        roi_size: (h, w, d) of a window, voxels.
        overlap: of neighbouring windows, fraction.
        window_batch: windows per call of `predict`.
        axis: 0, 1 or 2, the one that the slabs follow each other along.
        progress: shows a bar over the windows.
        device: where windows are added up; None: that of the image.

    Yields:
        (first row, logits (K, H, W, D)) with some of the rows of `axis`, in order. The tensor is
        overwritten by the next step.

    Raises:
        LogitsError: they are not finite.
        torch.OutOfMemoryError: the network alone does not fit.
    """
    if device is None:
        device = image.device
    sums = WindowSums(device)
    shape, roi = tuple(image.shape[1:]), tuple(roi_size)
    lacking = [max(want - have, 0) for want, have in zip(roi, shape, strict=True)]
    margins = [(n // 2, n - n // 2) for n in lacking]
    if any(lacking):
        image = pad(image, [n for margin in reversed(margins) for n in margin])
    size = image.shape[1:]
    starts = [_starts(size[d], roi[d], overlap) for d in range(3)]
    counts = [_counts(starts[d], size[d], roi[d]) for d in range(3)]
    b, c = (d for d in range(3) if d != axis)
    places = list(product(starts[b], starts[c]))
    in_plane = torch.outer(torch.tensor(counts[b], dtype=torch.float32, device=CPU),
                           torch.tensor(counts[c], dtype=torch.float32, device=CPU))
    bar = tqdm(total=len(starts[axis]) * len(places), desc="windows", unit="window", leave=False,
               disable=not progress)
    for row, next_row in zip(starts[axis], [*starts[axis][1:], size[axis]], strict=True):
        for first in range(0, len(places), window_batch):
            batch = places[first:first + window_batch]
            windows = torch.stack([_cut(image, {axis: row, b: at_b, c: at_c}, roi)
                                   for at_b, at_c in batch])
            logits = sums.take(predict, windows).movedim(2 + axis, 1)
            sums.reserve((roi[axis], logits.shape[2], size[b], size[c]), logits.dtype)
            sums.add(logits, batch, (roi[b], roi[c]))
            bar.update(len(batch))
        final = sums.means(counts[axis][row:next_row], in_plane)  # no later window comes here
        check_logits(final)
        yield row, _without_margins(final.movedim(0, 1 + axis), margins)
        sums.drop(len(final))
    bar.close()


class WindowSums:
    """Added-up windows: as many rows as a window has, on one device until its memory is full.

    Args:
        device: to begin with.

    Attributes:
        rows: (rows, K, size of b, size of c), where a and b and c are the other axes.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.rows: torch.Tensor | None = None

    def take(self, work: Callable[..., torch.Tensor], *arguments: Any) -> torch.Tensor:
        """The result of `work`, at least float32, on the device of the sums.

        Raises:
            torch.OutOfMemoryError: although the sums are on the CPU.
        """
        try:
            return in_float32(work(*arguments)).to(self.device)
        except torch.OutOfMemoryError:
            if self.device == CPU:
                raise
        self._leave_device()  # not in the handler, which keeps the failed tensors alive
        return in_float32(work(*arguments)).to(self.device)

    def reserve(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
        """Make the rows, once."""
        if self.rows is None:
            self.rows = self.take(lambda: torch.zeros(shape, dtype=dtype, device=self.device))

    def add(self, logits: torch.Tensor, places: Sequence[tuple[int, int]],
            roi: tuple[int, int]) -> None:
        """Add windows (B, rows, K, h, w) at their places along the last two axes."""
        for (at_b, at_c), part in zip(places, logits.to(self.device), strict=True):
            self.rows[:, :, at_b:at_b + roi[0], at_c:at_c + roi[1]] += part

    def means(self, along: Sequence[int], in_plane: torch.Tensor) -> torch.Tensor:
        """The first rows divided by the number of their windows, in place.

        Args:
            along, in_plane: windows over each of these rows, and over each place in a row.
        """
        final = self.rows[:len(along)]
        in_plane = in_plane.to(self.device)
        for row, number in zip(final, along, strict=True):
            row /= in_plane * number
        return final

    def drop(self, number: int) -> None:
        """Move the rows that are not final to the front and clear the rest, in place."""
        kept = len(self.rows) - number
        for row in range(kept):
            self.rows[row] = self.rows[row + number]
        self.rows[kept:] = 0

    def _leave_device(self) -> None:
        warnings.warn(f"the memory of {self.device} is full: windows are added up on the CPU "
                      f"from here on, which takes longer.", stacklevel=2)
        self.device = CPU
        if self.rows is not None:
            self.rows = self.rows.to(CPU)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def _cut(image: torch.Tensor, corner: dict[int, int], roi: Sequence[int]) -> torch.Tensor:
    """One window (C, h, w, d), a view."""
    for d, start in corner.items():
        image = image.narrow(1 + d, start, roi[d])
    return image


def _without_margins(logits: torch.Tensor, margins: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Logits (K, H, W, D) less the padding; along the slabs' axis only a single slab has any."""
    for d, (low, high) in enumerate(margins):
        logits = logits.narrow(1 + d, low, logits.shape[1 + d] - low - high)
    return logits


def _starts(size: int, roi: int, overlap: float) -> list[int]:
    """Where windows begin along an axis of at least `roi` voxels."""
    interval = max(int(roi * (1 - overlap)), 1)
    if size == roi:
        interval = roi
    return [window.start for window, in dense_patch_slices((size,), (roi,), (interval,))]


def _counts(starts: Sequence[int], size: int, roi: int) -> list[int]:
    """How many windows cover each of `size` indices, as numbers, so nothing waits for a GPU."""
    counts = [0] * size
    for start in starts:
        for index in range(start, min(start + roi, size)):
            counts[index] += 1
    return counts
