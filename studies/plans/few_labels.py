"""The plan of a study with few labels: cases, preparations and runs.

Arms differ only in their initial weights and the method. They share the labelled cases (a smaller
set is part of a larger one), validation and test cases, seed (so crops, augmentation and the
decoder's initial weights), number of steps, learning rate and schedule, and the choice of
best.model by validation Dice. The learning rate is not tuned for any of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np

from configs import pretraining_config
from configs.study.few_labels import FewLabelsCall, LabelStudy
from data import DATASETS, Split
from data.phantoms.make import case_id_of
from data.preparation.steps import FAILURES, LIST
from managers.runs.checkpoints import load_checkpoint
from managers.runs.state import flags_to_go_on
from system.files import read_json

from .planned import Plan, PlannedRun, Preparation, settings_of

STARTS = ("scratch", "pretrained")


@dataclass(frozen=True)
class Source:
    """Where the cases of a study are, and how they are prepared.

    Attributes:
        data_dir: DATA of the training scripts.
        dataset: their --dataset.
        split: the whole training group, and the cases that validate and test in every run.
        preparations: make the cases and the tiles for pre-training.
        links: symbolic links and their images; created before anything runs.
    """

    data_dir: Path
    dataset: str
    split: Split
    preparations: list[Preparation]
    links: dict[Path, Path] = field(default_factory=dict)


def draw_labelled(training: Sequence[str], number: int, seed: int) -> tuple[str, ...]:
    """`number` random training cases; a larger number includes those of a smaller one."""
    order = np.random.default_rng(seed).permutation(len(training))
    ranked = sorted(training)
    return tuple(ranked[index] for index in order[:number])


def spread(cases: Sequence[str], number: int) -> tuple[str, ...]:
    """`number` of the cases, evenly spaced."""
    picked = np.linspace(0, len(cases) - 1, number).round().astype(int)
    return tuple(cases[index] for index in picked)


def hippocampus(study: LabelStudy) -> Source:
    """MSD Hippocampus: only images of the training group are used for pre-training.

    Raises:
        ValueError: the folder lacks them, or has fewer than are asked for.
    """
    dataset = DATASETS["hippocampus"]
    cases, problems = dataset.find_cases(study.hippocampus)
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    images = {case.case_id: case.image for case in cases}
    whole = dataset.split(list(images), None, None, None)[0]
    wanted = {"training": max(*study.labels, study.images or 1), "validation": study.val_cases,
              "testing": study.test_cases}
    lacking = [f"{number} {group} cases are asked for, there are {len(getattr(whole, group))}"
               for group, number in wanted.items() if number > len(getattr(whole, group))]
    if lacking:
        raise ValueError(f"{study.hippocampus}: {'; '.join(lacking)}.")
    training = tuple(sorted(whole.training))
    unlabelled = spread(training, study.images or len(training))
    split = Split(training, spread(whole.validation, study.val_cases),
                  spread(whole.testing, study.test_cases))
    folder = study.folder / "images"
    links = {folder / images[case_id].name: images[case_id] for case_id in unlabelled}
    return Source(Path(study.hippocampus), dataset.name, split, [_tiles(study, folder, ())], links)


def phantoms(study: LabelStudy) -> Source:
    """DeepLesion phantoms for pre-training, heart phantoms with labels."""
    hearts, series = study.folder / "hearts", study.folder / "series"
    sizes = (max(study.labels), study.val_cases, study.test_cases)
    ids = tuple(case_id_of("mmwhs-ct", index) for index in range(sum(sizes)))
    split = Split(ids[:sizes[0]], ids[sizes[0]:sum(sizes[:2])], ids[sum(sizes[:2]):])
    preparations = [
        _phantoms("hearts", "mmwhs-ct", hearts, len(ids), study.heart_flags),
        _phantoms("series", "deeplesion", series, study.images, study.series_flags),
        _tiles(study, series, ("series",))]
    return Source(hearts, "mmwhs-ct", split, preparations)


SOURCES = {"hippocampus": hippocampus, "phantoms": phantoms}


def _phantoms(name: str, dataset: str, folder: Path, number: int,
              flags: tuple[str, ...]) -> Preparation:
    arguments = ("--dataset", dataset, "--output", str(folder), "--cases", str(number), *flags)
    return Preparation(name, "scripts/make_phantoms.py", arguments,
                       lambda: phantoms_finished(folder),
                       lambda: ["--overwrite"] if (folder / "phantoms.json").is_file() else [])


def _tiles(study: LabelStudy, images: Path, needs: tuple[str, ...]) -> Preparation:
    output = _tiles_of(study)
    return Preparation("tiles", "scripts/preprocess_deeplesion.py",
                       ("all", str(images), str(output), *study.prepare_flags),
                       lambda: (output / LIST).is_file() and not (output / FAILURES).exists(),
                       needs=needs)


def _tiles_of(study: LabelStudy) -> Path:
    return study.folder / "tiles"


def phantoms_finished(folder: Path) -> bool:
    """Whether every file of a phantom set exists; its record is written before the files."""
    record = folder / "phantoms.json"
    return record.is_file() and all((folder / name).is_file()
                                    for name in read_json(record)["files"])


def _pretraining(study: LabelStudy) -> Preparation:
    """Pre-training on the tiles with the small recipe, changed by the study's flags.

    Raises:
        ValueError: settings that pre-training would refuse.
    """
    folder, tiles = study.pretraining, _tiles_of(study)
    arguments = (str(tiles), str(tiles / LIST), "--output_dir", str(folder),
                 "--tiny", "--arch", study.arch, "--epochs", str(study.pretrain_epochs),
                 "--device", study.device, *study.pretrain_flags)
    pretraining_config(list(arguments))
    return Preparation("pretraining", "pretrain_DeSD.py", arguments,
                       lambda: _has_epochs(folder, study.pretrain_epochs),
                       lambda: flags_to_go_on(folder), needs=("tiles",))


def _has_epochs(folder: Path, epochs: int) -> bool:
    """Whether a run of pre-training has done its epochs, by its last checkpoint."""
    return ((folder / "last.model").is_file()
            and load_checkpoint(folder / "last.model")["history"][-1]["epoch"] >= epochs)


def split_file(study: LabelStudy, labels: int, seed: int) -> Path:
    """The file of the cases that all arms of these labels and this seed share."""
    return study.folder / "splits" / f"n{labels:03d}_s{seed}.json"


def splits_of(study: LabelStudy, source: Source) -> dict[Path, Split]:
    """By file, the labelled cases of some runs, and those that validate and test everywhere."""
    return {split_file(study, labels, seed): Split(
                draw_labelled(source.split.training, labels, seed),
                source.split.validation, source.split.testing)
            for seed, labels in product(study.seeds, study.labels)}


def _runs(study: LabelStudy, source: Source) -> tuple[PlannedRun, ...]:
    """Every fine-tuning run, fewest labels first, scratch next to pre-trained.

    All run the same number of steps and validations. The arm of a run is (labels, start, method).
    """
    data = [one.name for one in source.preparations if one.name == "hearts"]
    runs = []
    for seed, labels, method, start in product(study.seeds, study.labels, study.methods, STARTS):
        name = f"n{labels:03d}_{start}_{method}_s{seed}"
        epochs = study.steps // labels
        arguments = [str(source.data_dir), "_", "--dataset", source.dataset,
                     "--network", f"{study.arch.replace('res3d', 'resnet')}-unet",
                     "--splits", str(split_file(study, labels, seed)),
                     "--experiment", str(study.folder / "runs" / f"{name}.exp"),
                     "--epochs", str(epochs), "--val_every", str(epochs // study.validations),
                     "--seed", str(seed), "--device", study.device, *study.train_flags]
        needs = list(data)
        if start == "pretrained":
            arguments += ["--init_from", str(study.pretraining), "--encoder_only"]
            needs.append("pretraining")
        runs.append(PlannedRun(name, settings_of(method, arguments), tuple(arguments), "testing",
                               native_space=True, arm=(labels, start, method),
                               needs=tuple(needs)))
    return tuple(runs)


@dataclass(frozen=True, kw_only=True)
class FewLabelsPlan(Plan):
    """The preparations and runs of a study with few labels."""

    study: LabelStudy
    source: Source

    score_ending = "_test"
    skipped_as = "finished before"


def few_labels_plan(call: FewLabelsCall) -> FewLabelsPlan:
    """The plan of a study.

    Raises:
        ValueError: the data lack cases, or a script would refuse its settings.
    """
    study = call.study
    source = SOURCES[study.data](study)
    return FewLabelsPlan(
        folder=study.folder, runs=_runs(study, source), study=study, source=source,
        preparations=(*source.preparations, _pretraining(study)),
        budget_minutes=call.budget_minutes, discard_models=study.discard_models,
        show_verbose=call.show_verbose)
