"""The command line of scripts/export_model.py."""

import pytest

from configs.use.export import export_config


def test_all_that_cannot_be_is_told_at_once():
    with pytest.raises(ValueError, match="--output net.pt: must end in .onnx") as raised:
        export_config(["--experiment", "A.exp", "--format", "onnx", "--output", "net.pt",
                       "--with_side_heads"])
    assert "--with_side_heads: --format onnx has the logits alone" in str(raised.value)


def test_side_heads_are_left_out_unless_asked_for():
    flags = ["--experiment", "A.exp", "--format", "safetensors", "--output", "a.safetensors"]
    assert not export_config(flags).with_side_heads
    assert export_config([*flags, "--with_side_heads"]).with_side_heads
