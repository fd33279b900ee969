"""Files of weights of every origin, and a network that starts from one."""

import argparse
import copy
import json
import warnings
from functools import cache

import pytest
import torch
from safetensors.torch import save_file

from configs.pretraining.pretraining import METHOD
from networks import (
    build_network,
    load_encoder_weights,
    read_weights,
    start_from,
)
from networks.resnet.desd import build_desd


def small(seed=0):
    torch.manual_seed(seed)
    return build_network("nnunet", 1, 2, (8, 8, 8), True, filters=(2, 3, 4))


@cache
def made(depth, seed):
    torch.manual_seed(seed)
    return build_network(f"resnet{depth}-unet", 1, 2, (64, 32, 32), True,
                         decoder_widths=(4, 4, 4, 4))


def unet(depth=10, seed=0):
    return copy.deepcopy(made(depth, seed))


def encoder():
    return unet().network.encoder


def test_every_form_of_a_file_is_read(tmp_path):
    state = small().state_dict()
    run = tmp_path / "a.exp"
    run.mkdir()
    torch.save({"format": 1, "network": state, "history": [], "config": {"epochs": 2}},
               run / "best.model")
    torch.save(state, tmp_path / "weights.pth")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "other.ckpt")
    save_file({name: value.clone() for name, value in state.items()},
              tmp_path / "weights.safetensors")
    for path in (run, run / "best.model", str(tmp_path / "weights.pth"), tmp_path / "other.ckpt",
                 tmp_path / "weights.safetensors"):
        network = small(seed=1)
        assert start_from(network, path).unmatched == {}
        assert all(torch.equal(value, state[name])
                   for name, value in network.state_dict().items())


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """pretrained(depth) -> the folder of a pre-training, and its teacher's encoder."""
    folders = {}

    def make(depth):
        if depth not in folders:
            torch.manual_seed(5)
            student, teacher = build_desd(f"res3d{depth}", 16, use_bn_in_head=True)
            with torch.no_grad():  # so that it cannot be taken for the student
                teacher.backbone.norm1.bias.fill_(7)
            folder = tmp_path_factory.mktemp("desd") / "DeSD.exp"
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps({"method": "desd"}))
            torch.save({"format": 1, "student": student.state_dict(),
                        "teacher": teacher.state_dict(), "optimizer": {"state": {}},
                        "desd_loss": {"center": torch.zeros(1, 16)}}, folder / "last.model")
            folders[depth] = folder, teacher
        return folders[depth]

    return make


def test_every_form_of_a_pretraining_gives_its_teachers_encoder(pretrained, tmp_path):
    folder, teacher = pretrained(10)
    authors = {f"module.{name}": value for name, value in teacher.state_dict().items()}
    (tmp_path / "authors").mkdir()
    torch.save({"student": {}, "teacher": authors, "epoch": 3,
                "args": argparse.Namespace(lr=0.3)}, tmp_path / "authors" / "checkpoint.pth")
    torch.save(authors, tmp_path / "teacher.pt")
    expected = teacher.backbone.state_dict()
    for path in (folder, folder / "last.model", tmp_path / "authors",
                 tmp_path / "authors" / "checkpoint.pth", tmp_path / "teacher.pt"):
        alone = encoder()
        assert len(load_encoder_weights(alone, path).matched) == 39
        assert all(torch.equal(value, expected[name])
                   for name, value in alone.state_dict().items())


