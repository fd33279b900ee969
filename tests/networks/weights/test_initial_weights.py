"""Reading the encoder of a pre-training, ours or the authors', and giving it to a network."""

import argparse
import json
import os
import pickle
import shlex
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from networks import SideOutputs, build_desd, load_encoder_weights, read_weights, resnet3d
from networks.weights.initial_weights import depth_of, resnet_depth

KEYS = json.loads((Path(__file__).parents[2] / "golden" / "desd_state_dict_keys.json").read_text())


def numbered(shapes):
    """Entries of these shapes, the i-th full of i, each stored as a single number."""
    return {name: torch.full((1,) * len(shape), float(i)).expand(shape)
            for i, (name, shape) in enumerate(shapes.items())}


def namespace(**more):
    return argparse.Namespace(arch="res3d50", out_dim=60000, use_bn_in_head=True, lr=0.3,
                              data_path="./", local_crops_scale=[0.05, 0.4], dist_url="env://",
                              gpu=0, clip_grad=0.0, use_fp16=False, **more)


def authors_checkpoint(shapes_of_teacher=None, args=None):
    """What the authors' training writes after an epoch, tensors by their real names and shapes."""
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0, momentum=0.9)
    parameter.grad = torch.ones(2)
    schedule = np.concatenate((np.linspace(0, 0.225, 3), np.array([0.2, 0.1])))
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = schedule[1], schedule[2]  # NumPy's, as theirs are
    optimizer.step()
    assert type(optimizer.state_dict()["param_groups"][0]["lr"]) is np.float64
    return {"student": numbered(KEYS["checkpoint_student_ddp"]),
            "teacher": numbered(shapes_of_teacher or KEYS["checkpoint_teacher_ddp"]),
            "optimizer": optimizer.state_dict(), "epoch": 300, "args": args or namespace(),
            "desd_loss": numbered(KEYS["desd_loss"]),
            "fp16_scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 0}}


def on_meta(depth):
    with torch.device("meta"):
        return resnet3d(depth)


def empty(depth):
    """An encoder whose values are all NaN, so that what was not copied shows."""
    encoder = on_meta(depth).to_empty(device="cpu")
    with torch.no_grad():
        for value in encoder.parameters():
            value.fill_(torch.nan)
    return encoder


def small_state(depth=10, prefix=""):
    return {f"{prefix}{name}": value for name, value in
            numbered({n: v.shape for n, v in on_meta(depth).state_dict().items()}).items()}


class Network(nn.Module):
    """A network on the encoder."""

    def __init__(self, depth=10):
        super().__init__()
        self.encoder, self.decoder = empty(depth), nn.Conv3d(512, 2, 1)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_all_of_the_authors_encoder_is_copied(tmp_path, zipped):
    path = tmp_path / "checkpoint.pth"
    torch.save(authors_checkpoint(), path, _use_new_zipfile_serialization=zipped)
    encoder = empty(50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = load_encoder_weights(encoder, path)
    assert len(report.matched) == 159 and report.unmatched == {} and report.part == "encoder"
    assert sum(report.sizes.values()) == 46155072
    order = list(KEYS["checkpoint_teacher_ddp"])
    assert all((value == order.index(f"module.backbone.{name}")).all()
               for name, value in encoder.state_dict().items())
    assert "159 entries, 46,155,072 values; 159 of 159 of the encoder" in str(report)


@pytest.mark.parametrize("prefix", ["module.backbone.", "backbone.", "module.", "",
                                    "module.network.encoder."])
def test_prefixes_of_a_teacher(tmp_path, prefix):
    shapes = {f"{prefix}{name}": list(value.shape) for name, value in on_meta(10).state_dict()
              .items()} | {"head.mlp.0.weight": [4, 3], "module.head.mlp.0.bias": [4]}
    torch.save(authors_checkpoint(shapes), tmp_path / "checkpoint.pth")
    encoder = empty(10)
    assert len(load_encoder_weights(encoder, tmp_path / "checkpoint.pth").matched) == 39
    assert (encoder.norm1.bias == 2).all()


@pytest.mark.parametrize("name", ["last.model", "checkpoint.pth"])
def test_the_folder_of_a_run(tmp_path, name):
    with torch.device("meta"):
        modules = build_desd("res3d10", 5, use_bn_in_head=True)
    student, teacher = (numbered({key: value.shape for key, value in module.state_dict().items()})
                        for module in modules)
    teacher = {key: value + 0.5 for key, value in teacher.items()}
    torch.save({"format": 1, "student": student, "teacher": teacher, "optimizer": {"lr": 0.1},
                "desd_loss": {"center": torch.zeros(1, 5)}}, tmp_path / name)
    if name == "last.model":
        (tmp_path / "config.json").write_text('{"method": "desd"}')
    encoder = empty(10)
    report = load_encoder_weights(encoder, tmp_path)
    assert len(report.matched) == 39
    assert all(torch.equal(value, teacher[f"backbone.{key}"])
               for key, value in encoder.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "encoder.", "network.encoder."])
@pytest.mark.parametrize("form", ["pth", "state_dict", "network", "safetensors"])
def test_files_of_an_encoder_or_of_a_network_on_it(tmp_path, prefix, form):
    state = small_state(prefix=prefix) | {"network.decoder.weight": torch.ones(2)}
    path = tmp_path / f"weights.{form}"
    if form == "safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    else:
        torch.save(state if form == "pth" else {form: state, "epoch": 3}, path)
    assert len(load_encoder_weights(empty(10), path).matched) == 39


@pytest.mark.parametrize("wrap", [Network, lambda: SideOutputs(Network(), 2)],
                         ids=["network", "side outputs"])
def test_networks_on_the_encoder(tmp_path, wrap):
    torch.save(small_state(), tmp_path / "weights.pth")
    network = wrap()
    before = [value.clone() for name, value in network.state_dict().items() if "decoder" in name]
    report = load_encoder_weights(network, tmp_path / "weights.pth")
    assert report.matched == tuple(on_meta(10).state_dict())
    after = [value for name, value in network.state_dict().items() if "decoder" in name]
    assert all(map(torch.equal, before, after))
    assert not any(value.isnan().any() for value in network.parameters())


def test_other_networks_are_refused(tmp_path):
    torch.save(small_state(), tmp_path / "weights.pth")
    for network in (nn.Linear(2, 2), SideOutputs(nn.Conv3d(1, 2, 1), 2)):
        with pytest.raises(ValueError, match="(Linear|Conv3d) has no 3D ResNet.*resnet50-unet"):
            load_encoder_weights(network, tmp_path / "weights.pth")


@pytest.mark.parametrize(("there", "here", "counts"), [
    (18, 10, r"39 of 39 entries .100.0 % of the values. of the network's encoder"),
    (10, 18, r"39 of 63 entries .43.2 %"),
    (50, 10, r"23 of 39 entries .65.6 %"),
])
def test_another_depth_is_told(tmp_path, there, here, counts):
    torch.save(small_state(there), tmp_path / "weights.pth")
    encoder = empty(here)
    with pytest.warns(UserWarning, match=f"{counts}.*of depth {there}, the network has one of "
                                         f"depth {here}: --network resnet{there}-unet"):
        report = load_encoder_weights(encoder, tmp_path / "weights.pth")
    left = {name for name, value in encoder.state_dict().items() if value.isnan().any()}
    assert left == set(encoder.state_dict()) - set(report.matched)
    assert set(report.unmatched) | set(report.matched) == set(report.sizes)


def test_images_of_other_channels_are_told(tmp_path):
    torch.save(small_state(), tmp_path / "weights.pth")
    with pytest.warns(UserWarning, match=r"38 of 39 entries .99.3 %.*conv1.weight: of shape "
                                         r"\(64, 1, 7, 7, 7\) in the file, \(64, 4, 7, 7, 7\)"):
        report = load_encoder_weights(resnet3d(10, in_channels=4), tmp_path / "weights.pth")
    assert set(report.unmatched) == {"conv1.weight"}


def test_nothing_is_written_where_nothing_fits(tmp_path):
    encoder, state = empty(10), small_state()
    torch.save({name: value[None] if name not in ("conv1.weight", "norm1.weight") else value[:7]
                for name, value in state.items()}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="39 entries have the same name and another shape"):
        load_encoder_weights(encoder, tmp_path / "weights.pth")
    assert all(value.isnan().all() for value in encoder.parameters())


def test_a_copy_is_independent_of_the_file(tmp_path):
    torch.save(small_state(), tmp_path / "weights.pth")
    encoder = empty(10)
    load_encoder_weights(encoder, tmp_path / "weights.pth")
    (tmp_path / "weights.pth").write_bytes(b"")
    assert (encoder.norm1.bias == 2).all()


def test_depth_of():
    assert [depth_of(on_meta(depth).state_dict()) for depth in (10, 34, 101)] == [10, 34, 101]
    assert depth_of({"layer1.0.conv1.weight": 0}) is None and depth_of({}) is None
    state = {f"model.module.{name}": value for name, value in on_meta(18).state_dict().items()}
    assert resnet_depth(state) == 18 and resnet_depth({"a": torch.ones(1)}) is None


def test_files_without_an_encoder(tmp_path):
    run = tmp_path / "new.exp"
    run.mkdir()
    (run / "config.json").write_text('{"method": "desd"}')
    heads = {name: shape for name, shape in KEYS["checkpoint_teacher_ddp"].items()
             if "head" in name}
    torch.save({"teacher": numbered(heads)}, tmp_path / "heads.pth")
    torch.save({"network": {"network.conv.weight": torch.ones(1)}}, tmp_path / "unet.model")
    torch.save({"conv1.weight": torch.ones(64, 3, 7, 7), "layer1.0.conv1.weight": torch.ones(1)},
               tmp_path / "resnet2d.pth")
    torch.save(small_state(prefix="a.") | small_state(prefix="b."), tmp_path / "two.pth")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    torch.save({"teacher": {}}, tmp_path / "nothing.pth")
    torch.save({1: torch.ones(1)}, tmp_path / "numbers.pth")
    for name, words in {
            "absent.exp": "no such file", "new.exp": "after the first epoch",
            "heads.pth": "No weight matches.*The file has teacher.module.head.mlp.0.weight, .*18.*"
                         "; the network has conv1.weight",
            "unet.model": "The file has network.network.conv.weight; the network has conv1.weight",
            "resnet2d.pth": r"conv1.weight, of shape \(64, 3, 7, 7\) in the file",
            "two.pth": "several sets .* fit equally, under 'a.', 'b.'",
            "list.pth": "no state dict.*it is a list", "nothing.pth": "its keys: teacher",
            "numbers.pth": "no state dict.*its keys: 1"}.items():
        with pytest.raises(ValueError, match=f"{name}: .*{words}"):
            load_encoder_weights(empty(10), tmp_path / name)


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.98])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_files_that_were_cut(tmp_path, kept, zipped):
    path = tmp_path / "checkpoint.pth"
    torch.save(small_state(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(ValueError, match="checkpoint.pth: cannot be read as weights"):
        read_weights(path)


def test_files_of_something_else(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no header here")
    (tmp_path / "text.pth").write_text("conv1.weight")
    with pytest.raises(ValueError, match="not a safetensors file"):
        read_weights(tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        read_weights(tmp_path / "text.pth")


class Harmful:
    """Calls `function` when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("wrap", [
    lambda harm: harm,
    lambda harm: {"teacher": small_state(), "args": namespace(hook=harm)},
    lambda harm: {"teacher": small_state() | {"conv1.weight": harm}},
], ids=["bare", "in the settings", "as a tensor"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_no_code_in_a_file_is_run(tmp_path, wrap, zipped):
    path, proof = tmp_path / "harm.pth", tmp_path / "proof"
    for function, argument, name in ((os.system, f"touch {proof}", "(posix|nt).system"),
                                     (eval, f"open({str(proof)!r}, 'w')", "eval"),
                                     (exec, f"open({str(proof)!r}, 'w')", "exec"),
                                     (subprocess.call, ["touch", proof], "commands.call")):
        torch.save(wrap(Harmful(function, argument)), path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match=f"asks for {name} while.*another source") as refused:
            read_weights(path)
        assert "weights_only=False" not in str(refused.value)
    path.write_bytes(pickle.dumps(Harmful(os.mkdir, str(proof)), protocol=2))
    with pytest.raises(ValueError, match="asks for (posix|nt).mkdir"):
        read_weights(path)
    assert not proof.exists()


def test_settings_are_ignored_and_leave_nothing_allowed(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    args = namespace(best=0.1, seed=np.int64(3), sizes=[np.float32(0.5), np.float64(2)])
    torch.save(authors_checkpoint(args=args), tmp_path / "checkpoint.pth")
    assert len(load_encoder_weights(empty(50), tmp_path / "checkpoint.pth").matched) == 159
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize(("thing", "name"), [
    (Path("runs"), r"pathlib\.\S*Path"), (partial(int, "3"), "functools.partial"),
    (np.zeros(2), r"numpy\.\S*_reconstruct"), (np.linspace, r"numpy\.linspace")])
def test_settings_with_other_objects_are_refused_by_name(tmp_path, thing, name):
    torch.save(authors_checkpoint(args=namespace(thing=thing)), tmp_path / "checkpoint.pth")
    with pytest.raises(ValueError, match=f"holds a {name} beside its weights.*never loaded"):
        read_weights(tmp_path / "checkpoint.pth")


def test_the_way_out_of_a_refusal_works(tmp_path):
    path = tmp_path / "check point.pth"
    torch.save(authors_checkpoint(args=namespace(output_dir=Path("runs"))), path)
    with pytest.raises(ValueError, match="export the teacher alone") as refused:
        read_weights(path)
    python, *arguments = shlex.split(str(refused.value).splitlines()[-1])
    assert python == "python"
    subprocess.run([sys.executable, *arguments], check=True)
    assert len(load_encoder_weights(empty(50), arguments[-1]).matched) == 159
