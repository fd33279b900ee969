"""A trained run written for use elsewhere: weights in safetensors, a network in ONNX, a run."""

import importlib.util
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as to_safetensors
from torch import nn

from configs import TrainingConfig
from configs.use.export import ExportConfig
from data import INTENSITIES, dataset_of
from data.nifti.native_files import values_of_classes
from system.files import sha256_of, write_bytes

from ...runs.published import publish_run
from ...runs.resume import load_network, read_run
from .bundle import write_bundle

OPSET = 17
ATOL, RTOL = 1e-4, 1e-4  # of logits; runtimes add float32 numbers up in other orders


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was checked."""

    path: Path
    check: str

    def summary(self) -> str:
        """Path, size in bytes and sha256 of every file, and the check."""
        lines = []
        for path in sorted([self.path, *self.path.rglob("*")]):
            if path.is_file():
                lines.append(f"{path}  {path.stat().st_size} bytes  sha256 {sha256_of(path)}")
        return "\n".join([*lines, self.check])


def export(config: ExportConfig) -> Exported:
    """Write the run's network in the format asked for, and check what was written.

    Raises:
        ValueError: a run that cannot be read, an output that exists, a network that the format
            cannot hold, a package that is missing, or an export that computes something else.
    """
    path = Path(config.output)
    if path.is_dir() and config.format not in ("bundle", "run"):
        raise ValueError(f"--output {path}: is a folder; give a file.")
    if path.exists() and not config.overwrite:
        raise ValueError(f"--output {path}: exists; give another place, or --overwrite.")
    folder, run, _ = read_run(config.experiment)
    network, about = load_network(folder, run, config.saved_model, config.trust_network_code)
    if config.format == "run":
        publish_run(path, folder, run, network, config.saved_model, about["epoch"])
        return Exported(path, _half_precision_check(path, run, network.eval(), config.saved_model))
    return WRITERS[config.format](config, run, network.eval())


def _half_precision_check(path: Path, run: TrainingConfig, network: nn.Module,
                          saved_model: str) -> str:
    """How far the logits of what was written are from the network's, on a window of noise."""
    # The network was built already, so its code is trusted.
    written, _ = load_network(path, run, saved_model, trust_network_code=True)
    window = torch.randn(1, len(dataset_of(run).channels), *run.img_size,
                         generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = network(window), written.eval()(window)
    return (f"in half precision the logits of a window of noise differ by at most "
            f"{(found - expected).abs().max().item():.2g}, of up to "
            f"{expected.abs().max().item():.2g}; eval.py scores what was written")


def write_safetensors(config: ExportConfig, run: TrainingConfig, network: nn.Module) -> Exported:
    """The weights by the names of the plain network, and the run's settings as metadata.

    With side heads they keep the names of this project: "network." and "heads.".
    """
    note = ", side heads included"
    if not config.with_side_heads:
        network, note = network.network, ""
    # DynUNet holds its blocks under two names; safetensors refuses tensors that share memory.
    state = {name: value.detach().cpu().clone().contiguous()
             for name, value in network.state_dict().items()}
    data = to_safetensors(state, {"config": json.dumps(run.to_dict()), "format": "pt"})
    write_bytes(config.output, data)
    return Exported(Path(config.output), f"{len(state)} tensors{note}")


def write_onnx(config: ExportConfig, run: TrainingConfig, network: nn.Module) -> Exported:
    """The plain network on windows (B, C, H, W, D) of the run's crop size, B free.

    Its metadata (`onnx_metadata`) describe input and output. Before it is written, onnxruntime
    runs it with one window and with two.

    Raises:
        ValueError: onnx or onnxruntime is missing, torch cannot write the network (SwinUNETR), or
            logits differ by more than the tolerance.
    """
    lacking = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if lacking:
        raise ValueError(f"--format onnx: needs {' and '.join(lacking)}; "
                         f"pip install {' '.join(lacking)}")
    plain, buffer = network.network, io.BytesIO()
    windows = torch.randn(2, len(dataset_of(run).channels), *run.img_size,
                          generator=torch.Generator().manual_seed(0))
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer's, on shapes that are the window's
            torch.onnx.export(plain, (windows,), buffer, input_names=["image"],
                              output_names=["logits"], opset_version=OPSET, dynamo=False,
                              dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}})
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).split("[Caused by")[0].splitlines()[0].strip()
        raise ValueError(f"--format onnx: torch cannot write {run.network} ({reason}). "
                         f"--format bundle or safetensors can hold it.") from error
    model = _with_metadata(buffer.getvalue(), onnx_metadata(run))
    difference = max(_onnx_difference(model, plain, windows[:number]) for number in (1, 2))
    write_bytes(config.output, model)
    return Exported(Path(config.output), f"onnxruntime's logits differ by at most {difference:.2g}")


def onnx_metadata(run: TrainingConfig) -> dict[str, str]:
    """What a program needs besides the graph to use it, each value as JSON.

    The classes, background first, with their values in label files; the channels; how images are
    oriented, resampled and scaled before a window is cut. "spacing_mm" is null if images keep
    their own, "window_hu" if the intensity scheme has none.
    """
    dataset, window = dataset_of(run), None
    if dataset.used_window is not None:
        window = list(dataset.used_window)
    values = {
        "class_names": dataset.class_names,
        "label_values": values_of_classes(dataset.label_values).tolist(),
        "channels": dataset.channels, "orientation": "RAS",
        "spacing_mm": dataset.spacing_mm, "intensity": dataset.intensity, "window_hu": window,
        "intensity_steps": INTENSITIES[dataset.intensity](dataset.window),
        "roi_size": run.img_size, "overlap": run.overlap, "network": run.network,
        "dataset": dataset.name}
    return {name: json.dumps(value) for name, value in values.items()}


def _with_metadata(model: bytes, metadata: dict[str, str]) -> bytes:
    import onnx  # optional

    loaded = onnx.load_from_string(model)
    onnx.helper.set_model_props(loaded, metadata)
    return loaded.SerializeToString()


def _onnx_difference(model: bytes, network: nn.Module, windows: torch.Tensor) -> float:
    """The largest difference of logits between onnxruntime and torch."""
    import onnxruntime  # optional

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    logits = torch.from_numpy(session.run(None, {"image": windows.numpy()})[0])
    with torch.no_grad():
        expected = network(windows)
    difference = (logits - expected).abs().max().item()
    if not torch.allclose(logits, expected, rtol=RTOL, atol=ATOL):
        raise ValueError(f"--format onnx: onnxruntime's logits differ by up to {difference:.2g} "
                         f"for a batch of {len(windows)}; nothing was written.")
    return difference


def _bundle(config: ExportConfig, run: TrainingConfig, network: nn.Module) -> Exported:
    difference = write_bundle(Path(config.output), run, network)
    return Exported(Path(config.output), f"MONAI's logits differ by at most {difference:.2g}")


WRITERS: dict[str, Callable[[ExportConfig, TrainingConfig, nn.Module], Exported]] = {
    "bundle": _bundle, "onnx": write_onnx, "safetensors": write_safetensors}
