"""Time to make the two views of a tile for pre-training, on one thread, part by part.

python benchmarks/view_loading.py

Makes a tile of 326 x 326 x 24 voxels in a temporary folder and draws many samples from it: as
data/views/tile_views.py does, and the plain way (the whole file in float64, every step slice by
slice). Both cut the same views and take the same random numbers. Processor time of the one thread,
so that other processes count little; the file is in the page cache. Then three ways to blur, and
the check of a list.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import nibabel
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn.functional import conv2d, interpolate

# Run as a file, Python puts benchmarks/ on the path, not the root that the packages live in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data import read_tile_list  # noqa: E402 - needs the line above
from data.views.tile_list import read_tile  # noqa: E402
from data.views.tile_views import CROP_SIZE, TileViews  # noqa: E402
from data.views.view_geometry import View, draw_views, take_view  # noqa: E402
from data.views.view_intensity import (  # noqa: E402
    BLUR_SIGMA,
    GLOBAL_1,
    GLOBAL_2,
    Drawn,
    blurred,
    changed,
    draw_intensity,
)

SHAPE, SAMPLES, LISTED = (326, 326, 24), 200, 4000
KINDS = (GLOBAL_1, GLOBAL_2)


def milliseconds(function: Callable[[], object], times: int = SAMPLES) -> float:
    """Median time of a call on this thread's processor."""
    taken = []
    for _ in range(times):
        start = time.thread_time()
        function()
        taken.append(time.thread_time() - start)
    return 1000 * median(taken)


def make_tile(folder: Path) -> tuple[Path, Path]:
    """Smooth int16 noise in HU, uncompressed and compressed."""
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.normal(size=SHAPE), 2)
    image = nibabel.Nifti1Image((300 * smooth / smooth.std()).clip(-1024, 1024).astype(np.int16),
                                np.diag([-1, -1, -1, 1]))
    for name in ("tile.nii", "tile.nii.gz"):
        nibabel.save(image, folder / name)
    return folder / "tile.nii", folder / "tile.nii.gz"


def plain_view(tile: np.ndarray, view: View) -> np.ndarray:
    """A view cut from a volume in float64."""
    voxels = tile[view.box.slices()] / 1024
    steps = tuple(slice(None, None, -1 if backwards else 1) for backwards in view.mirrored)
    slices = torch.from_numpy(voxels[steps].copy())
    return interpolate(slices[None], size=view.side, mode="bilinear")[0].numpy()


def plain_chain(slices: np.ndarray, drawn: Drawn, noise: np.ndarray) -> np.ndarray:
    """The intensity chain in float64, slice by slice."""
    result = slices + drawn.noise * noise
    for index, one in enumerate(result):
        if drawn.sigmas is not None and drawn.sigmas[index]:
            one = gaussian_filter(one, drawn.sigmas[index])
        if drawn.factors is not None:
            one = one * drawn.factors[index]
        if drawn.offsets is not None:
            one = one + drawn.offsets[index]
        low, high, mean = one.min(), one.max(), one.mean()
        one = ((one - mean) * drawn.contrasts[index] + mean).clip(low, high)
        if drawn.exponents is not None:
            mean, std, low = one.mean(), one.std(), one.min()
            extent = one.max() - low
            one = ((one - low) / (extent + 1e-7))**drawn.exponents[index] * extent + low
            one = (one - one.mean()) / (one.std() + 1e-8) * std + mean
        result[index] = one
    return result.astype(np.float32)


def parts(path: Path, plain: bool) -> dict[str, float]:
    """Milliseconds of a sample's parts: read, cut and resize, change the intensities."""
    rng, generator = np.random.default_rng(1), torch.Generator().manual_seed(1)

    def read():
        if plain:
            return nibabel.load(path).get_fdata(caching="unchanged").transpose(2, 0, 1)
        return read_tile(path)

    def cut(tile):
        views = draw_views(rng, tile.shape, CROP_SIZE)
        return [plain_view(tile, view) if plain else take_view(tile, view, tile.shape)
                for view in views]

    def change(views):
        for view, kind in zip(views, KINDS, strict=True):
            drawn = draw_intensity(rng, kind, len(view))
            if plain:
                plain_chain(view, drawn, rng.standard_normal(view.shape))
            else:
                changed(view, drawn, torch.randn(view.shape, generator=generator))

    taken = {"read": [], "cut": [], "change": []}
    for _ in range(SAMPLES):
        times, tile = [time.thread_time()], read()
        times.append(time.thread_time())
        views = cut(tile)
        times.append(time.thread_time())
        change(views)
        times.append(time.thread_time())
        for part, spent in zip(taken, np.diff(times), strict=True):
            taken[part].append(spent)
    return {part: 1000 * median(spent) for part, spent in taken.items()}


