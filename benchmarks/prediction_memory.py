"""Peak memory of predict.py on a 512 x 512 x 400 CT with 8 classes, on the CPU.

python benchmarks/prediction_memory.py

Makes the CT and a small run in a temporary folder and predicts it in a process of its own, on the
resampled grid of MM-WHS and on the file's own, where the network's grid is the whole CT.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SHAPE, SPACING_MM = (512, 512, 400), (0.7, 0.7, 1.0)
GRIDS = {
    "resampled to 1.5 x 1.5 x 2.0 mm": (),
    # The costliest intensity scheme too: statistics over all voxels, of which none is 0.
    "not resampled, z-score": ("--spacing", *SPACING_MM, "--intensity", "zscore"),
}


def run(folder: Path, script: str, *arguments: object) -> tuple[float, float]:
    """Run a script of the project; its peak resident memory in GiB and its seconds."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, ROOT / script, *map(str, arguments)], cwd=folder,
                               stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{script} failed")
    return usage.ru_maxrss / 2**20, time.perf_counter() - start


def make_ct(path: Path) -> None:
    """A body of tissue with noise and some bone in air, int16 HU."""
    rng = np.random.default_rng(0)
    x, y = np.ogrid[-1:1:SHAPE[0] * 1j, -1:1:SHAPE[1] * 1j]
    body = (x / 0.8)**2 + (y / 0.6)**2 < 1
    ct = np.full(SHAPE, -1000, np.int16)
    for z in range(SHAPE[2]):
        ct[:, :, z][body] = rng.normal(40, 30, int(body.sum())).astype(np.int16)
    ct[250:260, 200:210] = 700
    nibabel.save(nibabel.Nifti1Image(ct, np.diag([*SPACING_MM, 1.0])), path)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_ct(folder / "ct.nii.gz")
        run(folder, "scripts/make_phantoms.py", "--dataset", "mmwhs-ct", "--output", "data",
            "--cases", 2, "--size", 32, 32, 28)
        for grid, flags in GRIDS.items():
            name = f"CT_MMWHS_nnUnet_{'Own' if flags else 'Recipe'}"
            run(folder, "train_basic.py", "data", "_", "--experiment", f"{name}.exp", "--epochs", 1,
                "--training_split", 1, "--filters", 4, 8, 8, "--device", "cpu", *flags)
            for extra in ((), ("--save_probabilities",)):
                gib, seconds = run(folder, "predict.py", "--experiment", f"{name}.exp", "--input",
                                   "ct.nii.gz", "--output", f"out{len(extra)}_{name}",
                                   "--device", "cpu", *extra)
                print(f"{grid}{', probabilities written' if extra else ''}: "
                      f"{gib:.2f} GiB, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
