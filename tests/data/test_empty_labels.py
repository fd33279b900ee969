"""Cases of nothing but background are scored as they are and cropped at random."""

import nibabel
import numpy as np
import pytest

from configs import training_config
from data import run_volumes, select_cases, training_loader
from data.checks.inputs import find_inputs, verify_inputs
from system.files import write_json

SIZE = (16, 16, 12)


@pytest.fixture
def selection_of(tmp_path):
    """selection_of(ids of empty cases, *flags) -> settings and cases of a run on five cases."""

    def make(empty, *flags):
        rng = np.random.default_rng(0)
        for number in range(5):
            label = np.zeros(SIZE, np.uint8)
            label[4:8, 4:8, 4:8] = number not in empty
            for folder, array in (("imagesTr", rng.normal(50, 9, SIZE)), ("labelsTr", label)):
                (tmp_path / folder).mkdir(exist_ok=True)
                nibabel.save(nibabel.Nifti1Image(array.astype(np.float32), np.eye(4)),
                             tmp_path / folder / f"case{number}.nii.gz")
        ids = [f"case{number}" for number in range(5)]
        write_json(tmp_path / "splits.json", [{"train": ids[1:], "val": ids[:1]}])
        config = training_config("dsd", [
            str(tmp_path), "_", "--dataset", "hippocampus", "--network", "nnunet", "--img_size",
            "16", "16", "16", "--splits", str(tmp_path / "splits.json"), *flags])
        return config, select_cases(config)

    return make


@pytest.mark.filterwarnings("ignore:.*doubtful")
def test_they_train_and_validate_with_one_warning(selection_of):
    config, selection = selection_of({0, 1, 2, 3})
    with pytest.warns(UserWarning, match=r"3 of 4 training cases have no foreground .*at random"):
        training, validation = run_volumes(config, selection)
    assert not validation[0]["label"].any()
    batches = list(training_loader(training, selection.dataset, config.img_size, 1, seed=0))
    seen = {batch["case_id"][0]: bool(batch["label"].any()) for batch in batches}
    assert seen == {"case1": False, "case2": False, "case3": False, "case4": True}


@pytest.mark.filterwarnings("ignore:.*doubtful")
@pytest.mark.parametrize("cache", ["memory", "off"])
def test_a_run_without_any_foreground_is_refused(selection_of, cache):
    config, selection = selection_of(set(range(5)), "--cache", cache)
    with pytest.raises(ValueError, match="none of the 4 training cases has any foreground"):
        run_volumes(config, selection)


@pytest.mark.filterwarnings("ignore:.*doubtful")
def test_predictions_may_be_scored_on_them(selection_of, tmp_path):
    _, selection = selection_of({2})
    cases, problems = find_inputs([tmp_path / "imagesTr"], tmp_path / "labelsTr")
    with pytest.warns(UserWarning, match="case2: .*has no foreground voxel"):
        verify_inputs(cases, selection.dataset, problems)
