"""A trained run as a MONAI bundle, which runs where only MONAI is installed."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import monai
import numpy
import torch
from monai.bundle import ConfigParser
from torch import nn

from configs import TrainingConfig
from data import Dataset, dataset_of
from data.nifti.native_files import values_of_classes
from data.sets.intensities import INTENSITIES
from data.volumes.transforms import INTERPOLATION, RAS_LABELS
from system import ROOT
from system.files import write_json, write_text, write_with

from .plain_network import stock_definition

ATOL = 1e-6  # of logits: it is the same network
LICENSE = ROOT / "LICENSE"

README = """# {name}

{network} for {dataset}: {classes}.

    python -m monai.bundle run --config_file configs/inference.json \\
        --dataset_dir FOLDER --output_dir FOLDER

run in this folder, segments every .nii and .nii.gz file of a folder and writes label maps on the
files' own grids, under the files' names. `python -m monai.bundle` needs the package fire;
`monai.bundle.run(config_file="configs/inference.json")` does the same without. Files have their
channels last ({channels}).

It is a research model, not a medical device.
"""


def write_bundle(path: Path, run: TrainingConfig, network: nn.Module) -> float:
    """Write and check the bundle in a folder beside `path`, then rename that to it.

    Returns:
        The largest difference between the logits of the bundle and of the run on one window.

    Raises:
        ValueError: the network is not MONAI's, the bundle's logits differ, or `path` exists and
            is no bundle.
    """
    if path.exists() and not (path / "configs" / "metadata.json").is_file():
        raise ValueError(f"--output {path}: is no bundle, so it is not replaced; give another "
                         f"place.")
    dataset = dataset_of(run)
    definition = stock_definition(run.network, network, len(dataset.channels), run.img_size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        folder = Path(scratch) / "bundle"
        stock, difference = _stock_network(definition, run, network.network, len(dataset.channels))
        state = {name: value.detach().cpu() for name, value in stock.state_dict().items()}
        write_with(folder / "models" / "model.pt", lambda file: torch.save(state, file))
        write_json(folder / "configs" / "metadata.json", metadata(run, dataset))
        write_json(folder / "configs" / "inference.json", inference(run, dataset, definition))
        write_text(folder / "docs" / "README.md", README.format(
            name=Path(run.experiment).stem, network=definition["_target_"], dataset=dataset.name,
            classes=", ".join(dataset.class_names), channels=", ".join(dataset.channels)))
        shutil.copyfile(LICENSE, folder / "LICENSE")
        _put_in_place(folder, path, Path(scratch) / "before")
    return difference


def _put_in_place(folder: Path, path: Path, before: Path) -> None:
    """Rename `folder` to `path`; an older bundle there goes to `before`, or stays on failure."""
    if not path.exists():
        os.rename(folder, path)
        return
    os.rename(path, before)
    try:
        os.rename(folder, path)
    except BaseException:
        os.rename(before, path)
        raise


def _stock_network(definition: dict[str, Any], run: TrainingConfig, plain: nn.Module,
                   in_channels: int) -> tuple[nn.Module, float]:
    """MONAI's network with the run's weights, and how far its logits are from the run's."""
    parser = ConfigParser({"network": definition})
    stock = parser.get_parsed_content("network").eval()
    missing, unexpected = stock.load_state_dict(plain.state_dict(), strict=False)
    # MONAI 1.5's UNETR has an idle cross_attn, which the project takes out.
    assert not unexpected and all(".cross_attn." in name for name in missing), (missing, unexpected)
    window = torch.randn(1, in_channels, *run.img_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = (stock(window) - plain(window)).abs().max().item()
    if not difference <= ATOL:
        raise ValueError(f"--format bundle: the logits of MONAI's {definition['_target_']} differ "
                         f"by {difference:.2g}; nothing was written.")
    return stock, difference


def inference(run: TrainingConfig, dataset: Dataset, definition: dict[str, Any]) -> dict[str, Any]:
    """configs/inference.json: what predict.py does, in MONAI's transforms."""
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/output'",
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "datalist": "$[{'image': path} for path in "
                    "sorted(glob.glob(os.path.join(@dataset_dir, '*.nii*')))]",
        "network_def": definition,
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(dataset)},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": list(run.img_size),
                    "sw_batch_size": run.window_batch, "overlap": run.overlap,
                    "mode": "constant", "padding_mode": "constant",
                    "sw_device": "@device", "device": "cpu"},
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(dataset)},
        "initialize": [
            "$@network.load_state_dict(torch.load(@checkpoint, map_location=@device, "
            "weights_only=True))",
            "$@network.eval()"],
        "finite": "$lambda logits, image: (torch._check(bool(logits.isfinite().all()), lambda: "
                  "'the logits of ' + str(image.meta['filename_or_obj']) + ' are not finite'), "
                  "logits)[1]",
        "segment": "$torch.no_grad()(lambda files, network=@network, inferer=@inferer, "
                   "before=@preprocessing, after=@postprocessing, finite=@finite: [after(dict("
                   "item, pred=finite(inferer(item['image'][None], network)[0], item['image'])))"
                   "['pred'].shape for item in map(before, files)])",
        "run": ["$@segment(@datalist)"],
    }


