"""What is done to the intensities of a view: everything is drawn anew for each slice.

The chain of DeSD (MICCAI 2022): Gaussian noise, Gaussian blur, brightness that is multiplied and
then added, contrast, gamma. The authors hand (1, D, H, W) to a library that takes it for D channels
of an image, so that "per channel" is per slice and the blur stays in the plane.

Functions take slices (D, H, W), float32, and one parameter for each slice. None of them is a matrix
product or a convolution of torch: neither the number of threads nor the precision that is set for
those changes a voxel.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

NOISE = (0.0, 0.1)              # standard deviation
BLUR_SIGMA = (0.1, 2.0)         # pixels
BLUR_REACH = 4.0                # sigmas at which the kernel ends
FACTOR = (0.75, 1.25)           # of brightness
OFFSET_STD = 0.4                # of brightness
CONTRAST = (0.75, 1.25)
GAMMA = (0.7, 1.5)
RANGE_EPS, STD_EPS = 1e-7, 1e-8


@dataclass(frozen=True)
class ViewIntensity:
    """How often a kind of view is changed; noise and contrast change every slice of every view.

    Attributes:
        blur: probability that a view is blurred, and then that a slice of it is.
        factor: probability of brightness that is multiplied, in all slices.
        offset: probabilities of brightness that is added, for a view and for its slices.
        gamma: probability of gamma, in all slices.
    """

    blur: tuple[float, float]
    factor: float
    offset: tuple[float, float]
    gamma: float


GLOBAL_1 = ViewIntensity(blur=(0.8, 0.8), factor=0.8, offset=(0.8, 0.8), gamma=0.8)
GLOBAL_2 = ViewIntensity(blur=(0.8, 0.5), factor=1.0, offset=(0.5, 0.8), gamma=1.0)
LOCAL = ViewIntensity(blur=(0.5, 0.8), factor=1.0, offset=(0.8, 0.8), gamma=0.8)


@dataclass(frozen=True)
class Drawn:
    """The chain for one view; arrays (D,) have a number for each slice, None leaves a step out.

    Attributes:
        noise: standard deviation, one for the view.
        sigmas: of the blur, pixels; 0 leaves a slice as it is.
        factors: of brightness.
        offsets: of brightness.
        contrasts: factors about the slice's mean.
        exponents: of gamma.
    """

    noise: float
    sigmas: np.ndarray | None
    factors: np.ndarray | None
    offsets: np.ndarray | None
    contrasts: np.ndarray
    exponents: np.ndarray | None


def draw_intensity(rng: np.random.Generator, kind: ViewIntensity, num_slices: int) -> Drawn:
    """Draw the chain for a view of so many slices."""
    def happens(probability: float) -> bool:
        return rng.random() < probability

    def chosen(probability: float) -> np.ndarray:
        return rng.random(num_slices) < probability

    return Drawn(
        noise=rng.uniform(*NOISE),
        sigmas=(rng.uniform(*BLUR_SIGMA, num_slices) * chosen(kind.blur[1])
                if happens(kind.blur[0]) else None),
        factors=rng.uniform(*FACTOR, num_slices) if happens(kind.factor) else None,
        offsets=(rng.normal(0, OFFSET_STD, num_slices) * chosen(kind.offset[1])
                 if happens(kind.offset[0]) else None),
        contrasts=draw_about_one(rng, CONTRAST, num_slices),
        exponents=draw_about_one(rng, GAMMA, num_slices) if happens(kind.gamma) else None,
    )


def draw_about_one(rng: np.random.Generator, limits: tuple[float, float],
                   count: int) -> np.ndarray:
    """Numbers (count,) that are below 1 and above it equally often, uniform on either side."""
    low, high = limits
    return np.where(rng.random(count) < 0.5, rng.uniform(low, 1, count),
                    rng.uniform(1, high, count))


def changed(slices: torch.Tensor, drawn: Drawn, standard_noise: torch.Tensor) -> torch.Tensor:
    """Slices (D, H, W) after the whole chain; nothing is clipped afterwards.

    Args:
        standard_noise: of the slices' shape, with mean 0 and variance 1.
    """
    slices = torch.add(slices, standard_noise, alpha=drawn.noise)
    if drawn.sigmas is not None:
        slices = blurred(slices, drawn.sigmas)
    if drawn.factors is not None:
        slices = slices * _for_slices(drawn.factors)
    if drawn.offsets is not None:
        slices = slices + _for_slices(drawn.offsets)
    slices = contrasted(slices, drawn.contrasts)
    return slices if drawn.exponents is None else gamma_changed(slices, drawn.exponents)


def augmented(rng: np.random.Generator, slices: torch.Tensor, kind: ViewIntensity) -> torch.Tensor:
    """Slices (D, H, W) after a chain and a noise that are drawn from `rng` alone."""
    drawn = draw_intensity(rng, kind, len(slices))
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    return changed(slices, drawn, torch.randn(slices.shape, generator=generator))


def blurred(slices: torch.Tensor, sigmas: np.ndarray) -> torch.Tensor:
    """Each slice (H, W) smoothed by a Gaussian of its own, which ends at 4 sigmas.

    The slice goes on mirrored beyond its edge, whose pixels count twice.
    """
    result = slices.numpy().copy()
    for index in np.flatnonzero(sigmas):
        gaussian_filter(slices[index].numpy(), sigmas[index], truncate=BLUR_REACH, mode="reflect",
                        output=result[index])
    return torch.from_numpy(result)


def contrasted(slices: torch.Tensor, factors: np.ndarray) -> torch.Tensor:
    """Each slice scaled about its mean, and clipped to the range that it had."""
    mean = slices.mean((1, 2), keepdim=True)
    low, high = slices.amin((1, 2), keepdim=True), slices.amax((1, 2), keepdim=True)
    scaled = (slices - mean).mul_(_for_slices(factors)).add_(mean)
    return torch.minimum(torch.maximum(scaled, low, out=scaled), high, out=scaled)


def gamma_changed(slices: torch.Tensor, exponents: np.ndarray) -> torch.Tensor:
    """Each slice to a power, taken on its range as [0, 1]; mean and std are what they were.

    Differs from the authors' code: their version of the library adds the mean back before it
    scales by the std, which moves the mean by some thousandths; later versions have put it right.
    """
    mean, std = _mean_and_std(slices)
    low = slices.amin((1, 2), keepdim=True)
    extent = slices.amax((1, 2), keepdim=True).sub_(low).add_(RANGE_EPS)
    # As exp(e log u), which is faster than a power; at the minimum u is 0 and stays 0.
    powers = (slices - low).div_(extent).log_().mul_(_for_slices(exponents)).exp_()
    new_mean, new_std = _mean_and_std(powers)
    # Scaling back by the extent and restoring the std are one factor.
    gain = std * extent / (new_std * extent + STD_EPS)
    return powers.sub_(new_mean).mul_(gain).add_(mean)


def _mean_and_std(slices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each slice, (D, 1, 1); the std is that of the population."""
    mean = slices.mean((1, 2), keepdim=True)
    norm = torch.linalg.vector_norm(slices - mean, dim=(1, 2), keepdim=True)
    return mean, norm / slices[0].numel()**0.5


def _for_slices(numbers: np.ndarray) -> torch.Tensor:
    """Numbers (D,) as float32 (D, 1, 1)."""
    return torch.from_numpy(np.asarray(numbers, np.float32))[:, None, None]
