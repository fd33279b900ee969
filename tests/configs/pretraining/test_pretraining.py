"""Settings of pre-training: the authors' values, the tiny recipe over them, flags over both."""

import json

import pytest

from configs import PretrainingConfig, pretraining_config, read_config, read_pretraining_config
from configs.pretraining.pretraining import TINY
from configs.pretraining.pretraining_parser import range_problems, warn_of_rates

WORDS = ["DATA", "LIST", "--output_dir", "DeSD.exp"]


def settings(*flags):
    return pretraining_config([*WORDS, *map(str, flags)])


def test_defaults_are_the_values_of_the_authors_launcher():
    config = settings()
    assert (config.arch, config.out_dim, config.use_bn_in_head) == ("res3d50", 60000, True)
    assert (config.epochs, config.batch_size_per_gpu, config.optimizer) == (300, 32, "sgd")
    assert (config.lr, config.min_lr, config.warmup_epochs) == (0.3, 0.048, 10)
    assert (config.weight_decay, config.weight_decay_end, config.clip_grad) == (1e-6, 1e-6, 0)
    assert (config.warmup_teacher_temp, config.teacher_temp) == (0.04, 0.07)
    assert (config.warmup_teacher_temp_epochs, config.momentum_teacher) == (20, 0.996)
    assert (config.freeze_last_layer, config.local_crops_number, config.amp) == (1, 0, "none")
    assert (config.crop_size, config.saveckp_freq, config.seed) == ((16, 96, 96), 50, 0)


def test_the_rate_scales_with_the_tiles_of_a_step():
    assert settings().scaled_lr(6) == pytest.approx(0.225, abs=1e-15)
    assert settings("--batch_size_per_gpu", 64).scaled_lr(1) == pytest.approx(0.075, abs=1e-15)


def test_tiny_is_over_the_defaults_and_flags_are_over_tiny():
    config = settings("--tiny", "--epochs", 7, "--crop_size", 16, 96, 64)
    assert config.arch == TINY["arch"] == "res3d10"
    assert config.epochs == 7 and config.crop_size == (16, 96, 64)
    assert config.teacher_temp == 0.07
    assert not range_problems(config.to_dict())


@pytest.mark.parametrize(("word", "amp"), [("True", "fp16"), ("false", "none"), ("1", "fp16")])
def test_booleans_are_spelled_as_in_the_authors_launcher(word, amp):
    config = settings("--use_fp16", word, "--use_bn_in_head", "False")
    assert config.amp == amp and config.use_bn_in_head is False


def test_a_word_that_is_no_boolean_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        settings("--use_bn_in_head", "perhaps")
    assert stopped.value.code == 2 and "must be true or false" in capsys.readouterr().err


def test_everything_wrong_is_said_at_once():
    with pytest.raises(ValueError) as refused:
        settings("--epochs", 5, "--lr", -1, "--crop_size", 16, 32, 32, "--momentum_teacher", 1.5,
                 "--out_dim", 1)
    lines = str(refused.value).splitlines()
    assert lines[0] == "These settings cannot be used:"
    assert [line.split()[0] for line in lines[1:]] == [
        "--out_dim", "--momentum_teacher", "--lr", "--warmup_epochs",
        "--warmup_teacher_temp_epochs", "--crop_size"]
    assert "is longer than --epochs 5; give at most 5" in str(refused.value)


def test_epochs_as_long_as_the_warm_up_are_enough():
    assert settings("--epochs", 20).epochs == 20
    with pytest.raises(ValueError, match="--warmup_teacher_temp_epochs 20: is longer"):
        settings("--epochs", 19)


@pytest.mark.parametrize(("crop", "local", "problem"), [
    ((16, 32, 32), 0, "--crop_size 16 32 32"), ((16, 64, 64), 4, "--local_crops_number 4"),
    ((16, 64, 64), 0, None), ((16, 96, 96), 4, None), ((17, 32, 32), 4, None),
    ((0, 96, 96), 0, "at least 1")])
def test_views_must_leave_more_than_one_voxel_to_normalise(crop, local, problem):
    values = settings().to_dict() | {"crop_size": crop, "local_crops_number": local}
    problems = range_problems(values)
    assert len(problems) == (problem is not None)
    assert problem is None or problem in problems[0]


def test_a_rate_that_rises_instead_of_decaying_is_warned_of(recwarn):
    warn_of_rates(settings(), 6)   # 0.225 to 0.048
    warn_of_rates(settings("--tiny"), 1)
    assert not recwarn
    with pytest.warns(UserWarning, match=r"peak of 0.0375 at 32 tiles a step.*--min_lr 0.008"):
        warn_of_rates(settings(), 1)


def test_a_config_survives_its_file(tmp_path):
    config = settings("--tiny", "--clip_grad", 3)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert read_pretraining_config(tmp_path) == config
    assert PretrainingConfig.from_dict({k: v for k, v in config.to_dict().items()
                                        if k != "center_momentum"}) == config
    with pytest.raises(ValueError, match="--init_from .* --encoder_only"):
        read_config(tmp_path)


def test_a_segmentation_run_is_not_resumed_as_pre_training(tmp_path):
    (tmp_path / "config.json").write_text('{"method": "dsd"}')
    with pytest.raises(ValueError, match="is a run of segmentation"):
        read_pretraining_config(tmp_path)
    with pytest.raises(ValueError, match="no run here"):
        read_pretraining_config(tmp_path / "absent")


def test_show_settings_says_where_each_value_comes_from(capsys):
    with pytest.raises(SystemExit) as stopped:
        settings("--tiny", "--lr", 0.5, "--show_settings")
    assert stopped.value.code == 0
    rows = {line.split()[0]: line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert rows["lr"] == "flag" and rows["arch"] == "--tiny" and rows["teacher_temp"] == "authors"