def _preprocessing(dataset: Dataset) -> list[dict[str, Any]]:
    """data.preprocessing for images, for files whose channels are last."""
    steps: list[dict[str, Any]] = [{"_target_": "LoadImaged", "keys": "image",
                                    "ensure_channel_first": True, "image_only": True}]
    if dataset.spacing_mm is not None:
        steps.append({"_target_": "Spacingd", "keys": "image", "pixdim": list(dataset.spacing_mm),
                      "mode": INTERPOLATION["image"]})
    steps.append({"_target_": "Orientationd", "keys": "image", "axcodes": "RAS",
                  "labels": [list(ends) for ends in RAS_LABELS]})
    steps += [{"_target_": name, "keys": "image"} | arguments
              for name, arguments in INTENSITIES[dataset.intensity](dataset.window)]
    steps.append({"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"})
    return steps


def _postprocessing(dataset: Dataset) -> list[dict[str, Any]]:
    """Logits back on the file's grid, their argmax, the dataset's label values, a file."""
    values = values_of_classes(dataset.label_values)
    steps = [{"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing",
              "orig_keys": "image", "nearest_interp": False, "to_tensor": True},
             {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}]
    if values.tolist() != list(range(len(values))):
        steps.append({"_target_": "MapLabelValued", "keys": "pred",
                      "orig_labels": list(range(len(values))), "target_labels": values.tolist()})
    return [*steps, {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir",
                     "output_postfix": "", "output_ext": ".nii.gz", "separate_folder": False,
                     "resample": True, "mode": "nearest", "output_dtype": f"$numpy.{values.dtype}"}]


def metadata(run: TrainingConfig, dataset: Dataset) -> dict[str, Any]:
    """configs/metadata.json, with the entries that MONAI's bundles must have."""
    def tensor(kind: str, channels: dict[str, str]) -> dict[str, Any]:
        return {"type": "image", "format": kind, "num_channels": len(channels),
                "spatial_shape": list(run.img_size), "dtype": "float32", "value_range": [],
                "is_patch_data": True, "channel_def": channels}

    names = {str(index): name for index, name in enumerate(dataset.channels)}
    classes = {str(index): name for index, name in enumerate(dataset.class_names)}
    packages = {"nibabel": "5.0.0"}
    if run.network == "unetr":
        packages["einops"] = "0.8.0"
    return {
        "version": "1.0.0", "changelog": {"1.0.0": "exported"},
        "monai_version": monai.__version__.split("+")[0],
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": numpy.__version__, "required_packages_version": packages,
        "name": Path(run.experiment).stem, "task": f"segmentation of {dataset.name}",
        "description": f"{run.network} trained by the method {run.method} on {dataset.name}",
        "authors": "", "copyright": "", "data_source": dataset.name, "data_type": "nibabel",
        "image_classes": ", ".join(dataset.channels),
        "label_classes": ", ".join(dataset.class_names), "intended_use": "research",
        "network_data_format": {"inputs": {"image": tensor("intensity", names)},
                                "outputs": {"pred": tensor("segmentation", classes)}},
    }
