"""Whether a few extreme values of a volume make all others look alike."""

import numpy as np

LOST, FAINT = 1e-6, 1e-4  # shares of the range that leave nothing, or hardly anything, of the rest
NUM_SAMPLED, MIN_DISTINCT = 4096, 16  # voxels that are looked at; distinct values needed to judge


def share_of_range(values: np.ndarray) -> float:
    """The share of the range that the middle half of the distinct values takes up.

    Of the distinct values, since an image may be mostly air. 1 if there are too few of them to
    judge.
    """
    sampled = values.ravel()[::max(values.size // NUM_SAMPLED, 1)]
    distinct = np.unique(sampled.astype(np.float64))
    if len(distinct) < MIN_DISTINCT:
        return 1.0
    first, last = np.percentile(distinct, (25, 75))
    return float((last - first) / (float(values.max()) - float(values.min())))
