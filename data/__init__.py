"""From files to batches. Names are loaded when first used, so that --help imports nothing heavy."""

from importlib import import_module
from typing import Any

_NAMES = {
    "sets.cases": ("Case", "DataError", "Layout", "find_cases"),
    "sets.datasets": ("DATASETS", "Dataset"),
    "sets.augmentations": ("AUGMENTATIONS", "Augmentation"),
    "sets.definitions": ("dataset_from_definition", "dataset_of"),
    "sets.intensities": ("INTENSITIES",),
    "volumes.distances": ("distance_maps",),
    "sets.splits": ("Split", "choose_fold", "consecutive_folds", "equal_folds", "shuffled_split"),
    "sets.split_files": ("read_splits", "write_splits"),
    "checks.case_contents": ("measured_contents",),
    "checks.planning": ("decided_values", "measured_grids"),
    "checks.selection": ("Selection", "cases_to_score", "planned_folds", "select_cases"),
    "checks.verification": ("verify_cases",),
    "nifti.images": ("read_volume",),
    "preparation.steps": ("prepare",),
    "volumes.transforms": ("preprocessing", "augmentation", "case_files"),
    "volumes.loaders": ("evaluation_loader", "training_loader"),
    "volumes.prepared": ("load_volumes", "run_volumes", "stream_volumes"),
    "views.tile_list": ("read_tile_list",),
    "views.tile_views": ("pretraining_loader",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
