"""What the scripts say, and leave behind, when they cannot do what was asked."""

import gzip
import shutil

import nibabel
import numpy as np
import pytest

SMALL = ("--filters", 4, 8, 8, "--img_size", 16, 16, 16, "--device", "cpu", "--epochs", 1,
         "--training_split", 2, "--validation_split", 1)
NAME = ("--experiment", "Hippocampus_nnUnet_Test.exp")


@pytest.fixture
def data(phantoms, tmp_path):
    """A copy of six phantoms to spoil."""
    copy = tmp_path / "data"
    shutil.copytree(phantoms("hippocampus", 6, (24, 24, 24)), copy)
    return copy


def spoil(data):
    """Give four cases a defect each; returns their ids by defect."""
    folder = data / "Task04_Hippocampus"
    ids = sorted(path.name.removesuffix(".nii.gz") for path in (folder / "imagesTr").iterdir())
    truncated, values, shape, affine = ids[:4]

    image = folder / "imagesTr" / f"{truncated}.nii.gz"
    image.write_bytes(image.read_bytes()[:-200])

    def rewrite(case_id, change):
        path = folder / "labelsTr" / f"{case_id}.nii.gz"
        label = nibabel.load(path)
        array, grid = change(np.asarray(label.dataobj).copy(), label.affine.copy())
        nibabel.save(nibabel.Nifti1Image(array, grid), path)

    def odd_values(array, grid):
        array[:2, :3, :1] = 7
        return array, grid

    def moved(array, grid):
        grid[0, 3] += 5
        return array, grid

    rewrite(values, odd_values)
    rewrite(shape, lambda array, grid: (array[:-1], grid))
    rewrite(affine, moved)
    return truncated, values, shape, affine


@pytest.mark.parametrize("script", ["train_basic.py", "train_SelfDistil_Original.py"])
def test_every_bad_file_is_named_once_and_nothing_is_written(data, run_script, tmp_path, script):
    truncated, values, shape, affine = spoil(data)
    done = run_script(script, data, "_", *NAME, *SMALL)
    assert done.returncode == 2
    assert "4 problem(s) in 6 cases" in done.stderr
    for case_id, found in ((truncated, "cannot be read"), (values, "7 (6 voxels)"),
                           (shape, "differs from the image's"), (affine, "5 mm")):
        line, = (line for line in done.stderr.splitlines() if line.startswith(f"  {case_id}:"))
        assert found in line and ".nii.gz" in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "experiments").exists()


def test_unpaired_and_damaged_files_are_named_together(data, run_script, tmp_path):
    images = data / "Task04_Hippocampus" / "imagesTr"
    alone, damaged = sorted(images.iterdir())[2:4]
    (data / "Task04_Hippocampus" / "labelsTr" / alone.name).unlink()
    damaged.write_bytes(damaged.read_bytes()[:100])
    done = run_script("train_basic.py", data, "_", *NAME, *SMALL)
    assert done.returncode == 2
    assert alone.name in done.stderr and "without its label" in done.stderr
    assert damaged.name in done.stderr and "cannot be read" in done.stderr
    assert not (tmp_path / "experiments").exists()


@pytest.mark.parametrize("make, said", [
    (lambda folder: folder / "nowhere", "no such directory"),
    (lambda folder: folder, "holds none of the folders"),
], ids=["missing", "empty"])
def test_a_wrong_data_folder_is_explained(run_script, tmp_path, make, said):
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run_script("train_basic.py", make(empty), "_", *NAME, *SMALL)
    assert done.returncode == 2 and said in done.stderr and "imagesTr" in done.stderr


def test_folders_without_files_are_explained(run_script, tmp_path):
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / "data" / name).mkdir(parents=True)
    done = run_script("train_basic.py", tmp_path / "data", "_", *NAME, *SMALL)
    assert done.returncode == 2 and "no cases" in done.stderr


