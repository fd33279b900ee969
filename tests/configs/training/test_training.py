"""Training settings: a flag beats the experiment's name, the name chooses, the recipe fills in."""

import json
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import RECIPES, TrainingConfig, training_config

PUBLISHED = "CT_MMWHS_nnUnet_SelfDist_Original_Fold3.exp"


def config(*flags, method="dsd", experiment=PUBLISHED):
    """The settings of a command line, with a name unless it is None."""
    named = [] if experiment is None else ["--experiment", experiment]
    return training_config(method, ["DATA", "OUT", *named, *map(str, flags)])


def test_a_published_command_needs_no_other_flag():
    run = config("--training_split", 4)
    assert (run.dataset, run.network, run.fold) == ("mmwhs-ct", "nnunet", 3)
    assert (run.data_dir, run.output_model, run.experiment) == (
        str(Path("DATA").resolve()), "OUT", PUBLISHED)
    assert (run.method, run.training_split, run.validation_split) == ("dsd", 4, None)


def test_the_recipe_fills_what_nobody_says():
    run, recipe = config(), RECIPES["mmwhs-ct"]["nnunet"]
    for name in ("epochs", "img_size", "lr", "weight_decay", "lr_schedule", "network_options"):
        assert getattr(run, name) == getattr(recipe, name), name


def test_published_defaults():
    run = config()
    assert (run.alpha, run.temperature, run.include_background) == (1.0, 3.0, True)
    assert (run.seed, run.batch_size, run.overlap, run.val_every) == (100, 1, 0.25, 1)
    assert run.device == "auto"
    assert not (run.overwrite or run.show_verbose or run.use_multi_gpus)


def test_flags_beat_the_recipe():
    run = config("-e", 7, "-size", 32, 48, 64, "--lr", 0.01, "--weight_decay", 0,
                 "--lr_schedule", "constant", "--filters", 8, 16, "-b", 3)
    assert (run.epochs, run.img_size, run.lr, run.weight_decay) == (7, (32, 48, 64), 0.01, 0.0)
    assert (run.lr_schedule, run.network_options) == ("constant", {"filters": (8, 16)})
    assert run.batch_size == 3


def test_a_flag_does_not_change_the_recipe_of_later_runs():
    config("--filters", 8, 16)
    assert config().network_options == {"filters": (32, 64, 128, 256, 320)}


@pytest.mark.parametrize(("kind", "flag", "said"), [
    ("dataset", "hippocampus", "mmwhs-ct"), ("network", "unetr", "nnunet"), ("fold", 2, 3)])
def test_a_flag_beats_the_name_with_a_warning(kind, flag, said):
    with pytest.warns(UserWarning, match=f"--{kind} {flag} is used.* says {said}"):
        assert getattr(config(f"--{kind}", flag), kind) == flag


def test_a_flag_settles_an_ambiguous_name():
    with pytest.warns(UserWarning, match="1 and 2"):
        assert config("--fold", 2, experiment="CT_MMWHS_UNETR_Fold1_Fold2").fold == 2


def test_a_flag_that_agrees_with_the_name_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = config("--dataset", "mmwhs-ct", "--network", "nnunet", "--fold", 3)
    assert run.fold == 3


def test_without_a_name_the_run_is_named_after_its_settings():
    run = config("--dataset", "hippocampus", "--network", "unetr", method="basic", experiment=None)
    assert run.experiment == "hippocampus_unetr_basic_Fold1.exp"
    assert run.fold == 1


def test_only_the_last_part_of_a_path_is_the_name():
    run = config(experiment="/data/hippocampus/fold_9/CT_MMWHS_UNETR_Fold2.exp")
    assert (run.dataset, run.network, run.fold) == ("mmwhs-ct", "unetr", 2)


@pytest.mark.parametrize(("flags", "words"), [
    ((), ("--dataset", "--network", "neither a flag nor", "mmwhs-ct", "unetr",
          "dataset.json")),
    (("--dataset", "hippocampus"), ("--network", "one of unetr, swinunetr, nnunet, vnet")),
])
def test_silence_is_an_error_that_lists_the_choices(flags, words):
    with pytest.raises(ValueError) as raised:
        config(*flags, experiment="first.exp")
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(("name", "words"), [
    ("CT_MMWHS_MR_MMWHS_UNETR", "--dataset: the name .* says mmwhs-ct and mmwhs-mr"),
    ("Hippocampus_nnUnet_VNET", "--network: the name .* says nnunet and vnet"),
    ("Hippocampus_nnUnet_Fold1_Fold2", "--fold: the name .* says 1 and 2"),
])
def test_a_name_that_cannot_be_followed_is_an_error(name, words):
    with pytest.raises(ValueError, match=words):
        config(experiment=name)


