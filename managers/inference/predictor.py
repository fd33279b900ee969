"""From a trained network to logits and label maps of whole volumes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from configs import TrainingConfig
from data.nifti.geometry import grid_map, native_planes
from data.nifti.native_files import NativeGrid, ProbabilityFile

from ..compute.devices import keep_freed_memory
from ..compute.precision import autocast
from ..compute.quick_norm import quicken_norms
from ..runs.resume import load_network
from .sliding_window import rolling_logits


@dataclass(frozen=True)
class Predictor:
    """A network and its sliding window, with which validation, eval.py and predict.py predict.

    Windows are added up on its device, or on the CPU once that memory is full (see
    `rolling_logits`).

    Attributes:
        network: in evaluation mode; windows (B, C, h, w, d) to logits (B, K, h, w, d).
        roi_size: (h, w, d) of a window, voxels.
        overlap: of neighbouring windows, fraction.
        window_batch: windows per forward pass; on a CPU one, since more only take memory.
        device: of the network; None: that of the images.
        amp: mixed precision of the network, see `precision.AMP_TYPES`; sums are in float32.
    """

    network: nn.Module
    roi_size: tuple[int, int, int]
    overlap: float = 0.25
    window_batch: int = 4
    device: torch.device | None = None
    amp: str = "off"

    def slabs(self, image: torch.Tensor, axis: int = 0,
              progress: bool = False) -> Iterator[tuple[int, torch.Tensor]]:
        """Logits of an image (C, H, W, D) in slabs; see `rolling_logits`."""
        device, window_batch = self.device, self.window_batch
        if device is None:
            device = image.device
        if device.type == "cpu":
            window_batch = 1
            # A third of the time of a window. Not before the first one: what the checks of the
            # inputs freed would stay with the process too.
            keep_freed_memory()

        def of_windows(windows: torch.Tensor) -> torch.Tensor:
            with autocast(device, self.amp):
                return self.network(windows.to(device))

        return rolling_logits(image, of_windows, self.roi_size, self.overlap, window_batch,
                              axis, progress, device)

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (K, H, W, D) of an image (C, H, W, D), on the device.

        Raises:
            LogitsError: they are not finite, as for the other methods.
        """
        whole = None
        for row, slab in self.slabs(image):
            if whole is None:
                whole = slab.new_empty(len(slab), *image.shape[1:])
            whole[:, row:row + slab.shape[1]] = slab
        return whole

    def label_map(self, image: torch.Tensor) -> torch.Tensor:
        """Label map (H, W, D) uint8 on the CPU of an image (C, H, W, D).

        Never holds more logits than a window is deep.
        """
        return torch.cat([slab.argmax(0).to(torch.uint8).cpu() for _, slab in self.slabs(image)])

    def native(self, volume: Mapping[str, Any], grid: NativeGrid,
               probabilities: ProbabilityFile | None = None,
               progress: bool = False) -> np.ndarray:
        """Label map (X, Y, Z) uint8 of class indices on a file's own grid.

        It is the argmax of the logits interpolated at the file's voxels. Besides image and label
        map, memory holds never more logits than a window is deep.

        Args:
            volume: as data.preprocessing gives it.
            grid: of the file that it came from.
            probabilities: takes the softmax of the interpolated logits, if given.
            progress: shows a bar over the windows.

        Raises:
            ValueError: the file's grid is sheared; see data.nifti.geometry.grid_map.
        """
        to_model = grid_map(grid.affine, grid.shape, volume["affine"].numpy(),
                            volume["image"].shape[1:])
        slabs = self.slabs(volume["image"], to_model.axes[2].model_axis, progress)
        label_map = np.empty(grid.shape, np.uint8, order="F")
        for planes, logits in native_planes(slabs, to_model):
            label_map[:, :, planes] = logits.argmax(0).to(torch.uint8).cpu().numpy()
            if probabilities is not None:
                probabilities.put(planes.tolist(), logits.softmax(0).cpu().numpy())
        return label_map


def predictor_of(network: nn.Module, run: TrainingConfig, device: torch.device,
                 amp: str = "off") -> Predictor:
    """A run's network, moved to `device`, with the windows of its validation.

    Args:
        amp: mixed precision, whatever the run was trained with.
    """
    return Predictor(made_ready(network, device), tuple(run.img_size), run.overlap,
                     run.window_batch, device, amp)


def made_ready(network: nn.Module, device: torch.device) -> nn.Module:
    """The network in evaluation mode on the device."""
    if device.type == "cpu":
        quicken_norms(network)
    return network.eval().to(device)


def load_predictor(folder: Path, run: TrainingConfig, saved_model: str, device: torch.device,
                   trust_network_code: bool = False,
                   amp: str = "off") -> tuple[Predictor, dict[str, Any]]:
    """The predictor of a run folder and its weights; see `load_network` and `predictor_of`."""
    network, weights = load_network(folder, run, saved_model, trust_network_code)
    return predictor_of(network, run, device, amp), weights
