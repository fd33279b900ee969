"""From files to batches. Names are loaded when first used, so that --help imports nothing heavy."""

from importlib import import_module
from typing import Any

_HOME = {
    "Case": "cases", "DataError": "cases", "Layout": "cases", "find_cases": "cases",
    "DATASETS": "datasets", "Augmentation": "datasets", "Dataset": "datasets",
    "Split": "splits", "choose_fold": "splits", "consecutive_folds": "splits",
    "read_splits": "splits", "shuffled_split": "splits",
    "Selection": "selection", "cases_to_score": "selection", "select_cases": "selection",
    "verify_cases": "verification",
    "preprocessing": "transforms", "augmentation": "transforms",
    "evaluation_loader": "loaders", "load_volumes": "loaders", "stream_volumes": "loaders",
    "training_loader": "loaders",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
