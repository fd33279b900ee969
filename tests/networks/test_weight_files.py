"""Files of weights of every origin, and a network that starts from one."""

import argparse
import json
import pickle
import warnings

import pytest
import torch
from safetensors.torch import save_file

from networks import build_network, read_weights, start_from
from networks.desd import build_desd


def small(seed=0):
    torch.manual_seed(seed)
    return build_network("nnunet", 1, 2, (8, 8, 8), True, filters=(2, 3, 4))


def unet(depth=10, seed=0):
    torch.manual_seed(seed)
    return build_network(f"resnet{depth}-unet", 1, 2, (64, 32, 32), True,
                         decoder_widths=(4, 4, 4, 4))


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
        found = read_weights(path)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], state[name]) for name in state)


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("code in a file of weights was run",))


def test_files_that_are_no_weights(tmp_path):
    (tmp_path / "empty.exp").mkdir()
    (tmp_path / "empty.exp" / "last.model").write_bytes(b"")
    (tmp_path / "bad.safetensors").write_bytes(b"no header here")
    (tmp_path / "bad.pth").write_bytes(b"PK\x03\x04 cut")
    (tmp_path / "code.pth").write_bytes(pickle.dumps(Harmful(), protocol=2))
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    torch.save({"a": 1}, tmp_path / "number.pth")
    torch.save({}, tmp_path / "nothing.pth")
    for name, words in {"empty.exp": "best.model: no such file.*beside it: last.model",
                        "absent.pth": "no such file of weights",
                        "bad.safetensors": "not a safetensors file",
                        "bad.pth": "cannot be read as weights", "code.pth": "never loaded",
                        "list.pth": "no state dict", "number.pth": "no state dict",
                        "nothing.pth": "no state dict"}.items():
        with pytest.raises(ValueError, match=words):
            read_weights(tmp_path / name)

@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """pretrained(depth) -> the folder of a pre-training, and its teacher's encoder."""
    made = {}

    def make(depth):
        if depth not in made:
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
            made[depth] = folder, teacher
        return made[depth]

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
        found = read_weights(path)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


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
    with pytest.warns(UserWarning, match=f"depth {there}, .* depth {here}: {count} of the encoder "
                                         f"could be copied. --network resnet{there}-unet"):
        start_from(network, folder, "encoder")
    stem = network.network.encoder.norm1.bias
    assert torch.equal(stem, teacher.backbone.norm1.bias)


def test_a_network_with_another_encoder_is_told_which_to_take(pretrained):
    network = small()
    with pytest.raises(ValueError, match="ResNet of depth 10, .* has not: give --network resnet10"):
        start_from(network, pretrained(10)[0])


def test_a_run_on_the_encoder_gives_all_or_the_encoder(tmp_path):
    other = unet(seed=2)
    torch.save({"format": 1, "network": other.state_dict()}, tmp_path / "best.model")
    network = unet()
    assert start_from(network, tmp_path).unmatched == {}
    report = start_from(unet(), tmp_path / "best.model", "encoder")
    assert {name.split(".")[1] for name in report.matched} == {"encoder"}


def test_a_pretraining_without_a_finished_epoch(tmp_path):
    (tmp_path / "config.json").write_text('{"method": "desd"}')
    with pytest.raises(ValueError, match="no last.model.*after the first epoch"):
        read_weights(tmp_path)
