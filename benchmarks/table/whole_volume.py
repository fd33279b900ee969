"""Validation of a whole volume against MONAI's sliding window, and evaluation with side heads.

Both sides of each row read the same volume with the same windows, in float32. So the convolutions
are the same too, three quarters or more of a window's time on a CPU: there the first row cannot
get far from 1 by anything that is done around them.
"""

from collections.abc import Callable

import torch
from monai.inferers import sliding_window_inference

from benchmarks.measure import paired
from benchmarks.table.rows import Row
from configs.recipes import recipe_of
from managers import Predictor
from managers.inference.predictor import made_ready
from networks import build_network

CLASSES = 8
OVERLAP = 0.25
WINDOW_BATCH = 4
TARGET = {"cpu": 1.5, "cuda": 3.0}
# Edge of the window and shape of the volume. With the MM-WHS recipe's 96^3 a CPU takes minutes for
# each volume, so it has windows of half the edge, and eight of them in place of eighteen.
SIZES = {"cpu": (48, (84, 80, 80)), "cuda": (96, (200, 200, 160))}
QUICK = (16, (30, 20, 20))
TOLERANCE = 1e-4  # of logits near 1


def predictor_of(method: str, edge: int, quick: bool, device: torch.device) -> Predictor:
    """nnU-Net as MM-WHS has it, with the weights that it starts from."""
    torch.manual_seed(0)
    options = {"filters": (4, 8, 8)} if quick else recipe_of("mmwhs-ct", "nnunet").network_options
    network = build_network("nnunet", 1, CLASSES, (edge,) * 3, method == "dsd", **options)
    return Predictor(made_ready(network, device), (edge,) * 3, OVERLAP, WINDOW_BATCH, device)


def monai_logits(predictor: Predictor, image: torch.Tensor) -> torch.Tensor:
    """Logits (1, K, H, W, D) of an image (1, C, H, W, D) by MONAI."""
    with torch.no_grad():
        return sliding_window_inference(image, predictor.roi_size, predictor.window_batch,
                                        predictor.network, overlap=predictor.overlap)


def _row(what: str, first: Callable, second: Callable, target: float, better: str, pairs: int,
         device: str, **details: float) -> Row:
    timing = paired(first, second, pairs, warm_up=0 if device == "cpu" else 1, device=device)
    note = (f"{timing['smallest']:.2f} to {timing['largest']:.2f}; {timing['first_s']:.3g} s / "
            f"{timing['second_s']:.3g} s")
    return Row(what, timing["ratio"], target, better=better, note=note, details=timing | details)


def rows(device: str, quick: bool) -> list[Row]:
    """MONAI's sliding window over ours, then the DSD network over the basic one."""
    edge, shape = QUICK if quick else SIZES[device]
    pairs, where = 1 if quick else 2, torch.device(device)
    basic, dsd = (predictor_of(method, edge, quick, where) for method in ("basic", "dsd"))
    image = torch.randn(1, 1, *shape, device=where)
    theirs, ours = monai_logits(basic, image), basic.logits(image[0])
    difference = float((theirs[0] - ours).abs().max())
    assert difference <= TOLERANCE, f"logits differ by {difference}"
    maps_differ = int((basic.label_map(image[0]) != theirs.argmax(1)[0].cpu()).sum())
    size = f"nnunet {edge}^3 on {'x'.join(map(str, shape))}, {device} float32"
    return [
        _row(f"validation of a whole volume: MONAI's sliding window / ours, {size}",
             lambda: monai_logits(basic, image).argmax(1), lambda: basic.logits(image[0]).argmax(0),
             TARGET[device], "high", pairs, device, largest_logit_difference=difference,
             voxels_of_another_class=maps_differ),
        _row(f"evaluation, DSD network / basic network, {size}",
             lambda: dsd.label_map(image[0]), lambda: basic.label_map(image[0]),
             1.0, "low", pairs, device)]
