"""Which training settings are refused, and how."""

import pytest

from configs import training_config

NNUNET = ("--dataset", "hippocampus", "--network", "nnunet")
UNETR = ("--dataset", "hippocampus", "--network", "unetr")


def config(*flags, method="dsd"):
    """The settings of a command line without an experiment's name."""
    return training_config(method, ["DATA", "_", *map(str, flags)])


@pytest.mark.parametrize(("flag", "values"), [
    ("epochs", (0,)), ("epochs", (-5,)), ("batch_size", (0,)), ("num_crops", (0,)), ("fold", (0,)),
    ("fold", (-1,)),
    ("training_split", (-1,)), ("validation_split", (0,)), ("val_every", (0,)),
    ("window_batch", (0,)), ("feature_size", (0,)), ("img_size", (32, 0, 32)),
    ("img_size", (32, 32, -1)), ("lr", (0,)), ("lr", (-1e-3,)), ("lr", ("nan",)),
    ("lr", ("inf",)), ("weight_decay", (-0.5,)), ("weight_decay", ("nan",)), ("alpha", (-0.1,)),
    ("alpha", ("inf",)), ("temperature", (0,)), ("temperature", (-1,)), ("num_workers", (-1,)),
    ("hint_weight", (-1,)), ("beta_step", ("nan",)), ("num_folds", (0,)), ("num_folds", (1,)),
    ("window", (3, 3)), ("spacing", (1, 0, 1)), ("spacing", (1, 1, "nan")), ("seed", (-1,)),
    ("seed", (2**64,)), ("overlap", (1,)), ("overlap", (-0.1,)), ("overlap", ("nan",)),
])
def test_values_out_of_range_are_refused_by_name(flag, values):
    with pytest.raises(ValueError, match=rf"--{flag}\b.*must be"):
        config(*UNETR, "--shape_priors", f"--{flag}", *values)


def test_filters_out_of_range_are_refused_by_name():
    with pytest.raises(ValueError, match="--filters 16 0: every number must be at least 1"):
        config(*NNUNET, "--filters", 16, 0)


def test_a_fold_zero_in_the_name_is_refused():
    with pytest.raises(ValueError, match="fold"):
        config("--experiment", "Hippocampus_nnUnet_Fold0.exp")


@pytest.mark.parametrize(("flag", "values", "kept"), [
    ("epochs", (1,), 1), ("fold", (1,), 1), ("weight_decay", (0,), 0.0), ("alpha", (0,), 0.0),
    ("num_workers", (0,), 0), ("seed", (0,), 0), ("seed", (2**64 - 1,), 2**64 - 1),
    ("overlap", (0,), 0.0), ("overlap", (0.99,), 0.99),
    ("temperature", (1e-3,), 1e-3), ("img_size", (1, 1, 1), (1, 1, 1)),
])
def test_the_ends_of_the_ranges_are_allowed(flag, values, kept):
    assert getattr(config(*UNETR, f"--{flag}", *values), flag) == kept


@pytest.mark.parametrize(("network", "flag"), [(NNUNET, "feature_size"), (UNETR, "filters")])
def test_an_option_of_the_other_network_is_refused(network, flag):
    with pytest.raises(ValueError, match=rf"--{flag}: is an option of [\w ]+, but the network is"):
        config(*network, f"--{flag}", 16)


def test_each_network_takes_its_own_option():
    assert config(*UNETR, "--feature_size", 8).network_options == {"feature_size": 8}
    assert config(*NNUNET, "--filters", 4, 8).network_options == {"filters": (4, 8)}


def test_distillation_flags_reach_the_settings():
    run = config(*NNUNET, "--alpha", 0.5, "--temperature", 2, "--exclude_background")
    assert (run.alpha, run.temperature, run.include_background) == (0.5, 2.0, False)


def test_methods_reach_the_settings():
    run = config(*NNUNET, "--distil", "encoder", "--detach_teacher", "--supervise_encoder",
                 "--upsampling", "trilinear", "--hint_weight", 1e-4, "--shape_priors",
                 "--distance_unit", "voxel", "--beta_start", 0, "--beta_step", 0.01)
    assert (run.distil, run.detach_teacher, run.supervise_encoder) == ("encoder", True, True)
    assert (run.upsampling, run.hint_weight) == ("trilinear", 1e-4)
    assert (run.shape_priors, run.distance_unit) == (True, "voxel")
    assert (run.beta_start, run.beta_step) == (0.0, 0.01)


@pytest.mark.parametrize("flags", [("--alpha", 2), ("--temperature", 2), ("--exclude_background",),
                                   ("--distil", "none"), ("--shape_priors",)])
def test_the_basic_command_has_no_distillation_flags(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        config(*NNUNET, *flags, method="basic")
    assert stop.value.code == 2
    assert flags[0] in capsys.readouterr().err


@pytest.mark.parametrize(("argv", "words"), [
    (["DATA", "_", "--img_size", "32", "32"], "--img_size"),
    (["DATA", "_", "--img_size", "32", "32", "3.2"], "invalid int value"),
    (["DATA", "_", "--dataset", "liver"], "invalid choice: 'liver'"),
    (["DATA", "_", "--network", "unet"], "invalid choice: 'unet'"),
    (["DATA", "_", "--network", "os.path"], "package.module:factory"),
    (["DATA", "_", "--strides", "1,2"], "must be one number, or three"),
    (["DATA", "_", "--network_options", "8"], "must be NAME=VALUE"),
    (["DATA", "_", "--epochs", "two"], "invalid int value"),
    (["DATA", "_", "--lr_schedule", "cosine"], "invalid choice"),
    (["DATA", "_", "--no_such_flag"], "unrecognized arguments"),
    (["DATA", "_", "--epoch", "2"], "unrecognized arguments: --epoch"),
    (["DATA"], "OUTPUT"),
    ([], "DATA, OUTPUT"),
])
def test_what_the_parser_refuses_exits_2(argv, words, capsys):
    with pytest.raises(SystemExit) as stop:
        training_config("basic", argv)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
