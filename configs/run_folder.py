"""Where a run lives on disk, and reading back what it was."""

from pathlib import Path

from .files import read_json
from .training import TrainingConfig


def experiment_dir(experiment: str) -> Path:
    """The folder of an experiment: a bare name lives below experiments/, a path is itself.

    NAME and NAME.exp are the same experiment.
    """
    path = Path(experiment)
    if path.suffix != ".exp":
        path = path.with_name(f"{path.name}.exp")
    return path if path.parent != Path(".") else Path("experiments") / path


def read_config(folder: Path) -> TrainingConfig:
    """The settings of the run in `folder`.

    Raises:
        ValueError: there is no run there; the message lists those that are beside it.
    """
    if not (folder / "config.json").is_file():
        beside = sorted(path.parent.name for path in folder.parent.glob("*.exp/config.json"))
        raise ValueError(f"{folder}: no run here (config.json is absent). "
                         f"Runs in {folder.parent}: {', '.join(beside) or 'none'}.")
    try:
        return TrainingConfig.from_dict(read_json(folder / "config.json"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from error
