"""Segmentation metrics with a stated meaning for empty masks; importing this loads numpy only."""

from .case import METRICS_MM, METRICS_VOXELS, case_metrics
from .overlap import OverlapCounts, dice, overlap_counts
from .statistics import summarise
from .surface import (
    SurfaceMetrics,
    assd_mm,
    hd95_mm,
    msd_mm,
    surface_distances,
    surface_metrics,
)

__all__ = [
    "METRICS_MM",
    "METRICS_VOXELS",
    "OverlapCounts",
    "SurfaceMetrics",
    "assd_mm",
    "case_metrics",
    "dice",
    "hd95_mm",
    "msd_mm",
    "overlap_counts",
    "summarise",
    "surface_distances",
    "surface_metrics",
]
