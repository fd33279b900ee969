"""From files to batches. Names are loaded when first used, so that --help imports nothing heavy."""

from importlib import import_module
from typing import Any

_HOME = {
    "Case": "cases", "DataError": "cases", "Layout": "cases", "find_cases": "cases",
    "DATASETS": "datasets", "Dataset": "datasets",
    "AUGMENTATIONS": "augmentations", "Augmentation": "augmentations",
    "dataset_from_definition": "definitions", "dataset_of": "definitions",
    "INTENSITIES": "intensities",
    "distance_maps": "distances",
    "Split": "splits", "choose_fold": "splits", "consecutive_folds": "splits",
    "equal_folds": "splits", "shuffled_split": "splits",
    "read_splits": "split_files", "write_splits": "split_files",
    "Selection": "selection", "cases_to_score": "selection", "planned_folds": "selection",
    "select_cases": "selection",
    "verify_cases": "verification",
    "read_volume": "images",
    "prepare": "preparation",
    "preprocessing": "transforms", "augmentation": "transforms", "case_files": "transforms",
    "evaluation_loader": "loaders", "training_loader": "loaders",
    "load_volumes": "volumes", "run_volumes": "volumes", "stream_volumes": "volumes",
    "read_tile_list": "tile_list", "pretraining_loader": "tile_views",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
