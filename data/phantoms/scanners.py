"""The scanners of the phantoms: from tissues to images with blur, shading and noise."""

import numpy as np
from scipy import ndimage


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
    if is_uint8:
        return np.minimum(100 * image, 255).round().astype(np.uint8)
    return gain * image
