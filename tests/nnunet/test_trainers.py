"""DSD inside nnU-Net v2 on real cases: plan, preprocess, train, go on, predict. `make nnunet`."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed here: make nnunet")
pytest.importorskip("dsd3d.nnunet", reason="dsd3d is not installed here: make nnunet")

DATASET = "Dataset004_Hippocampus"
TRAINERS = ["nnUNetTrainerDSD", "nnUNetTrainerDSDNoKL", "nnUNetTrainerDSDEnsemble"]
SHORT = """
import os
import torch
from dsd3d.nnunet.trainers import nnUNetTrainerDSD

class nnUNetTrainerDSDShort(nnUNetTrainerDSD):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = int(os.environ["EPOCHS"])
        self.num_iterations_per_epoch = 3
        self.num_val_iterations_per_epoch = 1
"""


@pytest.fixture(scope="module")
def work(hippocampus_dir, tmp_path_factory):
    """nnU-Net's folders with ten real cases, planned and preprocessed; networks made small."""
    folder = tmp_path_factory.mktemp("nnunet")
    raw = folder / "raw" / DATASET
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (raw / name).mkdir(parents=True)
    cases = sorted(path.name.removesuffix(".nii.gz")
                   for path in (hippocampus_dir / "imagesTr").glob("hippo*.nii.gz"))[:11]
    for case in cases[:10]:
        shutil.copy(hippocampus_dir / "imagesTr" / f"{case}.nii.gz",
                    raw / "imagesTr" / f"{case}_0000.nii.gz")
        shutil.copy(hippocampus_dir / "labelsTr" / f"{case}.nii.gz", raw / "labelsTr")
    shutil.copy(hippocampus_dir / "imagesTr" / f"{cases[10]}.nii.gz",
                raw / "imagesTs" / f"{cases[10]}_0000.nii.gz")
    (raw / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "MRI"}, "numTraining": 10, "file_ending": ".nii.gz",
        "labels": {"background": 0, "Anterior": 1, "Posterior": 2}}))
    (folder / "trainers").mkdir()
    (folder / "trainers" / "short.py").write_text(SHORT)
    patch = pytest.MonkeyPatch()
    for variable, value in {"nnUNet_raw": folder / "raw", "nnUNet_preprocessed": folder / "pre",
                            "nnUNet_results": folder / "results", "nnUNet_n_proc_DA": 1,
                            "nnUNet_def_n_proc": 1, "OMP_NUM_THREADS": 1}.items():
        patch.setenv(variable, str(value))
    command("nnUNetv2_plan_and_preprocess", "-d", 4, "-c", "2d", "3d_fullres", "-np", 1, 1,
            "--verify_dataset_integrity")
    command("nnUNetv2_plan_experiment", "-d", 4, "-pl", "nnUNetPlannerResEncM")
    for path in (folder / "pre" / DATASET).glob("*Plans.json"):
        plans = json.loads(path.read_text())
        for plan in plans["configurations"].values():
            plan["batch_size"] = 2
            plan["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 6, 8, 10]
        path.write_text(json.dumps(plans))
    yield folder
    patch.undo()


def command(name, *arguments, **environment):
    """What one of nnU-Net's commands printed."""
    done = subprocess.run([Path(sys.executable).parent / name, *map(str, arguments)],
                          capture_output=True, text=True, timeout=500,
                          env=os.environ | environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def build(name, configuration="3d_fullres", plans="nnUNetPlans"):
    """A trainer as nnUNetv2_train makes it, with its network."""
    from dsd3d.nnunet import search_here
    from nnunetv2.run.run_training import get_trainer_from_args

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_extTrainer", os.path.dirname(search_here.__file__))
        trainer = get_trainer_from_args("4", configuration, 0, name, plans,
                                        device=torch.device("cpu"))
    trainer.initialize()
    return trainer


def batch_of(trainer):
    plan = trainer.configuration_manager
    torch.manual_seed(0)
    shape = (plan.batch_size, 1, *plan.patch_size)
    return {"data": torch.randn(shape), "target": [torch.randint(0, 3, shape).to(torch.int16)]}


def test_the_commands_from_plan_to_prediction_and_on_after_a_stop(work):
    folder = command_folder()
    train = ("nnUNetv2_train", 4, "3d_fullres", 0, "-tr", "nnUNetTrainerDSDShort", "-device", "cpu")
    path = os.pathsep.join([folder, str(work / "trainers")])
    printed = command(*train, nnUNet_extTrainer=path, EPOCHS="1")
    assert "'kl_enc'" in printed and "'dice_ce_dec1'" in printed
    run = work / "results" / DATASET / "nnUNetTrainerDSDShort__nnUNetPlans__3d_fullres"
    first = torch.load(run / "fold_0" / "checkpoint_final.pth", weights_only=False)
    assert (first["trainer_name"], first["current_epoch"]) == ("nnUNetTrainer", 1)
    assert not [name for name in first["network_weights"] if "head" in name]
    assert sorted(name.split(".")[0] for name in first["dsd_heads"])[0] == "level0"

    printed = command(*train, "--c", nnUNet_extTrainer=path, EPOCHS="2")
    assert "Epoch 1\n" in printed.replace(" \n", "\n") and "Epoch 0" not in printed
    second = torch.load(run / "fold_0" / "checkpoint_final.pth", weights_only=False)
    assert second["current_epoch"] == 2
    assert not (run / "fold_0" / "checkpoint_final.pth.unfinished").exists()

    # Where nobody has heard of DSD.
    code = ("import sys; sys.modules['dsd3d'] = None; from nnunetv2.inference import "
            "predict_from_raw_data as predict; predict.predict_entry_point()")
    done = subprocess.run(
        [sys.executable, "-c", code, "-d", "4", "-c", "3d_fullres", "-f", "0", "-tr",
         "nnUNetTrainerDSDShort", "-device", "cpu", "-i", work / "raw" / DATASET / "imagesTs",
         "-o", work / "predicted", "--disable_tta"], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    image_file, = (work / "raw" / DATASET / "imagesTs").glob("*.nii.gz")
    image = nibabel.load(image_file)
    label_map = nibabel.load(work / "predicted" / image_file.name.replace("_0000", ""))
    assert label_map.shape == image.shape
    assert np.allclose(label_map.affine, image.affine)
    assert set(np.unique(label_map.get_fdata())) <= {0, 1, 2}


def command_folder():
    """What `python -m dsd3d.nnunet` prints."""
    done = subprocess.run([sys.executable, "-m", "dsd3d.nnunet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("plans", ["nnUNetPlans", "nnUNetResEncUNetMPlans"])
@pytest.mark.parametrize("configuration", ["3d_fullres", "2d"])
@pytest.mark.parametrize("name", TRAINERS)
def test_a_step_moves_all_that_it_may_and_the_state_is_the_plain_network(work, name, configuration,
                                                                         plans):
    trainer = build(name, configuration, plans)
    batch = batch_of(trainer)
    trainer.network.train()
    before = {key: value.clone() for key, value in trainer.network.named_parameters()}
    trainer.on_train_epoch_start()
    losses = [float(trainer.train_step(batch)["loss"]) for _ in range(2)]
    assert np.isfinite(losses).all()
    for key, value in trainer.network.named_parameters():  # DDP wants a gradient for each
        assert value.requires_grad == (value.grad is not None), key
        assert value.requires_grad == (not torch.equal(value, before[key])), key
    trainer.network.eval()
    with torch.no_grad():
        found = trainer.validation_step(batch)
    assert found["tp_hard"].shape == (2,)

    trainer.save_checkpoint(str(work / "saved.pth"))
    plain = build("nnUNetTrainer", configuration, plans)
    plain.set_deep_supervision_enabled(False)
    saved = torch.load(work / "saved.pth", weights_only=False)
    plain.network.load_state_dict(saved["network_weights"])  # strictly
    trainer.set_deep_supervision_enabled(False)
    with torch.no_grad():
        assert torch.equal(plain.network.eval()(batch["data"]), trainer.network(batch["data"]))
    again = build(name, configuration, plans)
    again.load_checkpoint(str(work / "saved.pth"))
    for key, value in trainer.network.named_parameters():
        assert torch.equal(value, dict(again.network.named_parameters())[key]), key


def test_side_outputs_have_the_loss_of_the_library_and_the_main_one_nnunets(work):
    from dsd3d.losses import dsd_loss

    trainer = build("nnUNetTrainerDSD")
    batch = batch_of(trainer)
    network = trainer.network.train()
    loss = trainer.loss(network(batch["data"]), batch["target"])
    whole = network.all_outputs(batch["data"])
    assert [len(whole[branch]) for branch in ("dec", "enc")] == [3, 3]
    total, terms = dsd_loss(whole, batch["target"][0])
    main = trainer.loss.main(whole["out"], batch["target"][0])
    assert loss.item() == pytest.approx((total - terms["dice_ce_out"] + main).item(), rel=1e-4)
    network.eval()
    assert trainer.loss(network(batch["data"]), batch["target"]).item() == pytest.approx(
        trainer.loss.main(network.network(batch["data"]), batch["target"][0]).item())


def test_the_kl_grows_with_the_epochs(work):
    trainer = build("nnUNetTrainerDSDEnsemble")
    trainer.num_epochs, shares = 10, []
    for epoch in (0, 1, 3, 9):
        trainer.current_epoch = epoch
        trainer.on_train_epoch_start()
        shares.append(trainer.loss.side.kl_share)
    assert shares == pytest.approx([0, 1 / 3, 1, 1])


def test_a_compiled_network_gives_the_same(work):
    trainer = build("nnUNetTrainerDSD")
    data = batch_of(trainer)["data"]
    network = trainer.network.train()
    compiled = torch.compile(network, backend="aot_eager")
    expected, found = network(data), compiled(data)
    assert torch.allclose(expected[0], found[0], atol=1e-5)
    for branch in (1, 2):
        for one, other in zip(expected[branch], found[branch], strict=True):
            assert torch.allclose(getattr(one, "feature", one), getattr(other, "feature", other),
                                  atol=1e-4)


def test_options_of_ones_own_as_the_docs_have_them():
    page = Path(__file__).resolve().parent.parent.parent / "docs" / "nnunet.md"
    found = {}
    exec(re.search(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[1], found)
    trainer = found["nnUNetTrainerDSDWarm"]
    loss = trainer._build_side_loss()
    assert loss.options["temperature"] == 2.0 and loss.options["detach_teacher"]
    assert trainer.kl_ramp == 0.2


def test_what_dsd_is_not_for_is_refused_at_once_and_leaves_nothing(work):
    from dsd3d.nnunet.trainers import nnUNetTrainerDSD

    plans = json.loads((work / "pre" / DATASET / "nnUNetPlans.json").read_text())
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = "dynamic_network_architectures.architectures.primus.Primus"

    class Wrong(nnUNetTrainerDSD):
        teacher, temperature, kl_ramp = "ema", -1.0, 2.0

    about = {"labels": {"background": 0, "whole": [1, 2], "part": 2, "ignore": 3}}
    with pytest.raises(ValueError, match="Wrong: the labels whole are regions.*ignore label.*is a "
                                         "Primus.*\"ema\" needs.*kl_ramp.*temperature must be"):
        Wrong(plans | {"continue_training": False}, "3d_fullres", 0, about, torch.device("cpu"))
    assert not list((work / "results").rglob("Wrong*"))


def test_a_checkpoint_without_heads_is_not_gone_on_with(work):
    plain = build("nnUNetTrainer")
    plain.save_checkpoint(str(work / "plain.pth"))
    with pytest.raises(ValueError, match="plain.pth: has no heads of DSD.*-pretrained_weights"):
        build("nnUNetTrainerDSD").load_checkpoint(str(work / "plain.pth"))


def test_weights_of_a_plain_network_are_taken_to_start_from(work):
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

    plain = build("nnUNetTrainer")
    plain.save_checkpoint(str(work / "plain.pth"))
    trainer = build("nnUNetTrainerDSD")
    load_pretrained_weights(trainer.network, str(work / "plain.pth"))
    expected = plain.network.state_dict()
    for key, value in trainer.network.state_dict().items():
        assert ".seg_layers." in key or torch.equal(value, expected[key]), key
