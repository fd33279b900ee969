"""Metrics of one noisy eight-class case: ours against MONAI's, with equal values."""


import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy import ndimage

from benchmarks.measure import paired
from benchmarks.table.rows import Row
from metrics import case_metrics

NAMES = ("background", *(f"class {index}" for index in range(1, 8)))
SPACING_MM = (1.0, 0.8, 1.5)
TOLERANCE_MM = 1e-3  # MONAI keeps distances in float32


def noisy_case(shape: tuple[int, int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and label (H, W, D), uint8: nested and neighbouring ellipsoids, as in a heart.

    The prediction moves every boundary by smoothed noise and strews specks of each class over
    the whole volume, as a network does early in training.
    """
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    noise *= 0.12 / noise.std()
    ellipsoids = (  # class, centre, radii; later ones lie over earlier ones
        (1, (-0.05, 0.1, -0.1), (0.5, 0.45, 0.5)), (2, (-0.05, 0.1, -0.1), (0.33, 0.28, 0.35)),
        (3, (0.35, -0.25, -0.1), (0.35, 0.3, 0.4)), (4, (0.3, 0.1, 0.45), (0.28, 0.3, 0.25)),
        (5, (-0.3, 0.0, 0.45), (0.28, 0.3, 0.25)), (6, (0.0, -0.1, 0.7), (0.12, 0.12, 0.3)),
        (7, (0.15, -0.4, 0.5), (0.12, 0.15, 0.35)),
    )
    label, prediction = np.zeros((2, *shape), np.uint8)
    for index, centre, radii in ellipsoids:
        offsets = (grid - np.reshape(centre, (3, 1, 1, 1))) / np.reshape(radii, (3, 1, 1, 1))
        radius = np.sqrt((offsets**2).sum(axis=0))
        label[radius < 1] = index
        prediction[radius + noise < 1] = index
    specks = ndimage.binary_dilation(rng.random(shape) < 2e-4)
    prediction[specks] = rng.integers(1, len(NAMES), shape, dtype=np.uint8)[specks]
    return prediction, label


def monai_values(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """MONAI's HD95 and symmetric surface distance in mm, float64 (classes, 2)."""
    onehot = [torch.nn.functional.one_hot(torch.from_numpy(m).long(), len(NAMES))
              .permute(3, 0, 1, 2)[None] for m in (prediction, label)]
    hd95 = compute_hausdorff_distance(*onehot, percentile=95, spacing=SPACING_MM)
    assd = compute_average_surface_distance(*onehot, symmetric=True, spacing=SPACING_MM)
    return torch.stack((hd95[0], assd[0]), dim=-1).double().numpy()


def our_values(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The same from `case_metrics`, which also gives Dice and both one-way means."""
    rows = case_metrics(prediction, label, SPACING_MM, NAMES)
    return np.array([[row["hd95_mm"], row["assd_mm"]] for row in rows])


def rows(device: str, quick: bool) -> list[Row]:
    """Seconds of one case, and how much faster than MONAI; both run on the CPU."""
    shape = (48, 48, 40) if quick else (160, 160, 140)
    case = noisy_case(shape)
    np.testing.assert_allclose(our_values(*case), monai_values(*case), atol=TOLERANCE_MM)
    times = paired(lambda: monai_values(*case), lambda: our_values(*case),
                   pairs=2 if quick else 5)
    note = (f"{' x '.join(map(str, shape))}, 8 classes with background, noisy prediction, CPU; "
            f"processor seconds of all threads")
    return [
        Row("Dice, HD95 and surface distances of a case: seconds a case", times["second_s"],
            0.2, unit="s", note=note, details=times),
        Row("HD95 and surface distances of a case: MONAI / ours", times["ratio"], 5,
            better="high", note="values equal; ours gives Dice and the one-way means too",
            details=times),
    ]