@pytest.mark.parametrize("part", ["encoder", "network"])
def test_a_network_starts_from_a_pretraining(pretrained, part):
    folder, teacher = pretrained(10)
    network = unet(seed=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = start_from(network, folder, part)
    assert report.encoder_count() == "39 of 39 of the encoder"
    assert "39 of 39 of the encoder" in str(report).splitlines()[0]
    after = network.state_dict()
    encoder = {f"network.encoder.{name}": value
               for name, value in teacher.backbone.state_dict().items()}
    assert set(report.matched) == set(encoder)
    assert all(torch.equal(after[name], encoder.get(name, before[name])) for name in after)


@pytest.mark.parametrize(("there", "here", "count"), [(10, 18, "39 of 63"), (18, 10, "39 of 39")])
def test_another_depth_is_warned_of_with_the_network_that_fits(pretrained, there, here, count):
    folder, teacher = pretrained(there)
    network = unet(here, seed=1)
    with pytest.warns(UserWarning, match=f"{count} entries .*depth {there}, .* depth {here}: "
                                         f"--network resnet{there}-unet"):
        start_from(network, folder, "encoder")
    stem = network.network.encoder.norm1.bias
    assert torch.equal(stem, teacher.backbone.norm1.bias)


def test_a_network_with_another_encoder_is_told_which_to_take(pretrained):
    network = small()
    with pytest.raises(ValueError, match="depth 10, .* does not have: give --network resnet10"):
        start_from(network, pretrained(10)[0])


def encoder_state(prefix=""):
    """Of a ResNet-10 whose values are 1, 2, ... by the order of their names, stored as one each."""
    return {f"{prefix}{name}": torch.tensor(number + 1.0).expand(value.shape)
            for number, (name, value)
            in enumerate(made(10, 0).network.encoder.state_dict().items())}


def wrapped(*keys):
    """An encoder's state dict under these: "a" is a key of the file, "a." a prefix of names."""
    state = encoder_state()
    for key in reversed(keys):
        state = ({f"{key}{name}": value for name, value in state.items()} if key.endswith(".")
                 else {key: state, "epoch": 3})
    return state


@pytest.mark.parametrize("keys", [
    (), ("module.",), ("_orig_mod.",), ("module.", "_orig_mod."), ("_orig_mod.", "module."),
    ("encoder.",), ("module.", "encoder."), ("encoder.", "_orig_mod."), ("state_dict", "module."),
    ("student", "module.", "backbone."), ("model", "backbone."), ("network_weights", "encoder."),
    ("model", "state_dict", "_orig_mod.", "module."), ("state_dict", "model", "student"),
    ("whatever", "of.", "mine.")], ids="/".join)
def test_wrappers_of_weights_are_seen_through(tmp_path, keys):
    torch.save(wrapped(*keys), tmp_path / "weights.pth")
    network, alone = unet(), encoder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = start_from(network, tmp_path / "weights.pth")
        load_encoder_weights(alone, tmp_path / "weights.pth")
    assert report.encoder_count() == "39 of 39 of the encoder"
    for name, value in encoder_state().items():
        assert torch.equal(network.state_dict()[f"network.encoder.{name}"], value)
        assert torch.equal(alone.state_dict()[name], value)


def test_the_teacher_is_taken_of_two_and_others_are_not_guessed(tmp_path):
    student = {name: torch.zeros_like(value) for name, value in encoder_state().items()}
    pair = {f"{who}.backbone.{name}": value for who, state in (("student", student),
            ("teacher", encoder_state())) for name, value in state.items()}
    for content in (pair, {"student": student, "teacher": encoder_state()}):
        torch.save(content, tmp_path / "pair.pth")
        network = unet()
        start_from(network, tmp_path / "pair.pth")
        assert (network.network.encoder.norm1.bias == 3).all()
    torch.save({"model": student, "ema": encoder_state()}, tmp_path / "pair.pth")
    with pytest.raises(ValueError, match="pair.pth: .*fit equally, under 'model.', 'ema.'"):
        start_from(unet(), tmp_path / "pair.pth")
    torch.save(encoder_state() | {f"module.{name}": value for name, value in student.items()},
               tmp_path / "pair.pth")
    with pytest.raises(ValueError, match="conv1.weight twice, with and without one of module"):
        start_from(unet(), tmp_path / "pair.pth")


@pytest.mark.parametrize(("change", "words"), [
    (lambda name: name.replace("norm", "bn"),
     r"21 of 39 entries .99.9 %.*norm1.weight: not in the file;.*18 entries without a place, such "
     r"as \S*bn1.weight"),
    (lambda name: None if name.startswith(("layer3", "layer4")) else f"module.{name}",
     r"21 of 39 entries .6.4 % of the values. of the network's encoder"),
    (lambda name: name if name == "norm1.bias" else f"student.strange.{name}a",
     r"1 of 39 entries .0.0 % of"),
])
def test_a_part_is_warned_of_with_its_share(tmp_path, change, words):
    state = {change(name): value for name, value in encoder_state().items() if change(name)}
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    for start in (lambda: start_from(unet(), tmp_path / "weights.pth"),
                  lambda: load_encoder_weights(encoder(), tmp_path / "weights.pth")):
        with pytest.warns(UserWarning, match=words):
            start()


def test_another_number_of_classes_is_warned_of_and_side_heads_are_not(tmp_path):
    other = build_network("nnunet", 1, 5, (8, 8, 8), filters=(2, 3, 4))
    torch.save({"network": other.state_dict()}, tmp_path / "other.model")
    with pytest.warns(UserWarning, match=r"of the network could be copied.*output_block.*"
                                         r"\(5, 2, 1, 1, 1\) in the file"):
        start_from(small(), tmp_path / "other.model")
    basic = build_network("nnunet", 1, 2, (8, 8, 8), filters=(2, 3, 4))
    torch.save({"network": basic.state_dict()}, tmp_path / "basic.model")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start_from(small(), tmp_path / "basic.model")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e39])
