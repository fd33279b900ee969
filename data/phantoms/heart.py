"""The heart phantom: a chest with the seven labelled MM-WHS structures."""

import numpy as np

from .fields import axes_along, bending, ellipsoid, tube, waves
from .scene import Scene, rows_and_labels, small_pose

# Tissue: CT in HU, MR relative to blood, enhancement it shares with others, label value.
_TISSUES = {
    "air": (-1000.0, 0.0, "", 0),
    "muscle": (50.0, 0.38, "", 0),
    "fat": (-90.0, 0.64, "", 0),
    "lung": (-830.0, 0.07, "", 0),
    "lung vessel": (180.0, 0.70, "right", 0),
    "bone": (520.0, 0.22, "", 0),
    "marrow": (220.0, 0.55, "", 0),
    "liver": (105.0, 0.50, "", 0),
    "esophagus": (70.0, 0.42, "", 0),
    "artery": (300.0, 0.98, "left", 0),
    "vein": (210.0, 0.88, "right", 0),
    "calcification": (2600.0, 0.05, "", 820),
    "papillary muscle": (120.0, 0.50, "", 500),
    "myocardium": (105.0, 0.45, "", 205),
    "left atrium": (290.0, 0.95, "left", 420),
    "left ventricle": (300.0, 1.00, "left", 500),
    "right atrium": (195.0, 0.85, "right", 550),
    "right ventricle": (215.0, 0.92, "right", 600),
    "ascending aorta": (305.0, 1.00, "left", 820),
    "pulmonary artery": (235.0, 0.88, "right", 850),
}


