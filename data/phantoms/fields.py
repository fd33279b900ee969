"""Fields in space that phantoms are built of: waves, levels of solids, deformations."""

from collections.abc import Callable

import numpy as np

# p (3, N) are points in mm; a level (N,) is about the distance in mm to a surface, negative inside.


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


def bending(rng: np.random.Generator, wavelength_mm: float, amplitude_mm: float) -> Callable:
    """Return a smooth deformation p (3, N) -> p (3, N)."""
    fields = [waves(rng, wavelength_mm) for _ in range(3)]
    return lambda p: p + np.float32(amplitude_mm) * np.stack([field(p) for field in fields])
