"""Sliding-window inference that hands out finished slabs instead of a whole volume of logits."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from monai.data.utils import dense_patch_slices
from torch.nn.functional import pad
from tqdm import tqdm

from losses.dice_ce import in_float32

from .logit_checks import check_logits


@torch.no_grad()  # not inference_mode: weights moved inside it could never train again
def rolling_logits(image: torch.Tensor, predict: Callable[[torch.Tensor], torch.Tensor],
                   roi_size: Sequence[int], overlap: float = 0.25, window_batch: int = 4,
                   axis: int = 0, progress: bool = False) -> Iterator[tuple[int, torch.Tensor]]:
    """Sliding-window logits of one image, in slabs along `axis`.

    The windows, their averaging (constant weights) and the padding of small images (zeros, both
    sides) are those of MONAI's sliding_window_inference, and so are the logits. But only
    roi_size[axis] rows of them are ever held. Half precisions are added up in float32.

    Args:
        image: (C, H, W, D); windows are added up on its device, so that an image on the CPU spares
            a GPU's memory.
        predict: windows (B, C, h, w, d) to logits (B, K, h, w, d), on any device.
        roi_size: (h, w, d) of a window, voxels.
        overlap: of neighbouring windows, fraction.
        window_batch: windows per call of `predict`.
        axis: 0, 1 or 2, the one that the slabs follow each other along.
        progress: shows a bar over the windows.

    Yields:
        (first row, logits (K, H, W, D)) with some of the rows of `axis`, in order. The tensor is
        overwritten by the next step.

    Raises:
        LogitsError: they are not finite.
    """
    shape, roi = tuple(image.shape[1:]), tuple(roi_size)
    lacking = [max(want - have, 0) for want, have in zip(roi, shape, strict=True)]
    margins = [(n // 2, n - n // 2) for n in lacking]
    if any(lacking):
        image = pad(image, [n for margin in reversed(margins) for n in margin])
    size = image.shape[1:]
    starts = [_starts(size[d], roi[d], overlap) for d in range(3)]
    counts = [_counts(starts[d], size[d], roi[d]).to(image.device) for d in range(3)]
    b, c = (d for d in range(3) if d != axis)
    places = list(product(starts[b], starts[c]))
    sums = None  # (roi rows, K, size of b, size of c)
    bar = tqdm(total=len(starts[axis]) * len(places), desc="windows", unit="window", leave=False,
               disable=not progress)
    for row, next_row in zip(starts[axis], [*starts[axis][1:], size[axis]], strict=True):
        for first in range(0, len(places), window_batch):
            batch = places[first:first + window_batch]
            windows = torch.stack([_cut(image, {axis: row, b: at_b, c: at_c}, roi)
                                   for at_b, at_c in batch])
            logits = in_float32(predict(windows)).to(image.device)
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
