"""The brain phantom: a skull-stripped brain with a glioma, its edema and look-alikes."""

import numpy as np
from scipy.spatial.transform import Rotation

from .fields import bending, ellipsoid, tube, waves
from .scene import Scene, rows_and_labels, small_pose

# Tissue: FLAIR, T1w, T1gd, T2w relative to white matter's T1w, label value.
_TISSUES = {
    "outside": (0.0, 0.0, 0.0, 0.0, 0),
    "fluid": (0.22, 0.32, 0.32, 1.15, 0),
    "grey matter": (0.68, 0.66, 0.68, 0.68, 0),
    "white matter": (0.55, 0.90, 0.92, 0.50, 0),
    "deep grey": (0.60, 0.74, 0.76, 0.56, 0),
    "vessel": (0.35, 0.45, 1.25, 0.35, 0),
    "old lesion": (0.95, 0.65, 0.66, 0.88, 0),
    "edema": (0.98, 0.62, 0.64, 0.92, 1),
    "non-enhancing tumour": (0.78, 0.48, 0.52, 0.98, 2),
    "enhancing tumour": (0.85, 0.60, 1.15, 0.78, 3),
}


def brain(rng: np.random.Generator) -> Scene:
    """Draw a skull-stripped brain with edema, non-enhancing and enhancing tumour."""
    rows, labels = rows_and_labels(_TISSUES)
    means = np.array([line[:4] for line in _TISSUES.values()])
    signal = means * np.exp(rng.normal(0, 0.06, means.shape))
    radii = np.array([68.0, 84.0, 62.0]) * np.exp(rng.normal(0, 0.03, 3))
    bend, folds, fine = bending(rng, 80, 3.0), waves(rng, 22, 12), waves(rng, 13, 12)
    lumps, teeth = waves(rng, 34, 8), waves(rng, 20, 8)
    side = rng.choice([-1.0, 1.0])
    center = radii * np.array([side * rng.uniform(0.3, 0.55), *rng.uniform(-0.45, 0.45, 2)])
    core = rng.uniform(14, 22) * np.exp(rng.normal(0, 0.15, 3))
    swelling = core + rng.uniform(9, 17, 3)
    turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    rim_mm, shift = min(rng.uniform(4, 7), 0.35 * core.min()), rng.normal(0, 4, 3)
    spots = radii * rng.uniform(-0.55, 0.55, (5, 3))
    sinus = np.array([[0, 0.9, 0.6], [0, 0.2, 0.93], [0, -0.6, 0.75], [0, -0.95, 0.1]]) * radii
    artery = np.array([[side * -12, 12, -30], [side * -45, 18, -18], [side * -58, -10, 5]])

    def paint(p: np.ndarray) -> np.ndarray:
        tissue = np.zeros(p.shape[1], np.uint8)
        q = bend(p)
        brain_level = ellipsoid(q, np.zeros(3), radii)
        sulci, ribbon = folds(q), fine(q)
        inside = brain_level < 0

        def fill(where: np.ndarray, name: str) -> None:
            tissue[inside & where] = rows[name]

        fill(inside, "fluid")
        fill((brain_level < -2) & ((sulci < 0.9) | (brain_level < -16)), "grey matter")
        fill(brain_level < -6 - 7 * np.abs(ribbon) - 6 * np.maximum(sulci, 0), "white matter")
        fill((np.abs(q[0]) < 1.5) & (q[2] > 8) & (np.abs(ribbon) < 1.5), "fluid")
        for sign in (-1, 1):
            fill(ellipsoid(q, np.array([sign * 20, 2, 0]), (9, 17, 10)) < 0, "deep grey")
            line = [[sign * 7, 26, 8], [sign * 9, 0, 16], [sign * 16, -28, 6]]
            fill(tube(q, line, (4, 5, 6)) < 0, "fluid")
        fill(tube(q, sinus, 3.0) < 0, "vessel")
        fill(tube(q, artery, (2.5, 2.0, 1.5)) < 0, "vessel")
        for spot in spots:
            fill(ellipsoid(q, spot, (4, 6, 3)) < 0, "old lesion")
        lump = lumps(p)
        firm = (tissue != rows["fluid"]) & (brain_level < -3)
        fill(firm & (ellipsoid(p, center + shift, swelling, turn) + 4 * lump < 0), "edema")
        mass = ellipsoid(p, center, core, turn) + 1.5 * lump
        fill(mass < 0, "non-enhancing tumour")
        tooth = teeth(p)
        fill((mass < 0) & (mass > -rim_mm * np.clip(1 + 0.6 * tooth, 0.15, 1.6)),
             "enhancing tumour")
        return tissue

    return Scene(paint, waves(rng, 200), small_pose(rng, 5, 0.03), labels, signal)