def smoothing_matrices(sigmas: np.ndarray, side: int) -> torch.Tensor:
    """(S, side, side): what blurs the rows of a slice when it is multiplied from the left."""
    unit = np.eye(side, dtype=np.float32)
    return torch.from_numpy(np.stack([gaussian_filter(unit, (sigma, 0)) for sigma in sigmas]))


def by_convolution(slices: torch.Tensor, sigmas: np.ndarray) -> torch.Tensor:
    """Blur by two grouped convolutions."""
    reach = int(4 * sigmas.max() + 0.5)
    away = np.arange(-reach, reach + 1)
    kernels = np.exp(-0.5 * (away / sigmas[:, None])**2)
    kernels[abs(away) > (4 * sigmas + 0.5).astype(int)[:, None]] = 0
    weights = torch.from_numpy((kernels / kernels.sum(1, keepdims=True)).astype(np.float32))
    for axis, shape in ((1, (-1, 1, len(away), 1)), (2, (-1, 1, 1, len(away)))):
        first, last = (slices.narrow(axis, start, reach).flip(axis)
                       for start in (0, slices.shape[axis] - reach))
        wide = torch.cat([first, slices, last], axis)
        slices = conv2d(wide[None], weights.reshape(shape), groups=len(slices))[0]
    return slices


def compare_blurs() -> None:
    """All slices of a view blurred in three ways, which must agree."""
    slices = torch.randn(CROP_SIZE, generator=torch.Generator().manual_seed(0))
    sigmas = np.random.default_rng(0).uniform(*BLUR_SIGMA, len(slices))
    matrices = smoothing_matrices(sigmas, slices.shape[1])
    ways = {"scipy, slice by slice": lambda: blurred(slices, sigmas),
            "matrix products, matrices made before": lambda: matrices @ slices @ matrices.mT,
            "grouped convolutions": lambda: by_convolution(slices, sigmas)}
    for name, blur in ways.items():
        assert torch.allclose(blur(), blurred(slices, sigmas), atol=1e-5)
        print(f"blur of 16 slices, {name}: {milliseconds(blur):.2f} ms")
    torch.set_float32_matmul_precision("medium")
    apart = (matrices @ slices @ matrices.mT - blurred(slices, sigmas)).abs().max()
    print(f"matrix products at torch's precision \"medium\": wrong by {apart:.0e}")


def time_list(folder: Path) -> None:
    """The check of a list of tiles, all small."""
    small = nibabel.Nifti1Image(np.zeros((32, 32, 16), np.int16), np.eye(4))
    for suffix in (".nii", ".nii.gz"):
        nibabel.save(small, folder / f"small{suffix}")
        content = (folder / f"small{suffix}").read_bytes()
        names = [f"{index}{suffix}" for index in range(LISTED)]
        for name in names:
            (folder / name).write_bytes(content)
        (folder / "list.txt").write_text("\n".join(names))
        start = time.perf_counter()
        read_tile_list(folder, folder / "list.txt")
        print(f"list of {LISTED} {suffix}: {time.perf_counter() - start:.2f} s")


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        loose, packed = make_tile(Path(name))
        for path in (loose, packed):
            samples = TileViews([path], seed=0)
            epochs = iter(range(10 * SAMPLES))
            whole = milliseconds(lambda made=samples, at=epochs: made[next(at), 0])
            ours, plain = parts(path, plain=False), parts(path, plain=True)
            print(f"{path.name}: a sample of two views {whole:.2f} ms")
            for part in ours:
                print(f"  {part}: {ours[part]:.2f} ms, plain {plain[part]:.2f} ms")
            total, plainly = sum(ours.values()), sum(plain.values())
            print(f"  all: {total:.2f} ms, plain {plainly:.2f} ms, ratio {plainly / total:.1f}")
        compare_blurs()
        time_list(Path(name))


if __name__ == "__main__":
    main()
