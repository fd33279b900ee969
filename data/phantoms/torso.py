"""The torso phantom: the chest of the heart phantom in its body wall, on a couch, with lesions."""

from dataclasses import dataclass

import numpy as np

from .fields import bending, ellipsoid, waves
from .heart import heart
from .scene import Scene

LESION_SITES = {  # DeepLesion's coarse type: centre and its spread in mm, HU
    "mediastinum": (3, (0, -32, 30), (12, 6, 30), 55.0),
    "liver": (4, (34, 2, -82), (22, 20, 10), 55.0),
    "lung": (5, (56, -12, 10), (10, 22, 34), 30.0),
}
_WALL_HU = {"fat": -100.0, "muscle": 55.0, "couch": -160.0, "bowel": 35.0, "gas": -950.0}
_CHEST_MM = (128.0, 112.0)  # half the width and depth that the heart phantom can fill
_WALL_MM = (136.0, 110.0)   # half the width and depth of the body


@dataclass(frozen=True)
class Lesion:
    """One lesion of a torso.

    Attributes:
        site: one of LESION_SITES.
        center_mm: in the anatomy.
        radii_mm: in the anatomy.
    """

    site: str
    center_mm: np.ndarray
    radii_mm: np.ndarray


def torso(rng: np.random.Generator) -> tuple[Scene, list[Lesion]]:
    """Draw a torso around the chest of `phantom_heart` and one to three lesions."""
    chest = heart(rng, "ct")
    lesions = [_lesion(rng) for _ in range(rng.integers(1, 4))]
    hu = [[value + rng.normal(0, 8)] for value in _WALL_HU.values()]
    hu += [[LESION_SITES[lesion.site][3] + rng.normal(0, 15)] for lesion in lesions]
    rows = {name: len(chest.signal) + row for row, name in enumerate(_WALL_HU)}
    first_lesion = len(chest.signal) + len(_WALL_HU)
    airy = chest.signal[:, 0] < -600
    bend, loops, lobes = bending(rng, 130, 4.0), waves(rng, 38, 10), waves(rng, 24, 8)
    wall = np.array(_WALL_MM) * np.exp(rng.normal(0, 0.05, 2))
    fat_mm, couch_y = rng.uniform(6, 22), -wall[1] - rng.uniform(4, 8)
    dome_mm, scale = rng.normal(-50, 5), np.array([chest_mm**-2 for chest_mm in _CHEST_MM])

    def paint(p: np.ndarray) -> np.ndarray:
        tissue = np.zeros(p.shape[1], np.uint8)
        tissue[(np.abs(p[1] - couch_y + 6) < 3) & (np.abs(p[0]) < 210)] = rows["couch"]
        level = (np.hypot(p[0] / wall[0], p[1] / wall[1]) - 1) * wall.min()
        near = np.flatnonzero(level < 12)  # all that `bend` can move inside
        q = bend(p[:, near])
        level = (np.hypot(q[0] / wall[0], q[1] / wall[1]) - 1) * wall.min()
        tissue[near[level < 0]] = rows["fat"]
        tissue[near[level < -fat_mm]] = rows["muscle"]
        inside = np.flatnonzero((scale @ p[:2] ** 2 < 1) & (tissue > 0))
        q = p[:, inside]
        painted = chest.paint(q)
        below = airy[painted] & (painted > 0) & (q[2] < dome_mm - 30 * (scale @ q[:2] ** 2))
        gut = loops(q[:, below])
        painted[below] = np.where(gut > 0.2, rows["bowel"], rows["fat"])
        painted[np.flatnonzero(below)[(gut > 1.2) & (lobes(q[:, below]) > 0.3)]] = rows["gas"]
        tissue[inside] = np.where(painted > 0, painted, tissue[inside])
        for row, lesion in enumerate(lesions, start=first_lesion):
            lump = 0.12 * lesion.radii_mm.min() * lobes(q)
            tissue[inside[ellipsoid(q, lesion.center_mm, lesion.radii_mm) + lump < 0]] = row
        return tissue

    signal = np.concatenate([chest.signal, hu])
    labels = np.zeros(len(signal), int)  # a torso is not for segmentation
    return Scene(paint, chest.shading, chest.pose, labels, signal), lesions


def _lesion(rng: np.random.Generator) -> Lesion:
    site = list(LESION_SITES)[rng.integers(len(LESION_SITES))]
    _, center, spread, _ = LESION_SITES[site]
    center_mm = np.array(center) + np.array(spread) * rng.uniform(-1, 1, 3)
    if site == "lung":
        center_mm[0] *= rng.choice([-1, 1])
    return Lesion(site, center_mm, rng.uniform(5, 14) * np.exp(rng.normal(0, 0.15, 3)))