def test_every_problem_is_in_one_message():
    with pytest.raises(ValueError) as raised:
        config("--epochs", 0, "--lr", -1, "--overlap", 1, "--feature_size", 16,
               "--img_size", 0, 32, 32)
    message = str(raised.value)
    for name in ("--epochs 0", "--lr -1.0", "--overlap 1.0", "--feature_size", "--img_size"):
        assert name in message
    assert len(message.splitlines()) == 6


def test_encoder_only_is_a_short_form():
    run = config("--init_from", "experiments/DeSD.exp", "--encoder_only")
    assert run == config("--init_from", "experiments/DeSD.exp", "--init_part", "encoder")
    assert run.init_part == "encoder"
    assert config("--init_from", "experiments/DeSD.exp").init_part == "network"


def test_the_two_ways_to_say_the_part_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as stop:
        config("--init_from", "a.exp", "--encoder_only", "--init_part", "network")
    assert stop.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_the_optimiser_is_adamw_unless_said():
    assert config().optimizer == "adamw"
    run = config("--optimizer", "sgd", "--lr", 0.01, "--lr_schedule", "poly")
    assert (run.optimizer, run.lr, run.lr_schedule) == ("sgd", 0.01, "poly")
    with pytest.warns(UserWarning, match="--optimizer sgd: .* give --lr, such as 0.01"):
        config("--optimizer", "sgd")


def test_a_name_and_nothing_else_fine_tunes():
    run = config("--init_from", "DeSD.exp", "--encoder_only",
                 experiment="Hippocampus_ResNet50UNet_DeSD_SelfDist_Fold1.exp")
    assert (run.network, run.img_size, run.network_options) == ("resnet50-unet", (64, 64, 48), {})
    assert (run.lr, run.weight_decay, run.lr_schedule) == (2e-4, 1e-4, "poly")


@pytest.mark.parametrize(("name", "method", "fields"), [
    ("CT_MMWHS_UNETR_DeepSuperOnly_Fold1", "dsd", {"distil": "none"}),
    ("CT_MMWHS_UNETR_SelfDistil_DistMaps_Fold1", "dsd", {"shape_priors": True}),
    ("CT_MMWHS_UNETR_SelfDist_Original_Fold1", "dsd", {"distil": "both", "shape_priors": False}),
    ("CT_MMWHS_UNETR_Basic_Fold1", "basic", {"distil": "both", "shape_priors": False}),
])
def test_the_name_says_the_variant(name, method, fields):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = config(experiment=name, method=method)
    assert {field: getattr(run, field) for field in fields} == fields


def test_a_flag_beats_the_variant_of_the_name():
    assert config("--distil", "decoder", experiment="Hippocampus_VNET_DeepSuperOnly").distil == (
        "decoder")


@pytest.mark.parametrize(("name", "method", "script"), [
    ("Hippocampus_UNETR_Basic", "dsd", "train_basic.py trains with it"),
    ("Hippocampus_UNETR_SelfDist_Original", "basic", "train_SelfDistil_Original.py trains with"),
    ("Hippocampus_UNETR_DeepSuperOnly", "basic", "train_SelfDistil_Original.py trains with"),
])
def test_the_wrong_script_for_a_name_is_warned_of(name, method, script):
    with pytest.warns(UserWarning, match=script):
        assert config(experiment=name, method=method).method == method


def test_an_older_run_has_the_defaults_of_settings_it_does_not_know():
    run = config()
    old = {name: value for name, value in run.to_dict().items()
           if name not in ("upsampling", "optimizer")}
    assert TrainingConfig.from_dict(old) == run


def test_settings_survive_json_with_nested_strides():
    run = config("--filters", 4, 8, 16, "--strides", 1, "1,2,2", 2, "--kernel_size", 3, "1,3,3", 3)
    assert run.network_options == {"filters": (4, 8, 16), "strides": (1, (1, 2, 2), 2),
                                   "kernel_size": (3, (1, 3, 3), 3)}
    assert TrainingConfig.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_strides_are_shown_apart(capsys):
    with pytest.raises(SystemExit):
        config("--filters", 4, 8, 16, "--strides", 1, 2, "1,2,2", "--show_settings")
    assert "filters=4,8,16 strides=1 2 1,2,2 " in capsys.readouterr().out


def test_one_kernel_stands_for_all_levels():
    assert config("--kernel_size", "1,3,3").network_options["kernel_size"] == ((1, 3, 3),)
    assert config("--kernel_size", 5).network_options["kernel_size"] == (5,)


@pytest.mark.parametrize(("flags", "switch"), [
    (("--init_part", "encoder"), "init_from"), (("--encoder_only",), "init_from"),
    (("--beta_step", 0.1), "shape_priors"),
    (("--distance_unit", "voxel"), "shape_priors")])
def test_a_flag_without_what_it_needs_is_warned_of(flags, switch):
    with pytest.warns(UserWarning, match=f"has no effect without --{switch}"):
        config(*flags)


