"""What the label study consists of: cases, folders, and the command line of every step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.study_runs import Task, flags_of_run, phantoms_finished, run_finished, scored
from benchmarks.study_settings import Study
from data import Split
from data.phantoms.make import case_id_of
from data.preparation.steps import FAILURES, LIST
from data.sets.datasets import DATASETS

SCRIPTS = {"basic": "train_basic.py", "dsd": "train_SelfDistil_Original.py"}
STARTS = ("scratch", "pretrained")


@dataclass(frozen=True)
class Arm:
    """One run of fine-tuning: how many labels, which start, which method, which seed."""

    labels: int
    start: str      # of STARTS
    method: str     # of SCRIPTS
    seed: int

    @property
    def name(self) -> str:
        """Of its run folder and log."""
        return f"n{self.labels:03d}_{self.start}_{self.method}_s{self.seed}"


@dataclass(frozen=True)
class Source:
    """Where the cases of a study are, and how they come there.

    Attributes:
        data_dir: DATA of the training scripts.
        dataset: their --dataset.
        split: the whole training group, and the cases that validate and test in every run.
        tiles: DATA of pretrain_DeSD.py.
        tasks: what makes all of these.
        links: name to file: images to be linked into `images` before anything runs.
    """

    data_dir: Path
    dataset: str
    split: Split
    tiles: Path
    tasks: list[Task]
    images: Path
    links: dict[str, Path] = field(default_factory=dict)


def draw_labelled(training: Sequence[str], number: int, seed: int) -> tuple[str, ...]:
    """`number` cases of the training group; those of a smaller number are among them."""
    order = np.random.default_rng(seed).permutation(len(training))
    ranked = sorted(training)
    return tuple(ranked[index] for index in order[:number])


def spread(cases: Sequence[str], number: int) -> tuple[str, ...]:
    """`number` of the cases, evenly over their order."""
    picked = np.linspace(0, len(cases) - 1, number).round().astype(int)
    return tuple(cases[index] for index in picked)


def hippocampus(study: Study) -> Source:
    """The MSD's hippocampi: images of the training group alone are what is pre-trained on.

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
    return Source(Path(study.hippocampus), dataset.name, split, study.folder / "tiles",
                  [_tiles(study, folder, ())], folder,
                  {images[case_id].name: images[case_id] for case_id in unlabelled})


def phantoms(study: Study) -> Source:
    """DeepLesion phantoms to pre-train on, heart phantoms with labels; none of them is both."""
    hearts, series = study.folder / "hearts", study.folder / "series"
    sizes = (max(study.labels), study.val_cases, study.test_cases)
    ids = tuple(case_id_of("mmwhs-ct", index) for index in range(sum(sizes)))
    split = Split(ids[:sizes[0]], ids[sizes[0]:sum(sizes[:2])], ids[sum(sizes[:2]):])
    tasks = [
        _phantoms("hearts", "mmwhs-ct", hearts, len(ids), study.heart_flags),
        _phantoms("series", "deeplesion", series, study.images, study.series_flags),
        _tiles(study, series, ("series",))]
    return Source(hearts, "mmwhs-ct", split, study.folder / "tiles", tasks, series)


SOURCES = {"hippocampus": hippocampus, "phantoms": phantoms}


def _phantoms(name: str, dataset: str, folder: Path, number: int,
              flags: tuple[str, ...]) -> Task:
    return Task(name, "scripts/make_phantoms.py",
                ("--dataset", dataset, "--output", str(folder), "--cases", str(number), *flags),
                lambda: phantoms_finished(folder),
                lambda: ["--overwrite"] if (folder / "phantoms.json").is_file() else [])


def _tiles(study: Study, images: Path, needs: tuple[str, ...]) -> Task:
    output = study.folder / "tiles"
    return Task("tiles", "scripts/preprocess_deeplesion.py",
                ("all", str(images), str(output), *study.prepare_flags),
                lambda: (output / LIST).is_file() and not (output / FAILURES).exists(),
                needs=needs)


def pretraining_task(study: Study, source: Source) -> Task:
    """Pre-training on the tiles, with the small recipe that its flags change."""
    folder = study.pretraining
    return Task("pretraining", "pretrain_DeSD.py",
                (str(source.tiles), str(source.tiles / LIST),
                 "--output_dir", str(folder), "--tiny", "--arch", study.arch,
                 "--epochs", str(study.pretrain_epochs), "--device", study.device,
                 *study.pretrain_flags),
                lambda: run_finished(folder, study.pretrain_epochs),
                lambda: flags_of_run(folder), needs=("tiles",))


def arms(study: Study) -> list[Arm]:
    """Every run of fine-tuning, fewest labels first, a pair of starts side by side."""
    return [Arm(labels, start, method, seed) for seed in study.seeds for labels in study.labels
            for method in study.methods for start in STARTS]


def run_folder(study: Study, arm: Arm) -> Path:
    """The run folder of an arm."""
    return study.folder / "runs" / f"{arm.name}.exp"


def split_file(study: Study, arm: Arm) -> Path:
    """The file of an arm's cases, which all arms of its labels and seed share."""
    return study.folder / "splits" / f"n{arm.labels:03d}_s{arm.seed}.json"


def split_of(source: Source, arm: Arm) -> Split:
    """The cases of an arm: its labelled ones, and those that validate and test everywhere."""
    return Split(draw_labelled(source.split.training, arm.labels, arm.seed),
                 source.split.validation, source.split.testing)


def tasks_of(study: Study, source: Source, arm: Arm) -> list[Task]:
    """Fine-tuning of one arm, and its scores on the test cases.

    The number of steps is the same for every number of labels, and so is how often a run may
    choose its best.model.
    """
    folder, epochs = run_folder(study, arm), study.steps // arm.labels
    num_test = len(source.split.testing)
    pretrained = arm.start == "pretrained"
    start = ("--init_from", str(study.pretraining), "--encoder_only") if pretrained else ()
    data = tuple(task.name for task in source.tasks if task.name == "hearts")
    training = Task(
        arm.name, SCRIPTS[arm.method],
        (str(source.data_dir), "_", "--dataset", source.dataset,
         "--network", f"{study.arch.replace('res3d', 'resnet')}-unet",
         "--splits", str(split_file(study, arm)), "--experiment", str(folder),
         "--epochs", str(epochs), "--val_every", str(epochs // study.validations),
         "--seed", str(arm.seed), "--device", study.device, *study.train_flags, *start),
        lambda: scored(folder, num_test) or run_finished(folder, epochs),
        lambda: flags_of_run(folder), needs=(*data, *(("pretraining",) if pretrained else ())))
    testing = Task(
        f"{arm.name}_test", "eval.py",
        ("--experiment", str(folder), "--mode", "testing", "--saved_model", "best",
         "--native_space", "--no-show_verbose", "--device", study.device),
        lambda: scored(folder, num_test), needs=(arm.name,),
        afterwards=lambda: _discard(folder) if study.discard_models else None)
    return [training, testing]


def _discard(folder: Path) -> None:
    for path in folder.glob("*.model"):
        path.unlink()


def all_tasks(study: Study, source: Source) -> list[Task]:
    """Every command line of the study, in the order in which they run."""
    return [*source.tasks, pretraining_task(study, source),
            *(task for arm in arms(study) for task in tasks_of(study, source, arm))]
