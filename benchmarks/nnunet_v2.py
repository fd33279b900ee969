"""The real nnU-Net v2 on the cases of a run of ours, for as much processor time as one chooses.

    make nnunet
    python -m benchmarks.nnunet_v2 Task04_Hippocampus models/hippocampus_nnunet_basic.exp OUTPUT

nnU-Net plans, preprocesses, trains and predicts as always, in one thread on the CPU; its own are
the numbers of epochs and of iterations in each, which the learning rate's schedule follows. It
learns from the run's training cases and is scored on its test cases with this project's metrics,
on the grid of the label files. The same command goes on after a stop.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np

from metrics import case_metrics, summarise
from reports.tables import per_case_csv

DATASET, TRAINER = "Dataset004_Run", "nnUNetTrainerBudget"
RESULT = f"{TRAINER}__nnUNetPlans__3d_fullres/fold_0"
BUDGET = """
import os
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

class nnUNetTrainerBudget(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = int(os.environ["EPOCHS"])
        self.num_iterations_per_epoch = int(os.environ["ITERATIONS"])
        self.num_val_iterations_per_epoch = 1
        self.save_every = 1
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of a Decathlon task")
    parser.add_argument("run", type=Path, help="run folder, for its splits.json")
    parser.add_argument("output", type=Path)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--commands", type=Path, default=Path(".venv-nnunet/bin"),
                        help="folder of nnU-Net's commands")
    args = parser.parse_args()
    if not (args.commands / "nnUNetv2_train").exists():
        parser.error(f"{args.commands}: has no nnUNetv2_train; `make nnunet` installs it, or give "
                     f"--commands")
    folds = json.loads((args.run / "splits.json").read_text())
    if len(folds) != 1:
        parser.error(f"{args.run / 'splits.json'}: has {len(folds)} folds; give a run with one")
    fold, = folds
    names = json.loads((args.data / "dataset.json").read_text())["labels"]

    raw, planned = args.output / "raw" / DATASET, args.output / "pre" / DATASET
    if not (planned / "splits_final.json").exists():
        write_raw(args.data, raw, fold, names)
        run(args, "nnUNetv2_plan_and_preprocess", "-d", 4, "-c", "3d_fullres", "-np", 1)
        splits = [{"train": fold["train"], "val": fold["val"]}]
        (planned / "splits_final.json").write_text(json.dumps(splits))
    trained = args.output / "results" / DATASET / RESULT
    if not (trained / "checkpoint_final.pth").exists():
        go_on = ["--c"] if (trained / "checkpoint_latest.pth").exists() else []
        seconds = run(args, "nnUNetv2_train", 4, "3d_fullres", 0, "-tr", TRAINER, "-device", "cpu",
                      *go_on)
        print(f"training in this call: {seconds / 60:.1f} processor minutes")
    run(args, "nnUNetv2_predict", "-d", 4, "-c", "3d_fullres", "-f", 0, "-tr", TRAINER, "-i",
        raw / "imagesTs", "-o", args.output / "predicted", "-device", "cpu", "--disable_tta",
        "-npp", 1, "-nps", 1, "--continue_prediction")
    score(args.data, args.output, fold["test"], list(names.values()))


def write_raw(data: Path, raw: Path, fold: dict[str, list[str]], names: dict[str, str]) -> None:
    """The cases of a split in nnU-Net's layout; test cases have no label there."""
    shutil.rmtree(raw, ignore_errors=True)
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (raw / folder).mkdir(parents=True)
    known = fold["train"] + fold["val"]
    for case in known:
        shutil.copy(data / "labelsTr" / f"{case}.nii.gz", raw / "labelsTr")
        shutil.copy(data / "imagesTr" / f"{case}.nii.gz", raw / f"imagesTr/{case}_0000.nii.gz")
    for case in fold["test"]:
        shutil.copy(data / "imagesTr" / f"{case}.nii.gz", raw / f"imagesTs/{case}_0000.nii.gz")
    (raw / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "MRI"}, "numTraining": len(known), "file_ending": ".nii.gz",
        "labels": {name: int(value) for value, name in names.items()}}))


def run(args: argparse.Namespace, command: str, *arguments: object) -> float:
    """Run one of nnU-Net's commands; returns its processor seconds."""
    trainers = args.output / "trainers"
    trainers.mkdir(exist_ok=True)
    (trainers / "budget.py").write_text(BUDGET)
    threads = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "nnUNet_n_proc_DA": 1}
    if command == "nnUNetv2_train":
        threads["nnUNet_n_proc_DA"] = 0  # augmentation in the same process
    own = threads | {
        "nnUNet_raw": args.output / "raw", "nnUNet_preprocessed": args.output / "pre",
        "nnUNet_results": args.output / "results", "nnUNet_extTrainer": trainers,
        "nnUNet_def_n_proc": 1, "nnUNet_compile": "f", "EPOCHS": args.epochs,
        "ITERATIONS": args.iterations}
    before = processor_seconds()
    subprocess.run([args.commands / command, *map(str, arguments)], check=True,
                   env=os.environ | {name: str(value) for name, value in own.items()})
    return processor_seconds() - before


def processor_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def score(data: Path, output: Path, cases: list[str], class_names: list[str]) -> None:
    """Write per_case.csv of the predicted label maps and print the means over cases."""
    rows = []
    for case in cases:
        label = nibabel.load(data / "labelsTr" / f"{case}.nii.gz")
        prediction = nibabel.load(output / "predicted" / f"{case}.nii.gz")
        assert np.allclose(label.affine, prediction.affine, atol=1e-4), case
        label_maps = [np.asarray(volume.dataobj).astype(int) for volume in (prediction, label)]
        found = case_metrics(*label_maps, label.header.get_zooms()[:3], class_names)
        rows += [{"case_id": case} | row for row in found]
    per_case_csv(output / "per_case.csv", rows)
    summary = summarise(rows, class_names)
    print(json.dumps({metric: value["mean"] for metric, value in summary["metrics"].items()}))


if __name__ == "__main__":
    main()
