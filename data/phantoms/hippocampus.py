"""The hippocampus phantom: head and body of one hippocampus in its temporal lobe."""

import numpy as np

from .fields import bending, ellipsoid, tube, waves
from .scene import Scene, rows_and_labels, small_pose

# Tissue: MR relative to white matter, label value.
_TISSUES = {
    "fluid": (0.14, 0),
    "grey matter": (0.52, 0),
    "white matter": (0.92, 0),
    "thalamus": (0.76, 0),
    "anterior": (0.52, 1),
    "posterior": (0.49, 2),
}


def hippocampus(rng: np.random.Generator) -> Scene:
    """Draw one temporal lobe: a curved hippocampus, the head in front, between look-alikes."""
    rows, labels = rows_and_labels(_TISSUES)
    means = np.array([line[:1] for line in _TISSUES.values()])
    signal = means * np.exp(rng.normal(0, 0.06, means.shape))
    bend, ribbon, crumbs = bending(rng, 30, 0.9), waves(rng, 17, 10), waves(rng, 7, 10)
    # Cross-sections are wider than tall: distances are measured with x divided by `flat`.
    flat = rng.uniform(1.5, 1.8)
    spine = np.array([[-3, -18, 10], [0, -12, 4], [2, -4, -1], [2, 5, -6], [1, 13, -9]], float)
    spine += rng.normal(0, 0.7, spine.shape)
    radius = np.array([2.6, 3.0, 3.2, 4.8, 4.8]) * np.exp(rng.normal(0, 0.08, 5))
    border_y, border_tilt = rng.normal(4, 1.5), rng.normal(0, 0.08, 2)
    squeeze = np.array([1 / flat, 1, 1])
    thalamus = np.array([-1, 3, 12]) + rng.normal(0, 1.5, 3)
    amygdala = np.array([1, 23, -3]) + rng.normal(0, 1, 3)

    def beside(x: float, y: float, z: float) -> np.ndarray:
        return (spine + (x, y, z) + rng.normal(0, 0.6, 3)) * squeeze

    sheet, gyrus, cleft, horn = (
        beside(2, 0, -7), beside(0, 0, -14), beside(-1, 0, 5.5), beside(11, 2, 1))

    def paint(p: np.ndarray) -> np.ndarray:
        q = bend(p)
        r = q * squeeze.astype(np.float32)[:, None]
        tissue = np.full(p.shape[1], rows["grey matter"], np.uint8)

        def fill(where: np.ndarray, name: str) -> None:
            tissue[where] = rows[name]

        pattern = ribbon(q) + 0.4 * crumbs(q)
        fill(pattern > 0.1, "white matter")
        fill(pattern < -1.5, "fluid")
        fill(ellipsoid(q, thalamus, (17, 16, 11)) < 0, "thalamus")
        fill(tube(r, gyrus, 3.4) < 0, "grey matter")
        fill(tube(r, sheet, 2.8) < 0, "white matter")
        fill(tube(r, horn[2:], 1.6) < 0, "fluid")
        fill(tube(r, cleft, 1.7) < 0, "fluid")
        fill(ellipsoid(q, amygdala, (9, 6, 6)) < 0, "grey matter")
        inside = tube(r, spine * squeeze, radius) + 0.4 * crumbs(q) < 0
        in_front = p[1] - border_y + border_tilt @ p[::2] > 0
        fill(inside & in_front, "anterior")
        fill(inside & ~in_front, "posterior")
        return tissue

    return Scene(paint, waves(rng, 60), small_pose(rng, 6, 0.05), labels, signal)
