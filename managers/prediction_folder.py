"""Where predict.py writes, and what it leaves alone."""

import os
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
from .run_folders import environment


class PredictionFolder:
    """The folder that predictions go to, and its prediction.json, kept up with every case.

    prediction.json holds the experiments with the sha256 of their checkpoints, the settings that
    decide the label maps, the label value of each class, the cases so far and the versions.

    Raises:
        ValueError: it is or lies below a file, or cannot be written to.
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
        there = next(path for path in (self.folder.absolute(), *self.folder.absolute().parents)
                     if path.exists())
        if not there.is_dir():
            raise ValueError(f"--output {self.folder}: {there} is a file; give a folder.")
        if not os.access(there, os.W_OK):
            raise self._not_writable("no permission")

    def _not_writable(self, reason: str) -> ValueError:
        return ValueError(f"--output {self.folder}: cannot be written to ({reason}); give another "
                          f"folder.")

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
            ValueError: the folder holds what other weights, settings or inputs made, or files of
                these names that another program made.
        """
        present = [case for case in cases if self.label_map(case).exists()]
        path = self.folder / "prediction.json"
        if present and not path.is_file():
            raise ValueError(f"--output {self.folder}: holds {self.label_map(present[0]).name}, "
                             f"but no prediction.json, so predict.py did not write it; give "
                             f"another folder.")
        before = read_json(path) if path.is_file() else {}
        old, new = _identity(before), _identity(self.record)
        if old == new:
            self.record["cases"] = dict(before["cases"])
        elif (present or before.get("cases")) and not self.config.overwrite:
            changed = "; ".join(f"{name} {old[name]}, now {new[name]}" for name in new
                                if old[name] != new[name])
            raise ValueError(f"--output {self.folder}: holds predictions made otherwise "
                             f"(prediction.json: {changed}); give another folder, or --overwrite.")
        self._check_inputs(cases)
        return [case for case in cases if self.config.overwrite
                or case.case_id not in self.record["cases"]
                or not all(file.exists() for file in self._files(case))]

    def _check_inputs(self, cases: Sequence[Case]) -> None:
        """Refuse to take the prediction of one file for that of another of the same name."""
        known = self.record["cases"]
        other = [f"  {case.case_id}: is of {known[case.case_id]['input']}, not {_source(case)}."
                 for case in cases
                 if case.case_id in known and known[case.case_id]["input"] != _source(case)]
        if other and not self.config.overwrite:
            raise ValueError("\n".join([
                f"--output {self.folder}: holds predictions of other files with these names:",
                *other, "Give another folder, or --overwrite."]))

    def _files(self, case: Case) -> list[Path]:
        files = [self.label_map(case)]
        files += [self.probabilities(case)] if self.config.save_probabilities else []
        return files + ([self.preview(case)] if self.config.preview else [])

    def open(self) -> None:
        """Make the folder and write prediction.json, before the first case.

        Raises:
            ValueError: that is impossible.
        """
        try:
            write_json(self.folder / "prediction.json", self.record)
        except OSError as error:
            raise self._not_writable(error.strerror) from error

    def add(self, case: Case, seconds: float) -> None:
        """Note a case that is done, at once, so that an interrupted call can go on."""
        self.record["cases"][case.case_id] = {
            "input": _source(case), "output": self.label_map(case).name,
            "seconds": round(seconds, 1)}
        write_json(self.folder / "prediction.json", self.record)


def _source(case: Case) -> str:
    return str(case.image.resolve())


def _identity(record: dict[str, Any]) -> dict[str, Any]:
    """What decides the label maps."""
    return {"checkpoints (sha256)": [each["sha256"][:12] for each in record.get("experiments", ())]
            } | {name: record.get(name) for name in ("tta_axes", "overlap", "label_values")}