@pytest.mark.parametrize("kind", ["memory", "off"])
def test_a_folder_of_a_cache_that_is_not_on_disk_is_warned_of(kind):
    with pytest.warns(UserWarning, match=f"--cache_dir here: has no effect with --cache {kind}"):
        config("--cache", kind, "--cache_dir", "here")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = config("--cache_dir", "here")
    assert (run.cache, run.cache_dir) == ("disk", "here")


def test_a_network_of_ones_own_takes_any_option():
    run = config("--dataset", "hippocampus", "--network", "my.nets:small", "--network_options",
                 "width=8", "norm=batch", "blocks=[1, 2]", experiment=None)
    assert (run.network, run.network_options) == (
        "my.nets:small", {"width": 8, "norm": "batch", "blocks": (1, 2)})
    assert (run.img_size, run.experiment) == ((32, 32, 32), "hippocampus_small_dsd_Fold1.exp")


def test_no_normalize_is_the_intensity_none():
    assert config("--no_normalize").intensity == config("--intensity", "none").intensity == "none"
    assert config().intensity is None


def test_show_settings_prints_each_value_with_its_source_and_stops(capsys):
    with pytest.raises(SystemExit) as stop:
        config("--epochs", 7, "--show_settings", method="basic",
               experiment="multimodalMR_MSD_BraTS_SwinUNETR_Basic")
    assert stop.value.code == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[2:]}
    assert rows["epochs"] == ["7", "flag"]
    assert rows["dataset"] == ["msd-brats", "name"]
    assert rows["network_options"] == ["feature_size=12", "recipe"]
    assert rows["lr"] == ["0.0001", "recipe"]
    assert rows["seed"] == ["100", "default"]
    assert rows["method"] == ["basic", "script"]
    assert rows["spacing_mm"] == ["unchanged", "dataset"]
    assert rows["init_from"] == ["none", "default"]
    assert not any(words[0] == "-" for words in rows.values())
    assert set(rows) == set(TrainingConfig.__dataclass_fields__)


def test_fast_leaves_to_the_device_what_no_flag_says(capsys):
    fast, plain = config("--fast", "--amp", "fp16"), config()
    assert (fast.amp, fast.compile, fast.fused, fast.tf32, fast.channels_last) == (
        "fp16", None, None, None, None)
    assert (plain.amp, plain.compile, plain.fused, plain.tf32, plain.channels_last) == (
        "off", False, False, False, False)
    with pytest.raises(SystemExit):
        config("--fast", "--amp", "fp16", "--show_settings")
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[2:]}
    assert (rows["amp"], rows["fused"]) == (["fp16", "flag"], ["device's", "--fast"])


def test_speed_that_cannot_be_had_is_refused_at_once():
    with pytest.raises(ValueError, match="--use_checkpoint: is an option of swinunetr") as raised:
        config("--use_checkpoint")
    assert "the network is nnunet" in str(raised.value)
    assert config("--use_checkpoint", experiment="CT_MMWHS_SwinUNETR_Fold1.exp").use_checkpoint


@pytest.mark.parametrize("method", ["basic", "dsd"])
def test_an_underscore_means_no_export(method):
    argv = ["DATA", "_", "--dataset", "mmwhs-ct", "--network", "nnunet"]
    assert training_config(method, argv).output_model is None


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 999), st.lists(st.integers(1, 256), min_size=3, max_size=3),
       st.floats(1e-8, 10), st.floats(0, 0.99), st.integers(0, 2**32 - 1))
def test_flags_arrive_unchanged(epochs, img_size, lr, overlap, seed):
    run = config("--epochs", epochs, "--img_size", *img_size, "--lr", lr, "--overlap", overlap,
                 "--seed", seed)
    assert (run.epochs, run.img_size, run.seed) == (epochs, tuple(img_size), seed)
    assert (run.lr, run.overlap) == (lr, overlap)


def of_classes(tmp_path, *names):
    """Flags for a dataset of these classes besides the background."""
    labels = {"0": "background"} | {str(n): name for n, name in enumerate(names, 1)}
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"name": "Mine", "modality": {"0": "CT"}, "labels": labels}))
    return ["--dataset", path, "--network", "nnunet"]


def test_one_class_and_no_background_leave_nothing_to_distil(tmp_path):
    flags = of_classes(tmp_path, "spleen")
    with pytest.raises(ValueError, match="--exclude_background: leaves one class out of two"):
        config(*flags, "--exclude_background", experiment="A.exp")
    with pytest.warns(UserWarning, match="--shape_priors: .* the run has no distillation"):
        config(*flags, "--shape_priors", experiment="A.exp")
    assert config(*flags, experiment="A.exp").include_background
    alone = config(*flags, "--exclude_background", "--distil", "none", experiment="A.exp")
    assert alone.distil == "none"
    two = of_classes(tmp_path, "spleen", "liver")
    assert not config(*two, "--exclude_background", experiment="A.exp").include_background
