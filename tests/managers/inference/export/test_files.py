"""Trained runs written for use elsewhere."""

import importlib.util
import json
import os
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import torch
from safetensors import safe_open

from configs.use.export import export_config
from managers import read_run
from managers.inference.export.files import export
from managers.runs.resume import load_network
from networks import build_network, read_weights, start_from
from system.files import read_json

NNUNET = ("nnunet", "--filters", 4, 6, 8, "--img_size", 16, 16, 16)
UNETR = ("unetr", "--feature_size", 4, "--img_size", 16, 16, 16)
SWINUNETR = ("swinunetr", "--feature_size", 12, "--img_size", 64, 32, 32)


def exported(run, kind, output, *flags):
    return export(export_config(["--experiment", run, "--format", kind, "--output", str(output),
                                 *flags]))


def plain_network(run):
    return load_network(*read_run(run)[:2], "best")[0].network


def test_weights_are_those_of_the_plain_network(run_of, tmp_path):
    run, path = run_of(), tmp_path / "w.safetensors"
    assert "sha256" in exported(run, "safetensors", path).summary()
    expected, found = plain_network(run).state_dict(), read_weights(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["config"]) == read_json(f"{run}/config.json")


@pytest.mark.parametrize("flags", [(), ("--with_side_heads",)])
def test_weights_start_a_new_run(run_of, tmp_path, flags):
    run, path = run_of(), tmp_path / "w.safetensors"
    exported(run, "safetensors", path, *flags)
    assert any(name.startswith("heads.") for name in read_weights(path)) == bool(flags)
    network = build_network("nnunet", 1, 3, (16, 16, 16), True, filters=(4, 6, 8))
    start_from(network, path)
    expected = plain_network(run).state_dict()
    assert all(torch.equal(value, expected[name])
               for name, value in network.network.state_dict().items())


@pytest.mark.parametrize("network", [NNUNET, UNETR], ids=lambda network: network[0])
def test_onnx_gives_the_networks_logits_for_any_number_of_windows(run_of, tmp_path, network):
    onnxruntime = pytest.importorskip("onnxruntime")
    run, path = run_of(network=network), tmp_path / "net.onnx"
    assert "differ by at most" in exported(run, "onnx", path).summary()
    session = onnxruntime.InferenceSession(path)
    windows = torch.randn(3, 1, 16, 16, 16)
    with torch.no_grad():
        expected = plain_network(run).eval()(windows)
    logits = torch.from_numpy(session.run(None, {"image": windows.numpy()})[0])
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_onnx_says_how_it_is_used(run_of, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    exported(run_of("mmwhs-ct"), "onnx", path)
    found = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    about = {name: json.loads(value) for name, value in found.items()}
    assert len(about["class_names"]) == len(about["label_values"]) == 8
    assert (about["class_names"][0], about["label_values"][:2]) == ("background", [0, 205])
    assert (about["spacing_mm"], about["roi_size"]) == ([1.5, 1.5, 2.0], [16, 16, 16])
    assert (about["intensity"], about["window_hu"]) == ("ct", [-175.0, 250.0])
    assert [name for name, _ in about["intensity_steps"]] == ["ScaleIntensityRanged",
                                                              "NormalizeIntensityd"]
    assert (about["channels"], about["orientation"], about["overlap"]) == (["CT"], "RAS", 0.25)


def test_what_torch_cannot_write_in_onnx_is_refused(run_of, tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(ValueError, match="torch cannot write swinunetr"):
        exported(run_of(network=SWINUNETR), "onnx", tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_a_missing_package_is_named_with_the_way_to_get_it(run_of, tmp_path, monkeypatch):
    run = run_of()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install onnx onnxruntime"):
        exported(run, "onnx", tmp_path / "net.onnx")


def test_a_bundle_segments_as_predict_does_where_only_monai_is(run_of, phantoms, run_script,
                                                               tmp_path):
    run, bundle = run_of("mmwhs-ct"), tmp_path / "bundle"
    assert exported(run, "bundle", bundle).check.endswith("at most 0")
    images = phantoms("mmwhs-ct", 2, (24, 24, 20)) / "imagesTraining"
    code = ("import sys, monai.bundle; monai.bundle.run(config_file='configs/inference.json', "
            "dataset_dir=sys.argv[1], output_dir=sys.argv[2])")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code, str(images), str(tmp_path / "theirs")],
                   cwd=bundle, env=environment, check=True, capture_output=True)
    done = run_script("predict.py", "--experiment", run, "--input", images, "--output",
                      tmp_path / "ours", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    ours = sorted((tmp_path / "ours").glob("*.nii.gz"))
    assert len(ours) == 2
    for path in ours:
        name = path.name.replace(".nii.gz", "_image.nii.gz")
        expected, found = nibabel.load(path), nibabel.load(tmp_path / "theirs" / name)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)
        labels = np.asarray(expected.dataobj)
        assert len(np.unique(labels)) > 2
        assert (np.asarray(found.dataobj) == labels).mean() >= 0.99


def test_what_is_there_stays_unless_it_may_be_replaced(run_of, tmp_path):
    run, bundle = run_of(), tmp_path / "bundle"
    exported(run, "bundle", bundle)
    (bundle / "mine.txt").write_text("kept")
    with pytest.raises(ValueError, match="exists; give another place, or --overwrite"):
        exported(run, "bundle", bundle)
    assert (bundle / "mine.txt").is_file()
    exported(run, "bundle", bundle, "--overwrite")
    assert sorted(str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()) \
        == ["LICENSE", "configs/inference.json", "configs/metadata.json", "docs/README.md",
            "models/model.pt"]
    assert not list(tmp_path.glob(".bundle.*"))


def test_a_folder_that_is_no_bundle_is_never_replaced(run_of, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.tex").write_text("kept")
    with pytest.raises(ValueError, match="thesis: is no bundle"):
        exported(run_of(), "bundle", tmp_path / "thesis", "--overwrite")
    assert (tmp_path / "thesis" / "text.tex").is_file()


def test_the_script_ends_with_2_for_a_run_that_is_not_there(run_script, tmp_path):
    done = run_script("scripts/export_model.py", "--experiment", tmp_path / "none.exp", "--format",
                      "bundle", "--output", tmp_path / "bundle")
    assert done.returncode == 2 and "none.exp" in done.stderr
