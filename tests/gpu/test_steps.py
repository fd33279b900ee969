"""One training step of everything on a GPU that is not there: devices, waits, determinism."""

import pytest

from tests.gpu import runs

SPEEDS = {"plain": (), "fp16": ("--amp", "fp16"),
          "bf16": ("--amp", "bf16", "--channels_last", "--fused")}
OPTIONS = [
    ("--distil", "decoder"), ("--distil", "encoder"), ("--distil", "none"),
    ("--exclude_background",), ("--detach_teacher",), ("--supervise_encoder",),
    ("--upsampling", "single"), ("--upsampling", "trilinear"), ("--hint_weight", 1e-4),
    ("--side_weights", "halved"), ("--teacher", "main"), ("--teacher", "ensemble"),
    ("--teacher", "ema"), ("--kl_where", "right"), ("--kl_where", "boundary"),
    ("--kl_ramp", 0.5), ("--encoder_heads", "own"), ("--shape_priors",),
    ("--optimizer", "sgd", "--lr", 0.01), ("--num_crops", 3), ("--batch_size", 2), ("--tf32",),
]


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("method", ["basic", "dsd"])
@pytest.mark.parametrize("network", runs.TINY)
def test_a_step_waits_for_nothing_and_is_deterministic(fake, network, method, speed):
    first, = fake(runs.steps, method, network, *runs.TINY[network], *SPEEDS[speed],
                  "--deterministic")
    assert first["waits"] == [] and first["refused"] == {}
    assert first["launches"] > 100 and first["flops"] > 0 and first["peak"] > 0


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: " ".join(map(str, option)))
def test_an_option_waits_for_nothing_and_is_deterministic(fake, option):
    found = fake(runs.steps, "dsd", "nnunet", *runs.TINY["nnunet"], "--amp", "bf16",
                 "--deterministic", *option, number=2)
    assert [step["waits"] for step in found] == [[], []]
    assert [step["refused"] for step in found] == [{}, {}]


def test_what_determinism_refuses_is_seen(fake):
    first, = fake(runs.steps, "dsd", "nnunet", *runs.TINY["nnunet"], "--upsampling", "trilinear")
    assert set(first["refused"]) == {"upsample_trilinear3d_backward"}


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_validation_and_prediction_stay_on_the_gpu(fake, amp):
    logits, shape, label_map = fake(runs.validate_and_predict, "nnunet", *runs.TINY["nnunet"],
                                    "--amp", amp)
    assert (logits, shape, label_map) == ({"cuda"}, (40, 40, 40), "cpu")


def test_a_validated_volume_is_waited_for_once(fake):
    """For its counts, of 64^3 voxels in several slabs; what predicts them waits besides."""
    steps, summary = fake(runs.validate, 3, *runs.TINY["nnunet"])
    assert "managers/segmentation/volume_counts.py" not in {line.split(":")[0] for _, line in steps}
    assert [name for name, _ in summary] == ["copy to cpu"] * 3


def test_counts_follow_the_slabs_to_the_cpu(fake):
    assert fake(runs.count_on_both_devices) == ("cpu", ["copy to cpu"] * 2)


@pytest.mark.parametrize("network", ["nnunet", "unetr"])
def test_what_dsd_costs(fake, network):
    """96^3, 8 classes, 2 crops, bf16, as the recipes' networks are; first and later steps."""
    flags = (network, "--img_size", 96, 96, 96, "--amp", "bf16", "--fused")
    basic, dsd = (fake(runs.steps, method, *flags, number=2) for method in ("basic", "dsd"))
    for alone, distilled in zip(basic, dsd, strict=True):
        assert distilled["launches"] <= 1.3 * alone["launches"]
        assert distilled["bytes"] <= 1.35 * alone["bytes"]
        assert distilled["peak"] <= 1.1 * alone["peak"]


@pytest.mark.parametrize("flags", [
    ("--optimizer", "sgd"), ("--optimizer", "lars", "--clip_grad", 1, "--amp", "bf16"),
    ("--optimizer", "adamw", "--clip_grad", 1), ("--optimizer", "adamw", "--amp", "fp16")],
    ids=lambda flags: " ".join(map(str, flags)))
def test_a_desd_step(fake, flags):
    for step in fake(runs.desd_steps, *flags):
        assert step["refused"] == {}
        waiting = {name for name, _ in step["waits"]}
        assert waiting == ({"_local_scalar_dense"} if "fp16" in flags else set())  # the scaler's


def test_counts_by_hand(fake):
    found = fake(runs.small_things)
    assert "cuda" in found.pop("mixed")
    launches = {name: count["launches"] for name, count in found.items()}
    assert launches == {"add": 2, "fill": 1, "view": 0, "product": 1, "item": 1, "mask": 2,
                        "to the host": 0, "to the GPU": 1, "to the GPU without waiting": 1,
                        "on the host": 0}
    assert found["add"]["bytes"] == 4000 * (2 + 3) and found["add"]["peak"] == 8000
    assert found["fill"]["bytes"] == 4000 and found["fill"]["peak"] == 0
    assert found["product"]["flops"] == 2 * 10 * 20 * 10
    assert found["product"]["bytes"] == 4 * (2 * 200 + 100)
    waiting = {name for name, count in found.items() if count["waits"]}
    assert waiting == {"item", "mask", "to the host", "to the GPU"}
    (name, line), = found["item"]["waits"]
    assert name == "_local_scalar_dense" and line.startswith("tests/gpu/runs.py:")