@pytest.mark.parametrize("arguments, said", [
    (("--experiment", "Test.exp"), ("--dataset", "mmwhs-ct", "--network", "unetr")),
    (("--experiment", "Hippocampus_VNET_UNETR.exp"),
     ("unetr and vnet", "one of unetr, swinunetr, nnunet, vnet")),
    ((*NAME, "--img_size", 20, 20, 20), ("multiple", "(16, 16, 16)", "(32, 32, 32)")),
    ((*NAME, "--epochs", 0, "--lr", -1), ("--epochs 0", "--lr -1")),
    ((*NAME, "--img_size", 32, 32), ("expected 3 arguments",)),
], ids=["unsaid", "two networks", "size", "two at once", "two numbers"])
def test_wrong_settings_end_before_the_data_are_read(run_script, tmp_path, arguments, said):
    done = run_script("train_SelfDistil_Original.py", tmp_path / "nowhere", "_", *arguments)
    assert done.returncode == 2
    assert all(words in done.stderr for words in said), done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "experiments").exists()


def test_an_experiment_is_not_replaced_unasked(data, run_script, tmp_path):
    first = run_script("train_basic.py", data, "_", *NAME, *SMALL)
    assert first.returncode == 0, first.stderr
    model = tmp_path / "experiments" / NAME[1] / "last.model"
    before = model.read_bytes()
    again = run_script("train_basic.py", data, "_", *NAME, *SMALL)
    assert again.returncode == 2 and "--overwrite" in again.stderr
    assert model.read_bytes() == before
    replaced = run_script("train_basic.py", data, "_", *NAME, *SMALL, "--overwrite", "--seed", 1)
    assert replaced.returncode == 0, replaced.stderr
    assert model.read_bytes() != before


def test_a_loss_that_is_not_finite_ends_with_status_1(data, run_script, tmp_path):
    done = run_script("train_basic.py", data, "_", *NAME, *SMALL, "--lr", "1e30")
    assert done.returncode == 1
    assert done.stderr.count("not finite any more") == 1 and "epoch 1" in done.stderr
    assert "Traceback" not in done.stderr
    folder = tmp_path / "experiments" / NAME[1]
    assert not (folder / "last.model").exists()
    assert "Traceback" in next(folder.glob("*.log")).read_text()


def test_eval_without_a_run_lists_those_there_are(run_script, tmp_path):
    (tmp_path / "experiments" / "Other.exp").mkdir(parents=True)
    (tmp_path / "experiments" / "Other.exp" / "config.json").write_text("{}")
    done = run_script("eval.py", "--experiment", "Missing.exp")
    assert done.returncode == 2 and "Other.exp" in done.stderr
    done = run_script("eval.py", "--experiment", "Other.exp")
    assert done.returncode == 2 and "config.json" in done.stderr


def test_a_damaged_checkpoint_is_named(data, run_script, tmp_path):
    first = run_script("train_basic.py", data, "_", *NAME, *SMALL)
    assert first.returncode == 0, first.stderr
    model = tmp_path / "experiments" / NAME[1] / "best.model"
    model.write_bytes(model.read_bytes()[:1000])
    done = run_script("eval.py", "--experiment", NAME[1], "--device", "cpu")
    assert done.returncode == 2 and "best.model" in done.stderr and "damaged" in done.stderr


def test_the_phantoms_are_whole_gzip_files(data):
    """The spoiling above would prove nothing on files that were broken from the start."""
    for path in (data / "Task04_Hippocampus" / "imagesTr").iterdir():
        assert gzip.decompress(path.read_bytes())


def test_several_processes_are_refused_where_one_does_all(run_process, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = run_process("cross_validate.py", "DATA", "--dataset", "hippocampus", "--network",
                       "nnunet", "--method", "dsd")
    assert done.returncode == 2
    assert "torchrun started 2 processes" in done.stderr
    assert not list(tmp_path.iterdir())
