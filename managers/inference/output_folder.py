"""Where predict.py writes, and what it leaves alone."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from configs.use.prediction import PredictionConfig
from data import Case, dataset_of
from data.nifti.native_files import values_of_classes
from data.sets.cases import Problem
from system import ROOT
from system.files import read_json, sha256_of, write_json

from ..runs.folder import environment
from ..runs.run_locks import output_held
from .ensemble import Member
from .postprocessing import rule_of
from .predictor import Predictor

# What makes label maps of images and weights.
PACKAGES = ("monai", "nibabel", "numpy", "torch")
CODE = ("data/nifti/geometry.py", "data/nifti/images.py", "data/nifti/native_files.py",
        "data/sets/intensities.py", "data/volumes/transforms.py",
        "managers/compute/quick_norm.py", "managers/inference/postprocessing.py",
        "managers/inference/predict.py", "managers/inference/predictor.py",
        "managers/inference/sliding_window.py",
        "networks/**/*.py")
SCORES = ("per_case.csv", "summary.json")


class PredictionFolder:
    """The folder that predictions go to, and its prediction.json, updated after every case.

    prediction.json holds the experiments with the sha256 of their checkpoints, the settings and a
    digest of the code that decide the label maps, the label value of each class, the finished
    cases, each with the sha256 of its image, and the versions.

    Attributes:
        rule: what is removed from the label maps.

    Raises:
        ValueError: it is or lies below a file, or cannot be written to; see also `rule_of`.
    """

    def __init__(self, config: PredictionConfig, members: Sequence[Member],
                 predictor: Predictor):
        self.folder = Path(config.output)
        self.config = config
        dataset = dataset_of(members[0].config)
        self.rule = rule_of(config, dataset.class_names)
        label_values = values_of_classes(dataset.label_values).tolist()
        self.record = {
            "experiments": [member.about for member in members],
            "tta_axes": list(config.tta_axes), "overlap": predictor.overlap, "amp": config.amp,
            "postprocessing": None,
            "label_values": dict(zip(dataset.class_names, label_values, strict=True)),
            "code": code_digest(), "cases": {}, "environment": environment(predictor.device)}
        if self.rule:
            self.record["postprocessing"] = self.rule.to_dict()
        self.held = ExitStack()                    # of the folder's lock
        self.before: dict[str, Any] | None = None  # prediction.json as `pending` found it
        self.replaces_label_maps = False
        self.digests: dict[str, str] = {}          # of the images, by case id
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
        problems = []
        for case in cases:
            for path in (*case.images, case.label):
                if path is not None and path.resolve().parent == self.folder.resolve():
                    problems.append(Problem(case.case_id, path, "lies in the output folder",
                                            "give another --output"))
        return problems

    def pending(self, cases: Sequence[Case]) -> list[Case]:
        """The cases that lack an output, or all with --overwrite.

        Raises:
            ValueError: the folder holds what other weights, settings or inputs made, or files of
                these names that another program made.
        """
        present = [case for case in cases if self.label_map(case).exists()]
        self.before = self._written()
        if self.before is None:
            self._refuse_foreign([self.label_map(case) for case in present])
        before = self.before or {}
        old, new = _identity(before), _identity(self.record)
        if old == new:
            self.record["cases"] = dict(before["cases"])
        elif (present or before.get("cases")) and not self.config.overwrite:
            changed = "; ".join(f"{name} {old[name]}, now {new[name]}" for name in new
                                if old[name] != new[name])
            raise ValueError(f"--output {self.folder}: holds predictions made otherwise "
                             f"(prediction.json: {changed}); give another folder, or --overwrite.")
        self.digests = {case.case_id: _digest(case.images) for case in cases}
        self._check_inputs(cases)
        pending = [case for case in cases if self.config.overwrite or not self._is_done(case)]
        self.replaces_label_maps = any(self.label_map(case).exists() for case in pending)
        return pending

    def _written(self) -> dict[str, Any] | None:
        path = self.folder / "prediction.json"
        if not path.is_file():
            return None
        return read_json(path)

    def _refuse_foreign(self, label_maps: Sequence[Path]) -> None:
        """Refuse to replace files in a folder that predict.py did not write."""
        paths = list(label_maps)
        if self.config.labels is not None:
            paths += [self.folder / name for name in SCORES]
        for path in paths:
            if path.exists():
                raise ValueError(f"--output {self.folder}: holds {path.name}, but no "
                                 f"prediction.json, so predict.py did not write it; give another "
                                 f"folder.")

    def _check_inputs(self, cases: Sequence[Case]) -> None:
        """Refuse to take the prediction of one image for that of another of the same name."""
        other = []
        for case in cases:
            known = self.record["cases"].get(case.case_id)
            if known is None or known.get("sha256") == self.digests[case.case_id]:
                continue
            if known["input"] == _source(case):
                said = f"is of what was {_source(case)} then; the file has changed since"
            else:
                said = f"is of {known['input']}, not {_source(case)}"
            other.append(f"  {case.case_id}: {said}.")
        if other and not self.config.overwrite:
            raise ValueError("\n".join([
                f"--output {self.folder}: holds predictions of other files with these names:",
                *other, "Give another folder, or --overwrite."]))

    def _is_done(self, case: Case) -> bool:
        """Whether a case is on record and all that is asked for is there."""
        files = [self.label_map(case)]
        if self.config.save_probabilities:
            files.append(self.probabilities(case))
        if self.config.preview:
            files.append(self.preview(case))
        return case.case_id in self.record["cases"] and all(file.exists() for file in files)

    def open(self) -> None:
        """Make the folder, keep other calls out of it and write prediction.json.

        Called before the first case; removes the scores of label maps that will be replaced.

        Raises:
            ValueError: that is impossible, or another call writes there or has since `pending`.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.held.enter_context(output_held(self.folder))
            if self._written() != self.before:
                raise ValueError(f"--output {self.folder}: another predict.py has written there "
                                 f"since this one began; give the command again.")
            if self.replaces_label_maps and self.before is not None:
                (self.folder / "summary.json").unlink(missing_ok=True)
            write_json(self.folder / "prediction.json", self.record)
        except OSError as error:
            raise self._not_writable(error.strerror) from error

    def close(self) -> None:
        """Let other calls into the folder."""
        self.held.close()

    def add(self, case: Case, seconds: float) -> None:
        """Record a finished case at once, so that an interrupted call can continue."""
        self.record["cases"][case.case_id] = {
            "input": _source(case), "sha256": self.digests[case.case_id],
            "output": self.label_map(case).name, "seconds": round(seconds, 1)}
        write_json(self.folder / "prediction.json", self.record)


def _digest(images: Sequence[Path]) -> str:
    """SHA-256 of a file's bytes, or of the digests of several in hexadecimal.

    Skips a pipe, which `verify_inputs` refuses without reading.
    """
    digests = []
    for image in images:
        digest = ""
        if image.is_file():
            digest = sha256_of(image)
        digests.append(digest)
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _source(case: Case) -> str:
    return str(case.image.resolve())


def _identity(record: dict[str, Any]) -> dict[str, Any]:
    """What decides the label maps."""
    checkpoints = [each["sha256"][:12] for each in record.get("experiments", ())]
    identity = {"checkpoints (sha256)": checkpoints}
    for name in ("tta_axes", "overlap", "amp", "postprocessing", "label_values", "code"):
        identity[name] = record.get(name)
    return identity


def code_digest() -> str:
    """Digest of the code and the packages that make a label map from an image and weights."""
    digest = hashlib.sha256(" ".join(map(version, PACKAGES)).encode())
    paths = []
    for pattern in CODE:
        paths += ROOT.glob(pattern)
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
