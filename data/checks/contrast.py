"""Whether a few values of a volume outweigh all others, so that these look alike."""

import numpy as np

LOST, FAINT = 1e-6, 1e-4  # shares of the range: nothing of the others is left, and hardly anything
NUM_SAMPLED, MIN_DISTINCT = 4096, 16  # voxels that stand for all, and values among them


def share_of_range(values: np.ndarray) -> float:
    """The share of the range that the middle half of the distinct values takes.

    Distinct ones, since an image may be air for the most part. 1 where they are so few that this
    says nothing, or where all values are equal.
    """
    sampled = values.ravel()[::max(values.size // NUM_SAMPLED, 1)]
    distinct = np.unique(sampled.astype(np.float64))
    if len(distinct) < MIN_DISTINCT:
        return 1.0
    first, last = np.percentile(distinct, (25, 75))
    return float((last - first) / (float(values.max()) - float(values.min())))
