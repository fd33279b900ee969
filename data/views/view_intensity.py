"""How the intensities of a view are changed: everything is drawn per slice.

The chain of DeSD (MICCAI 2022): Gaussian noise, Gaussian blur, brightness multiplied and then
added, contrast, gamma. The authors hand (1, D, H, W) to a library that takes it for an image of D
channels, so "per channel" means per slice and the blur stays in the plane.

Functions take slices (D, H, W), float32, and one parameter per slice. None uses a matrix product or
convolution of torch, so neither the number of threads nor the precision set for these changes a
voxel.
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
    """Draw the chain for a view of `num_slices` slices."""
    def happens(probability: float) -> bool:
        return rng.random() < probability

    def chosen(probability: float) -> np.ndarray:
        return rng.random(num_slices) < probability

    # The order of the draws decides what a seed gives.
    noise = rng.uniform(*NOISE)
    sigmas = factors = offsets = exponents = None
    if happens(kind.blur[0]):
        sigmas = rng.uniform(*BLUR_SIGMA, num_slices) * chosen(kind.blur[1])
    if happens(kind.factor):
        factors = rng.uniform(*FACTOR, num_slices)
    if happens(kind.offset[0]):
        offsets = rng.normal(0, OFFSET_STD, num_slices) * chosen(kind.offset[1])
    contrasts = draw_about_one(rng, CONTRAST, num_slices)
    if happens(kind.gamma):
        exponents = draw_about_one(rng, GAMMA, num_slices)
    return Drawn(noise, sigmas, factors, offsets, contrasts, exponents)


def draw_about_one(rng: np.random.Generator, limits: tuple[float, float],
                   count: int) -> np.ndarray:
    """Numbers (count,), equally often below and above 1, uniform on either side."""
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
    if drawn.exponents is not None:
        slices = gamma_changed(slices, drawn.exponents)
    return slices


def augmented(rng: np.random.Generator, slices: torch.Tensor, kind: ViewIntensity) -> torch.Tensor:
    """Slices (D, H, W) after a chain, with its noise, drawn from `rng`."""
    drawn = draw_intensity(rng, kind, len(slices))
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    return changed(slices, drawn, torch.randn(slices.shape, generator=generator))


def blurred(slices: torch.Tensor, sigmas: np.ndarray) -> torch.Tensor:
    """Each slice (H, W) smoothed by its own Gaussian, cut off at 4 sigmas.

    Slices are mirrored at their edges, whose pixels count twice.
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
    """Each slice, scaled to [0, 1], to a power; its mean and std are restored.

    Differs from the authors' code: their version of the library adds the mean back before it
    scales by the std, which shifts the mean by some thousandths; later versions fixed it.
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
    """Mean and population standard deviation of each slice, (D, 1, 1)."""
    mean = slices.mean((1, 2), keepdim=True)
    norm = torch.linalg.vector_norm(slices - mean, dim=(1, 2), keepdim=True)
    return mean, norm / slices[0].numel()**0.5


def _for_slices(numbers: np.ndarray) -> torch.Tensor:
    """Numbers (D,) as float32 (D, 1, 1)."""
    return torch.from_numpy(np.asarray(numbers, np.float32))[:, None, None]
