"""What the preparation for pre-training costs, and why tiles are not compressed.

python benchmarks/tile_reading.py

Draws a phantom CT series of the real slices' size, cuts a tile of it and reads it back from .nii
and from .nii.gz, in turns, on one thread; then times each step of a volume.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is loaded: as in each worker
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, Python puts benchmarks/ on the path

import nibabel  # noqa: E402
import numpy as np  # noqa: E402
from scipy import ndimage  # noqa: E402

from data.phantoms.ct_series import make_deeplesion  # noqa: E402
from data.preparation.deeplesion import find_runs, slice_affine  # noqa: E402
from data.preparation.marked_files import write_volume  # noqa: E402
from data.preparation.respacing import HU_RANGE, respaced, respaced_shape  # noqa: E402
from data.preparation.tiles import tiles  # noqa: E402

REPEATS = 15


def milliseconds(*functions: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """The median time of each function, called in turns."""
    times = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(1000 * (time.perf_counter() - start))
    return [median(taken) for taken in times]


def read(path: Path) -> np.ndarray:
    """The voxels of a tile, as the loader has them."""
    return np.asanyarray(nibabel.load(path).dataobj).astype(np.float32)


def by_ndimage(volume: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """data.preparation.respacing.respaced with scipy's own filters over the volume."""
    volume = np.clip(volume, *HU_RANGE).astype(float)
    shape = respaced_shape(volume.shape, spacing_mm)
    factors = np.array(volume.shape) / shape
    smooth = ndimage.gaussian_filter(volume, np.maximum(0, (factors - 1) / 2), mode="mirror")
    result = ndimage.zoom(smooth, 1 / factors, order=3, mode="mirror", grid_mode=True)
    return np.clip(result, volume.min(), volume.max()).round().astype(np.int16)


def time_tiles(folder: Path, volume: np.ndarray) -> None:
    """Write one tile both ways and read it back."""
    tile, affine = next(tiles(volume, np.eye(4)))
    plain, packed = folder / "tile.nii", folder / "tile.nii.gz"
    writing = milliseconds(lambda: write_volume(plain, tile, affine, ""),
                           lambda: write_volume(packed, tile, affine, ""))
    reading = milliseconds(lambda: read(plain), lambda: read(packed))
    print(f"one tile, {' x '.join(map(str, tile.shape))} int16")
    for path, write_ms, read_ms in zip((plain, packed), writing, reading, strict=True):
        print(f"  {path.suffix}: read {read_ms:.1f} ms, written {write_ms:.0f} ms, "
              f"{path.stat().st_size / 2**20:.1f} MiB")
    print(f"  ratio of reading: {reading[1] / reading[0]:.1f}")


def time_respacing(volume: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
    """Re-space a volume both ways."""
    ours, theirs = milliseconds(lambda: respaced(volume, spacing_mm),
                                lambda: by_ndimage(volume, spacing_mm), repeats=3)
    apart = np.abs(respaced(volume, spacing_mm).astype(int) - by_ndimage(volume, spacing_mm))
    print(f"{volume.shape} of {spacing_mm} mm re-spaced: {ours:.0f} ms, by scipy.ndimage "
          f"{theirs:.0f} ms, ratio {theirs / ours:.1f}, largest difference {apart.max()} HU")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_deeplesion(folder, 1, progress=False)
        run = min(find_runs(folder)[0], key=lambda run: abs(len(run.slices) - 61))
        volume, _ = run.read()
        time_tiles(folder, respaced(volume, run.spacing_mm))
        (reading,) = milliseconds(run.read, repeats=3)
        print(f"{len(run.slices)} PNG slices read: {reading:.0f} ms")
        for count, slice_mm in ((61, 1.0), (25, 2.5), (13, 5.0)):
            time_respacing(volume[:, :, :count], (0.8, 0.8, slice_mm))
        (writing,) = milliseconds(
            lambda: write_volume(folder / "volume.nii.gz", volume, slice_affine(run.spacing_mm),
                                 ""), repeats=3)
        print(f"{volume.shape} written as .nii.gz: {writing:.0f} ms")


if __name__ == "__main__":
    main()
