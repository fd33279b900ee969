"""Where predict.py writes, and what it leaves alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.files import read_json, write_json
from configs.prediction import PredictionConfig
from data import Case, dataset_of
from data.cases import Problem
from data.native_files import values_of_classes

from .inference import SlidingWindow
from .members import Member
from .runs import environment


class PredictionFolder:
    """The folder that predictions go to, and its prediction.json, kept up with every case.

    prediction.json holds the experiments with the sha256 of their checkpoints, the settings that
    decide the label maps, the label value of each class, the cases so far and the versions.

    Raises:
        ValueError: it is a file.
    """

    def __init__(self, config: PredictionConfig, members: Sequence[Member],
                 window: SlidingWindow):
        self.folder = Path(config.output)
        self.config = config
        dataset = dataset_of(members[0].config)
        self.record = {
            "experiments": [member.about for member in members],
            "tta_axes": list(config.tta_axes), "overlap": window.overlap,
            "label_values": dict(zip(dataset.class_names,
                                     values_of_classes(dataset.label_values).tolist(),
                                     strict=True)),
            "cases": {}, "environment": environment(window.device)}
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"--output {self.folder}: is a file; give a folder.")

    def label_map(self, case: Case) -> Path:
        """Where the case's label map goes."""
        return self.folder / f"{case.case_id}.nii.gz"

    def probabilities(self, case: Case) -> Path:
        """Where the case's probabilities go."""
        return self.folder / f"{case.case_id}_probabilities.nii.gz"

    def preview(self, case: Case) -> Path:
        """Where the case's picture goes."""
        return self.folder / f"{case.case_id}.png"

    def clashes(self, cases: Sequence[Case]) -> list[Problem]:
        """The cases whose image or label lies in this folder, where it might be replaced."""
        return [Problem(case.case_id, path, "lies in the output folder", "give another --output")
                for case in cases for path in (case.image, case.label)
                if path is not None and path.resolve().parent == self.folder.resolve()]

    def pending(self, cases: Sequence[Case]) -> list[Case]:
        """The cases that lack an output, or all with --overwrite.

        Raises:
            ValueError: files of these names are there that other weights or settings made, or
                another program.
        """
        present = [case for case in cases if self.label_map(case).exists()]
        path = self.folder / "prediction.json"
        if present and not path.is_file():
            raise ValueError(f"--output {self.folder}: holds {self.label_map(present[0]).name}, "
                             f"but no prediction.json, so predict.py did not write it; give "
                             f"another folder.")
        before = read_json(path) if path.is_file() else {}
        if _identity(before) == _identity(self.record):
            self.record["cases"] = dict(before["cases"])
        elif present and not self.config.overwrite:
            raise ValueError(f"--output {self.folder}: holds the predictions of other experiments, "
                             f"weights or settings (prediction.json); give another folder, or "
                             f"--overwrite.")
        return [case for case in cases if self.config.overwrite
                or case.case_id not in self.record["cases"]
                or not all(file.exists() for file in self._files(case))]

    def _files(self, case: Case) -> list[Path]:
        files = [self.label_map(case)]
        files += [self.probabilities(case)] if self.config.save_probabilities else []
        return files + ([self.preview(case)] if self.config.preview else [])

    def open(self) -> None:
        """Make the folder and write prediction.json, before the first case."""
        write_json(self.folder / "prediction.json", self.record)

    def add(self, case: Case, seconds: float) -> None:
        """Note a case that is done, at once, so that an interrupted call can go on."""
        self.record["cases"][case.case_id] = {
            "input": str(case.image.resolve()), "output": self.label_map(case).name,
            "seconds": round(seconds, 1)}
        write_json(self.folder / "prediction.json", self.record)


def _identity(record: dict[str, Any]) -> tuple:
    """What decides the label maps."""
    return ([each["sha256"] for each in record.get("experiments", ())],
            *(record.get(name) for name in ("tta_axes", "overlap", "label_values")))
