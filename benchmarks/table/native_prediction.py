"""Prediction on a file's own grid against MONAI's sliding window with label inversion.

MONAI's side: sliding_window_inference on the preprocessed image, argmax, and Invertd of the label
map through the transforms of the preprocessing, nearest neighbour, as its bundles do it. Ours:
logits interpolated at the file's voxels, then the argmax. Both start from the preprocessed image,
with one network, weights and windows, in float32, each in a process of its own; ours as predict.py
sets it up.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import monai.transforms as mt
import nibabel
import numpy as np
import torch
from monai.inferers import sliding_window_inference

from benchmarks.measure import paired_processes
from benchmarks.table.rows import Row
from benchmarks.table.whole_volume import CLASSES, OVERLAP, WINDOW_BATCH
from configs.recipes import recipe_of
from data import DATASETS, Case
from data.nifti.native_files import image_grid
from data.volumes.prepared import image_volume
from data.volumes.transforms import RAS_LABELS, ReadVolumesd, intensity_steps
from managers import Predictor
from managers.inference.predictor import made_ready
from networks import build_network

CT = DATASETS["mmwhs-ct"]
SPACING_MM = (0.7, 0.7, 1.0)  # resampled to 1.5 x 1.5 x 2.0 mm
EDGE, SHAPE = 48, (180, 171, 160)  # of a window, and of the file: 12 windows
QUICK = 16, (60, 50, 40)


def network_of(edge: int) -> torch.nn.Module:
    """nnU-Net as MM-WHS has it, with the weights that it starts from; a small one for `QUICK`."""
    torch.manual_seed(0)
    options = recipe_of("mmwhs-ct", "nnunet").network_options
    if edge == QUICK[0]:
        options = {"filters": (4, 8, 8)}
    return build_network("nnunet", 1, CLASSES, (edge,) * 3, False, **options).eval()


def write_ct(path: Path, shape: tuple[int, int, int]) -> Case:
    """Noise of tissue, as a file whose axes run to the left, the back and the head."""
    ct = np.random.default_rng(0).normal(40, 100, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(ct, np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2],
                                                  1])), path)
    return Case("ct", path, None)


def monai_step(path: Path, edge: int) -> Callable[[], torch.Tensor]:
    """MONAI's label map (1, X, Y, Z) of the file at `path`."""
    network = network_of(edge)
    before = mt.Compose([
        ReadVolumesd({"image": 1}),
        mt.Spacingd(["image"], pixdim=CT.spacing_mm, mode=["bilinear"]),
        mt.Orientationd(["image"], axcodes="RAS", labels=RAS_LABELS), *intensity_steps(CT)])
    back = mt.Invertd("pred", transform=before, orig_keys="image", nearest_interp=True)
    volume = before({"image": str(path)})

    def run() -> torch.Tensor:
        with torch.no_grad():
            logits = sliding_window_inference(volume["image"][None], (edge,) * 3, WINDOW_BATCH,
                                              network, overlap=OVERLAP)
        return back(volume | {"pred": logits.argmax(1)})["pred"]
    return run


def our_step(path: Path, edge: int) -> Callable[[], np.ndarray]:
    """Our label map (X, Y, Z) of the file at `path`."""
    cpu = torch.device("cpu")
    predictor = Predictor(made_ready(network_of(edge), cpu), (edge,) * 3, OVERLAP, WINDOW_BATCH,
                          cpu)
    case = Case("ct", path, None)
    volume, grid = image_volume(case, CT), image_grid(case, 1)
    return lambda: predictor.native(volume, grid)


def rows(device: str, quick: bool) -> list[Row]:
    """Processor seconds and growth of memory, ours over MONAI's; both run on the CPU."""
    edge, shape = QUICK if quick else (EDGE, SHAPE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ct.nii.gz"
        write_ct(path, shape)
        found = paired_processes(our_step, monai_step, (path, edge), 1 if quick else 3)
    what = (f"prediction on the file's grid: ours / MONAI's sliding window and label inversion, "
            f"nnunet {edge}^3 on {'x'.join(map(str, shape))}, cpu float32")
    note = (f"{found['smallest']:.2f} to {found['largest']:.2f}; {found['first_s']:.3g} s / "
            f"{found['second_s']:.3g} s")
    memory = found["first_mib"] / found["second_mib"]
    return [Row(what, found["ratio"], 0.9, note=note, details=found),
            Row("the same, growth of memory", memory, 1.0,
                note=f"{found['first_mib']:.0f} / {found['second_mib']:.0f} MiB")]
