"""Segmentation metrics with a stated meaning for empty masks; importing this loads numpy only."""

from .case import (
    METRICS_MM,
    METRICS_VOXELS,
    SURFACE_DICE,
    TOLERANCE_MM,
    case_metrics,
    metrics_in,
    surface_dice_name,
    with_shared_columns,
)
from .class_statistics import class_statistics
from .comparison import (
    PairedValues,
    bootstrap_interval,
    compare,
    higher_is_better,
    holm,
    paired_values,
    shared_metrics,
    signed_rank_p,
)
from .overlap import OverlapCounts, dice, overlap_counts
from .statistics import summarise
from .surface import (
    SurfaceMetrics,
    assd_mm,
    hd95_mm,
    msd_mm,
    surface_dice,
    surface_distances,
    surface_metrics,
)

__all__ = [
    "METRICS_MM", "METRICS_VOXELS", "SURFACE_DICE", "TOLERANCE_MM", "OverlapCounts",
    "PairedValues", "SurfaceMetrics", "assd_mm", "bootstrap_interval", "case_metrics",
    "class_statistics", "compare", "dice", "hd95_mm", "higher_is_better", "holm", "metrics_in",
    "msd_mm", "overlap_counts", "paired_values", "shared_metrics", "signed_rank_p", "summarise",
    "surface_dice", "surface_dice_name", "surface_distances", "surface_metrics",
    "with_shared_columns",
]
