"""Anatomy and scanners of the phantoms: analytic scenes, sampled on any grid, then imaged.

Legend: p (3, N) points in mm of the anatomy, +x right, +y front, +z head, origin in its middle;
level (N,) about the distance in mm to a surface, negative inside; tissue (N,) uint8 rows of a
table with one line per tissue; C channels. A scene knows no voxels, so the same case at another
size is the same anatomy sampled elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

_SLAB_VOXELS = 1_000_000  # bounds the memory of a 512 x 512 x 240 case


@dataclass(frozen=True)
class Scene:
    """One drawn case: which tissue is where, and what each tissue looks like."""

    paint: Callable[[np.ndarray], np.ndarray]  # p (3, N) -> tissue (N,)
    shading: Callable[[np.ndarray], np.ndarray]  # p (3, N) -> log of the gain (N,)
    pose: np.ndarray  # (3, 3) patient mm -> anatomy mm, about the centre
    labels: np.ndarray  # (tissues,) label value of each tissue
    signal: np.ndarray  # (tissues, C) mean intensity of each tissue


# Tissue: CT in HU, MR relative to blood, enhancement it shares with others, label value.
HEART_TISSUES = {
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
# Tissue: FLAIR, T1w, T1gd, T2w relative to white matter's T1w, label value.
BRAIN_TISSUES = {
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
# Tissue: MR relative to white matter, label value.
HIPPOCAMPUS_TISSUES = {
    "fluid": (0.14, 0),
    "grey matter": (0.52, 0),
    "white matter": (0.92, 0),
    "thalamus": (0.76, 0),
    "anterior": (0.52, 1),
    "posterior": (0.49, 2),
}


def waves(
    rng: np.random.Generator, wavelength_mm: float, count: int = 6
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a smooth random field p (3, N) -> (N,) of unit variance, a sum of plane waves."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length_mm = wavelength_mm * rng.uniform(0.7, 1.4, (count, 1))
    vectors = (2 * np.pi * direction / length_mm).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, (count, 1)).astype(np.float32)
    return lambda p: np.sin(vectors @ p + phases).sum(0) * np.float32((2 / count) ** 0.5)


def ellipsoid(
    p: np.ndarray, center: np.ndarray, radii: np.ndarray, axes: np.ndarray | None = None
) -> np.ndarray:
    """Return the level (N,) of an ellipsoid; the columns of `axes` (3, 3) carry its radii."""
    rows = (np.eye(3) if axes is None else axes).T / np.asarray(radii, float)[:, None]
    q = rows.astype(np.float32) @ p - (rows @ center).astype(np.float32)[:, None]
    return (np.sqrt(np.einsum("in,in->n", q, q)) - 1) * np.float32(np.min(radii))


def tube(p: np.ndarray, line: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    """Return the level (N,) of a round-ended tube along the points `line` (K, 3)."""
    line = np.asarray(line, np.float32)
    radius = np.broadcast_to(np.asarray(radius, np.float32), len(line))
    level = None
    for start, end, first, last in zip(line, line[1:], radius, radius[1:], strict=False):
        along = end - start
        t = np.clip(along @ p - along @ start, 0, along @ along) / (along @ along)
        q = p - start[:, None] - along[:, None] * t
        piece = np.sqrt(np.einsum("in,in->n", q, q)) - (first + (last - first) * t)
        level = piece if level is None else np.minimum(level, piece)
    return level


def axes_along(direction: np.ndarray) -> np.ndarray:
    """Return a rotation (3, 3) whose first column is the unit vector of `direction` (3,)."""
    first = np.asarray(direction, float) / np.linalg.norm(direction)
    second = np.cross((0.0, 0.0, 1.0), first)
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)], axis=1)


def _pose(rng: np.random.Generator, degrees: float, size_sd: float) -> np.ndarray:
    """Return the (3, 3) change from patient to anatomy mm: a small rotation and a scale."""
    rotation = Rotation.from_euler("xyz", rng.normal(0, degrees, 3), degrees=True).as_matrix()
    return rotation / np.exp(rng.normal(0, size_sd))


def _bend(rng: np.random.Generator, wavelength_mm: float, amplitude_mm: float) -> Callable:
    """Return a smooth deformation p (3, N) -> p (3, N)."""
    fields = [waves(rng, wavelength_mm) for _ in range(3)]
    return lambda p: p + np.float32(amplitude_mm) * np.stack([field(p) for field in fields])


def _table(tissues: dict[str, tuple]) -> tuple[dict[str, int], np.ndarray]:
    """Return the row of each tissue and the label values (tissues,)."""
    rows = {name: row for row, name in enumerate(tissues)}
    return rows, np.array([line[-1] for line in tissues.values()])


def heart(rng: np.random.Generator, modality: str) -> Scene:
    """Draw a chest with the seven labelled MM-WHS structures; modality "ct" or "mr"."""
    rows, labels = _table(HEART_TISSUES)
    enhancement = {"left": rng.uniform(0.8, 1.25), "right": rng.uniform(0.75, 1.3), "": 1.0}
    signal = []
    for hounsfield, relative, shared, _ in HEART_TISSUES.values():
        ct = hounsfield * enhancement[shared] + (hounsfield > -200) * rng.normal(0, 14)
        signal.append(ct if modality == "ct" else relative * np.exp(rng.normal(0, 0.07)))

    def at(*center_mm: float, sd: float = 2.5) -> np.ndarray:
        return np.array(center_mm) + rng.normal(0, sd, 3)

    def about(*radii_mm: float) -> np.ndarray:
        return np.array(radii_mm) * np.exp(rng.normal(0, 0.07, len(radii_mm)))

    bend, ripple = _bend(rng, 90, 2.0), _bend(rng, 28, 0.8)
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

    return Scene(paint, waves(rng, 220), _pose(rng, 7, 0.04), labels, np.array(signal)[:, None])


def brain(rng: np.random.Generator) -> Scene:
    """Draw a skull-stripped brain with edema, non-enhancing and enhancing tumour."""
    rows, labels = _table(BRAIN_TISSUES)
    means = np.array([line[:4] for line in BRAIN_TISSUES.values()])
    signal = means * np.exp(rng.normal(0, 0.06, means.shape))
    radii = np.array([68.0, 84.0, 62.0]) * np.exp(rng.normal(0, 0.03, 3))
    bend, folds, fine = _bend(rng, 80, 3.0), waves(rng, 22, 12), waves(rng, 13, 12)
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

    return Scene(paint, waves(rng, 200), _pose(rng, 5, 0.03), labels, signal)


def hippocampus(rng: np.random.Generator) -> Scene:
    """Draw one temporal lobe: a curved hippocampus, the head in front, between look-alikes."""
    rows, labels = _table(HIPPOCAMPUS_TISSUES)
    means = np.array([line[:1] for line in HIPPOCAMPUS_TISSUES.values()])
    signal = means * np.exp(rng.normal(0, 0.06, means.shape))
    bend, ribbon, crumbs = _bend(rng, 30, 0.9), waves(rng, 17, 10), waves(rng, 7, 10)
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

    return Scene(paint, waves(rng, 60), _pose(rng, 6, 0.05), labels, signal)


def render(
    scene: Scene, size: tuple[int, int, int], to_anatomy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sample a scene: tissue (X, Y, Z) uint8 and shading (X, Y, Z) float32.

    `to_anatomy` (3, 4) takes voxel indices to mm of the anatomy.
    """
    tissue, shading = np.empty(size, np.uint8), np.empty(size, np.float32)
    matrix = to_anatomy.astype(np.float32)
    thickness = max(1, _SLAB_VOXELS // (size[0] * size[1]))
    for z in range(0, size[2], thickness):
        shape = (size[0], size[1], min(thickness, size[2] - z))
        index = np.indices(shape, np.float32).reshape(3, -1)
        index[2] += z
        p = matrix[:, :3] @ index + matrix[:, 3:]
        tissue[..., z : z + thickness] = scene.paint(p).reshape(shape)
        shading[..., z : z + thickness] = scene.shading(p).reshape(shape)
    return tissue, shading


def blurred(signal: np.ndarray, sigma_voxels: float) -> np.ndarray:
    """Blur a float32 (X, Y, Z) signal: voxels on a border see both sides of it."""
    return ndimage.gaussian_filter(signal, sigma_voxels, output=np.float32)


def rician(rng: np.random.Generator, signal: np.ndarray, noise_sd: float) -> np.ndarray:
    """Return the magnitude of the signal with complex Gaussian noise, as an MR scanner does."""
    real, imaginary = rng.standard_normal((2, *signal.shape), np.float32) * np.float32(noise_sd)
    return np.hypot(signal + real, imaginary)


def scan_ct(
    rng: np.random.Generator, tissue: np.ndarray, shading: np.ndarray, signal: np.ndarray
) -> np.ndarray:
    """Return int16 HU (X, Y, Z) with a round reconstruction field, -1024 outside it."""
    image = blurred(signal[tissue, 0], 0.6)
    image += blurred(rng.standard_normal(tissue.shape, np.float32), 0.6) * 40  # correlated grain
    image += rng.standard_normal(tissue.shape, np.float32) * 16 + 8 * shading
    np.clip(image, -1024, 3071, out=image)
    x, y = (np.linspace(-1, 1, length)[:, None] for length in tissue.shape[:2])
    image[np.hypot(x, y.T) > 1.12] = -1024
    return image.round().astype(np.int16)


def scan_mr(
    rng: np.random.Generator, tissue: np.ndarray, shading: np.ndarray, signal: np.ndarray
) -> np.ndarray:
    """Return int16 magnitudes (X, Y, Z) of an unknown gain, shaded by the receive coil."""
    gain, noise_sd = 10 ** rng.uniform(2.2, 3.2), rng.uniform(0.04, 0.08)
    image = rician(rng, blurred(signal[tissue, 0], 0.6) * np.exp(0.18 * shading), noise_sd)
    return np.minimum(gain * image, 32767).round().astype(np.int16)


def scan_brain(
    rng: np.random.Generator, tissue: np.ndarray, shading: np.ndarray, signal: np.ndarray
) -> np.ndarray:
    """Return float32 (X, Y, Z, C), each channel of its own gain, exactly 0 outside the brain."""
    image = np.empty((*tissue.shape, signal.shape[1]), np.float32)
    for channel, gain in enumerate(10 ** rng.uniform(2.2, 3.0, signal.shape[1])):
        smooth = blurred(signal[tissue, channel], 0.6) * np.exp(0.10 * shading)
        image[..., channel] = rician(rng, smooth, 0.06) * gain * (tissue > 0)
    return image.round()


def scan_hippocampus(
    rng: np.random.Generator, tissue: np.ndarray, shading: np.ndarray, signal: np.ndarray
) -> np.ndarray:
    """Return float32 (X, Y, Z) of any gain or, for a fifth of the cases, uint8."""
    is_uint8, gain = rng.random() < 0.21, np.float32(10 ** rng.uniform(2.8, 5.8))
    image = rician(rng, blurred(signal[tissue, 0], 0.6) * np.exp(0.12 * shading), 0.06)
    return np.minimum(100 * image, 255).round().astype(np.uint8) if is_uint8 else gain * image


SCENES = {  # how each set draws a case, and its scanner
    "mmwhs-ct": (lambda rng: heart(rng, "ct"), scan_ct),
    "mmwhs-mr": (lambda rng: heart(rng, "mr"), scan_mr),
    "msd-brats": (brain, scan_brain),
    "hippocampus": (hippocampus, scan_hippocampus),
}
