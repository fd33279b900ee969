"""Where a run lives on disk, and reading back what it was."""

from pathlib import Path
from typing import Any

from system.files import read_json

from ..experiment_name import folder_of_name
from ..pretraining.pretraining import METHOD, PretrainingConfig
from ..training.training import TrainingConfig


def experiment_dir(experiment: str) -> Path:
    """The folder of an experiment; NAME and NAME.exp are the same one, see `folder_of_name`."""
    return folder_of_name(experiment, ".exp")


# Files that only a run, a cross-validation or a study writes.
KINDS = {".exp": "a run", ".cv": "a cross-validation", ".study": "a study"}
MARKS = {"a run": ("config.json", "splits.json"),
         "a pre-training run": ("config.json", "environment.json"),
         "a cross-validation": ("cv.json",), "a study": ("study.log",)}
WITHIN_A_RUN = ("predictions", "pictures", "data")  # folders of a run that scripts write to


def kind_of_folder(path: str | Path) -> str | None:
    """What a folder is, by its ending or its content: "a run", ...; None for anything else.

    Folders of a run that scripts write to are "a part of a run".
    """
    path = Path(path).resolve()
    if path.suffix in KINDS:
        return KINDS[path.suffix]
    for kind, names in MARKS.items():
        if all((path / name).is_file() for name in names):
            return kind
    if path.name in WITHIN_A_RUN and kind_of_folder(path.parent) == "a run":
        return "a part of a run"
    return None


def is_of_a_run(path: str | Path) -> bool:
    """Whether a path, existing or not, is that of a file that a run keeps in its folder."""
    path = Path(path)
    return (kind_of_folder(path.parent) in ("a run", "a pre-training run")
            and (path.suffix in (".model", ".jsonl", ".json", ".log", ".csv", ".html", ".npz")
                 or path.name == "progress.png"))


def cache_dir(config: TrainingConfig) -> Path:
    """Where a run's prepared volumes are kept: by default cache/ beside its folder."""
    return cache_dir_of(config.experiment, config.cache_dir)


def cache_dir_of(experiment: str, given: str | None) -> Path:
    """The same of a run that has no settings yet."""
    if given is not None:
        return Path(given)
    return experiment_dir(experiment).parent / "cache"


def read_config(folder: Path) -> TrainingConfig:
    """The settings of the run in `folder`.

    Raises:
        ValueError: there is no run (the message lists those beside it), or it is one of
            pre-training.
    """
    values = _read(folder)
    if isinstance(values, dict) and values.get("method") == METHOD:
        raise ValueError(f"{folder}: is a run of DeSD pre-training, which segments nothing. Start "
                         f"a segmentation network from it with --init_from {folder} "
                         f"--encoder_only.")
    return _made(TrainingConfig, values, folder)


def read_pretraining_config(folder: Path) -> PretrainingConfig:
    """The settings of the pre-training run in `folder`.

    Raises:
        ValueError: there is no run there, or it is one of segmentation.
    """
    values = _read(folder)
    if isinstance(values, dict) and values.get("method") != METHOD:
        raise ValueError(f"{folder}: is a run of segmentation, not of DeSD pre-training.")
    return _made(PretrainingConfig, values, folder)


def _read(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        beside = sorted(path.parent.name for path in folder.parent.glob("*.exp/config.json"))
        raise ValueError(f"{folder}: no run here (config.json is absent). "
                         f"Runs in {folder.parent}: {', '.join(beside) or 'none'}.")
    return read_json(folder / "config.json")


def _made(kind: type, values: Any, folder: Path) -> Any:
    try:
        return kind.from_dict(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from error
