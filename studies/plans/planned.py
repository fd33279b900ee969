"""What the engine runs, and where its results go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import data
from configs import TrainingConfig, training_parser
from configs.study.line_parser import LineParser
from configs.training.settings import resolve
from system.files import read_json, write_json


@dataclass(frozen=True)
class PlannedRun:
    """One training run of a set, and the cases that it is scored on."""

    name: str                       # of its rows and logs
    settings: TrainingConfig        # what the training script reads from `arguments`
    arguments: tuple[str, ...]      # of the training script
    group: str                      # of cases to score: eval.py --mode
    native_space: bool = False      # scored on the grid of the label files
    arm: tuple[Any, ...] = ()       # runs of one arm are one line of a table
    needs: tuple[str, ...] = ()     # preparations whose results it reads


@dataclass(frozen=True)
class Preparation:
    """A command whose result some runs need, such as the pre-training of their encoder."""

    name: str                               # of its log
    script: str                             # below the project's root
    arguments: tuple[str, ...]
    is_finished: Callable[[], bool]         # whether its result is complete
    flags_to_go_on: Callable[[], list[str]] = list  # added if an earlier call was interrupted
    needs: tuple[str, ...] = ()             # other preparations


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A set of runs, how they are executed, and the layout of the folder that they share."""

    folder: Path
    runs: tuple[PlannedRun, ...]
    preparations: tuple[Preparation, ...] = ()
    executor: str = "local"
    job_options: dict[str, Any] = field(default_factory=dict)   # by submitit's names
    budget_minutes: float | None = None
    overwrite: bool = False                 # train finished runs again
    discard_models: bool = False            # remove the weights of a run once it is scored
    show_verbose: bool = False

    score_ending: ClassVar[str] = "_scores"
    skipped_as: ClassVar[str] = "trained before"
    refusal: ClassVar[str] = "These runs are not of this study:"
    remedy: ClassVar[str] = ("Ask for the settings that they have (--epochs, flags after --), or "
                             "choose another --output.")

    @property
    def logs(self) -> Path:
        """The folder of the logs."""
        return self.folder / "logs"

    def log_of(self, name: str, ending: str = "") -> Path:
        """The file for the output of a run or a preparation."""
        return self.logs / f"{name.replace(' ', '')}{ending}.log"

    def lock_of(self, run: PlannedRun) -> Path:
        """The lock held by the call that trains or scores this run."""
        path = self.log_of(run.name)
        return path.with_name(f".{path.stem}.lock")

    def rows_of(self, run: PlannedRun) -> Path:
        """The copy of the run's scores."""
        return self.folder / "cases" / f"{run.name}.csv"

    def head(self, name: str) -> str:
        """The start of a log line about a run or a preparation."""
        names = [one.name for one in (*self.preparations, *self.runs)]
        return f"[{names.index(name) + 1}/{len(names)}] {name}"

    def read_record(self) -> dict[str, str]:
        """By run, the group of its copied rows and the training course they belong to.

        Raises:
            ValueError: the file is damaged.
        """
        path = self.folder / "gathered.json"
        if not path.is_file():
            return {}
        return checked_record(path, read_json(path))

    def write_record(self, record: dict[str, str]) -> None:
        """Replace the record."""
        write_json(self.folder / "gathered.json", record)


def checked_record(path: Path, content: Any) -> dict[str, str]:
    """The record read from a file.

    Raises:
        ValueError: it is not a dictionary of strings.
    """
    if not (isinstance(content, dict) and all(isinstance(one, str) for one in content.values())):
        raise ValueError(f"{path}: is damaged; remove it, then all runs are gathered again.")
    return content


def settings_of(method: str, arguments: Sequence[str]) -> TrainingConfig:
    """The settings of a training script's command line; the run's name must not set any.

    Raises:
        ValueError: all settings that cannot be used, in one message.
    """
    parser = LineParser(parents=[training_parser(method)], add_help=False, allow_abbrev=False)
    flags = vars(parser.parse_args(arguments))
    flags.pop("show_settings", None)
    flags.pop("estimate", None)
    values, sources, _ = resolve(method, flags, data)
    said = [f"{name} {values[name]}" for name, source in sources.items() if source == "name"]
    if said:
        raise ValueError(f"its name says {' and '.join(said)}, its flags do not; give it the "
                         f"flags, or another name.")
    return TrainingConfig(**values)