def heart(rng: np.random.Generator, modality: str) -> Scene:
    """Draw a chest with the seven labelled MM-WHS structures; modality "ct" or "mr"."""
    rows, labels = rows_and_labels(_TISSUES)
    enhancement = {"left": rng.uniform(0.8, 1.25), "right": rng.uniform(0.75, 1.3), "": 1.0}
    signal = []
    for hounsfield, relative, shared, _ in _TISSUES.values():
        ct = hounsfield * enhancement[shared] + (hounsfield > -200) * rng.normal(0, 14)
        signal.append([ct if modality == "ct" else relative * np.exp(rng.normal(0, 0.07))])

    def at(*center_mm: float, sd: float = 2.5) -> np.ndarray:
        return np.array(center_mm) + rng.normal(0, sd, 3)

    def about(*radii_mm: float) -> np.ndarray:
        return np.array(radii_mm) * np.exp(rng.normal(0, 0.07, len(radii_mm)))

    bend, ripple = bending(rng, 90, 2.0), bending(rng, 28, 0.8)
    body, rib_phase, rib_slope = about(94, 82), rng.uniform(0, 26), rng.uniform(0.2, 0.5)
    long_axis = axes_along(np.array([-0.62, 0.62, -0.48]) + rng.normal(0, 0.06, 3))
    lv, lv_radii, wall_mm = at(-20, 2, -16), about(37, 19, 20), rng.uniform(8, 12)
    base = -0.72 * lv_radii[0]
    rv = lv + long_axis @ at(-3, -9, 5, sd=1.5) + at(21, 18, -3)
    rv_radii = about(40, 25, 27)
    la, la_radii = at(2, -33, 13), about(27, 18, 21)
    ra, ra_radii = at(39, -6, -3), about(21, 22, 28)
    root = at(4, -2, 13)
    aorta = np.stack([root, at(12, 4, 34), at(13, 2, 56)])
    arch = np.stack([aorta[2], at(6, -16, 72), at(-14, -40, 70), at(-20, -56, 50)])
    descending = np.stack([arch[-1], at(-20, -56, 0), at(-16, -56, -90)])
    trunk = np.stack([at(-4, 30, 8), at(-14, 20, 30), at(-12, 2, 44)])
    left_branch = np.stack([trunk[2], at(-36, -14, 47)])
    right_branch = np.stack([trunk[2], at(8, -18, 42), at(34, -20, 40)])
    aorta_mm, trunk_mm, branch_mm = about(13.5, 12, 8.5)
    vessel_mm = about(10, 7.5, 5.5)
    veins = [np.stack([la, at(side * 46, -46, height)]) for side in (-1, 1) for height in (2, 24)]
    cava = [np.stack([ra, at(28, -4, 90)]), np.stack([ra, at(30, -14, -90)])]
    lung = [np.stack([at(s * 42, -26, 20), at(s * 74, rng.uniform(-45, 45), rng.uniform(-50, 60))])
            for s in (-1, 1) for _ in range(3)]
    papillary = [lv + np.array([[4, s * 12, s * 6], [20, s * 7, 3]]) @ long_axis.T
                 for s in (-1, 1)]
    liver = at(34, 0, -84, sd=4)
    chalk = root + rng.normal(0, 5, 3) + (0, 0, 8)

    def paint(p: np.ndarray) -> np.ndarray:
        tissue = np.zeros(p.shape[1], np.uint8)

        def fill(where: np.ndarray, name: str) -> None:
            tissue[where] = rows[name]

        across = (np.sqrt((p[0] / body[0]) ** 2 + (p[1] / body[1]) ** 2) - 1) * body.min()
        fill(across < 0, "fat")
        fill(across < -5, "muscle")
        rung = (p[2] + rib_slope * p[1] + rib_phase) % 26
        fill((across < -7) & (across > -14) & (rung < 9), "bone")
        fill((across < -8.5) & (across > -12.5) & (rung > 1.5) & (rung < 7.5), "marrow")
        fill(across < -15, "lung")
        for line in lung:
            fill(tube(p, line, (4.0, 1.5)) < 0, "lung vessel")
        fill(ellipsoid(p, liver, (62, 66, 34)) < 0, "liver")
        spine = np.hypot(p[0] / 1.25, p[1] + 76)
        fill(spine < 22, "muscle")
        fill(spine < 17, "bone")
        fill(spine < 14.5, "marrow")
        q = ripple(bend(p))
        fill(tube(q, [[0, -46, -90], [2, -50, 90]], 7.0) < 0, "esophagus")
        fill(ellipsoid(q, (-2, 2, 2), (64, 54, 66)) < 0, "fat")
        fill(tube(q, descending, vessel_mm[0] + 1) < 0, "artery")
        fill(tube(q, arch, vessel_mm[0] + 1.5) < 0, "artery")
        for line in cava:
            fill(tube(q, line, vessel_mm[0]) < 0, "vein")
        for line in veins:
            fill(tube(q, line, (vessel_mm[1], vessel_mm[2])) < 0, "artery")
        fill(ellipsoid(q, ra, ra_radii) < 0, "right atrium")
        fill(ellipsoid(q, rv, rv_radii, long_axis) < 0, "right ventricle")
        fill(tube(q, left_branch, branch_mm) < 0, "pulmonary artery")
        fill(tube(q, right_branch, branch_mm) < 0, "pulmonary artery")
        fill(tube(q, trunk, trunk_mm) < 0, "pulmonary artery")
        fill(ellipsoid(q, la, la_radii) < 0, "left atrium")
        depth = (long_axis[:, 0] @ q) - long_axis[:, 0] @ lv
        outer = ellipsoid(q, lv, lv_radii + wall_mm, long_axis)
        fill((outer < 0) & (depth > base), "myocardium")
        fill((ellipsoid(q, lv, lv_radii, long_axis) < 0) & (depth > base), "left ventricle")
        inside = tissue == rows["left ventricle"]
        for line in papillary:
            fill(inside & (tube(q, line, 3.2) < 0), "papillary muscle")
        fill(tube(q, aorta, aorta_mm) < 0, "ascending aorta")
        inside = tissue == rows["ascending aorta"]
        fill(inside & (ellipsoid(q, chalk, (5, 4, 3)) < 0), "calcification")
        return tissue

    return Scene(paint, waves(rng, 220), small_pose(rng, 7, 0.04), labels, np.array(signal))