def test_values_that_are_not_finite_in_the_network_are_refused(tmp_path, value):
    state = encoder_state()
    last = state["layer4.0.norm2.bias"] = torch.ones(512, dtype=torch.float64)
    last[5] = value  # 1e39 is finite in float64 alone
    torch.save({"model": state}, tmp_path / "weights.pth")
    network, alone = unet(), encoder()
    before = {name: entry.clone() for name, entry in network.state_dict().items()}
    for start in (lambda: start_from(network, tmp_path / "weights.pth"),
                  lambda: load_encoder_weights(alone, tmp_path / "weights.pth")):
        with pytest.raises(ValueError, match="weights.pth: 1 of 39 entries .* not finite .*"
                                             "layer4.0.norm2.bias"):
            start()
    assert all(torch.equal(before[name], entry) for name, entry in network.state_dict().items())
    state["fc.weight"] = torch.full((2,), torch.nan)  # nobody's
    last[5] = 0
    torch.save({"model": state}, tmp_path / "weights.pth")
    assert len(load_encoder_weights(alone, tmp_path / "weights.pth").matched) == 39


def test_a_refusal_names_what_the_file_has(tmp_path):
    torch.save({"generator": {"a.weight": torch.ones(2)}, "optimizer": {"lr": 1}},
               tmp_path / "gan.pth")
    with pytest.raises(ValueError, match="gan.pth: No weight matches.*The file has "
                                         "generator.a.weight; the network has network.encoder"):
        start_from(unet(), tmp_path / "gan.pth")


def test_a_run_on_the_encoder_gives_all_or_the_encoder(tmp_path):
    other = unet(seed=2)
    torch.save({"format": 1, "network": other.state_dict()}, tmp_path / "best.model")
    network = unet()
    assert start_from(network, tmp_path).unmatched == {}
    report = start_from(unet(), tmp_path / "best.model", "encoder")
    assert {name.split(".")[1] for name in report.matched} == {"encoder"}


def test_a_pretraining_without_a_finished_epoch(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"method": METHOD}))
    with pytest.raises(ValueError, match="no last.model.*after the first epoch"):
        read_weights(tmp_path)


def test_a_run_folder_whose_config_is_damaged(tmp_path):
    for content in (b"{", b"[" * 100_000, b"\xff\xfe\x00"):
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(ValueError, match="config.json: is not valid JSON"):
            read_weights(tmp_path)
