"""What settings ask of data on disk: grids in the order of the patient, and what is left open."""

import dataclasses
import json

import numpy as np
import pytest

from configs import training_config
from data import DataError, decided_values, measured_grids

AXES = np.array([[0, 0, 2.0, 0], [-0.8, 0, 0, 5], [0, 1.2, 0, -3], [0, 0, 0, 1]])
DEFINITION = {"name": "Mine", "channels": ["T1"], "cases": None,
              "labels": {"0": "background", "1": "lesion"}}


@pytest.fixture
def data(save, tmp_path):
    """data(affine, affine, ...) -> a folder with an image of 9 x 8 x 7 voxels for each."""

    def make(*affines, shape=(9, 8, 7)):
        for number, affine in enumerate(affines):
            save(tmp_path / f"imagesTr/c{number}.nii.gz", np.zeros(shape, np.int16), affine)
            save(tmp_path / f"labelsTr/c{number}.nii.gz", np.zeros(shape, np.uint8), affine)
        return tmp_path

    return make


def test_grids_are_in_the_order_of_the_patient(data):
    """File axis 0 runs to the back with 0.8 mm, 1 to the head with 1.2, 2 to the right with 2."""
    grids = measured_grids(data(np.eye(4), AXES), DEFINITION)
    assert grids.shapes == ((9, 8, 7), (7, 9, 8))
    assert grids.spacings_mm == ((1, 1, 1), (2, 0.8, 1.2))
    assert grids.file_axes == ((0, 1, 2), (2, 0, 1))
    assert not grids.sheared


def test_voxels_in_a_wrong_unit_keep_their_size(data):
    (spacing,) = measured_grids(data(np.diag([1e-6, 1e-6, 2e-6, 1])), DEFINITION).spacings_mm
    assert spacing == (1e-6, 1e-6, 2e-6)


def test_channels_in_one_file_or_in_several(data, save, tmp_path):
    two = DEFINITION | {"channels": ["T1", "T2"]}
    root = data(np.eye(4), shape=(9, 8, 7, 2))
    assert measured_grids(root, two).shapes == ((9, 8, 7),)
    (root / "imagesTr/c0.nii.gz").unlink()
    for number in range(2):
        save(root / f"imagesTr/c0_000{number}.nii.gz", np.zeros((9, 8, 6)))
    assert measured_grids(root, two).shapes == ((9, 8, 6),)


def test_a_tilted_gantry_is_noted(data):
    tilted = np.eye(4)
    tilted[1, 2] = 0.3
    assert measured_grids(data(np.eye(4), tilted), DEFINITION).sheared


def test_headers_that_cannot_be_read_are_left_to_the_verification(data):
    root = data(np.eye(4), np.eye(4))
    (root / "imagesTr/c0.nii.gz").write_bytes(b"damaged")
    assert len(measured_grids(root, DEFINITION).shapes) == 1
    (root / "imagesTr/c1.nii.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match="no image whose header can be read"):
        measured_grids(root, DEFINITION)


def test_what_the_data_set_decides(data, tmp_path):
    root = data(*[np.eye(4)] * 10)
    (tmp_path / "dataset.json").write_text(json.dumps({
        "modality": {"0": "CT"}, "labels": {"0": "background", "1": "lesion"}}))
    config = training_config("basic", [str(root), "_", "--network", "vnet"])
    assert decided_values(config) == {
        "intensity": "ct", "window": [-175.0, 250.0], "spacing_mm": None, "num_crops": 2,
        "training_split": 2, "validation_split": 1}
    elsewhere = dataclasses.replace(config, data_dir=str(tmp_path / "gone"), intensity="zscore")
    assert decided_values(elsewhere) == {"intensity": "zscore", "window": None,
                                         "spacing_mm": None, "num_crops": 2}
