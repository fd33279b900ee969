"""What is read of a file of weights, and what is no such file."""

import pickle

import pytest
import torch

from networks import read_weights


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
                        "list.pth": "no state dict.*a list", "number.pth": "its keys: a",
                        "nothing.pth": "its keys: none"}.items():
        with pytest.raises(ValueError, match=words):
            read_weights(tmp_path / name)


def test_dicts_in_dicts_are_made_one_and_what_is_no_tensor_is_left_out(tmp_path):
    content = {"model": {"a.weight": torch.ones(2), "epoch": 3, 5: torch.ones(1)},
               "list": [torch.ones(1)], "sparse": torch.eye(2).to_sparse(),
               "meta": torch.empty(2, device="meta")}
    content["model"]["itself"] = content
    torch.save(content, tmp_path / "weights.pth")
    assert list(read_weights(tmp_path / "weights.pth")) == ["model.a.weight"]


def test_one_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.full((100,), 7.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((100,), 7.0).numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="weights.pth: .*checksum of .*data/0 in it is wrong"):
        read_weights(path)
