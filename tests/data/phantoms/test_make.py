"""The phantoms look like the real sets on disk, and a seed means the same cases for ever."""

import json

import nibabel
import numpy as np
import pytest

from data.phantoms.make import PHANTOMS, case_id_of, make_case, make_phantoms

SIZE = {
    "mmwhs-ct": (48, 44, 40), "mmwhs-mr": (48, 44, 40), "msd-brats": (48, 44, 40),
    "hippocampus": (32, 40, 24),
}
LABELS = {
    "mmwhs-ct": {0, 205, 420, 500, 550, 600, 820, 850},
    "mmwhs-mr": {0, 205, 420, 500, 550, 600, 820, 850},
    "msd-brats": {0, 1, 2, 3},
    "hippocampus": {0, 1, 2},
}
DATASETS = list(SIZE)


def test_every_phantom_is_covered_here():
    assert set(PHANTOMS) == set(DATASETS)


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_case_holds_every_label(dataset):
    for index in range(6):
        image, label, affine = make_case(dataset, index, SIZE[dataset])
        assert label.shape == SIZE[dataset]
        assert image.shape[:3] == SIZE[dataset]
        assert affine.shape == (4, 4)
        assert set(np.unique(label).tolist()) == LABELS[dataset]
        assert np.isfinite(image).all()


@pytest.mark.parametrize("dataset", DATASETS)
def test_smallest_size_still_holds_every_label(dataset):
    for index in range(4):
        _, label, _ = make_case(dataset, index, (16, 16, 16))
        assert set(np.unique(label).tolist()) == LABELS[dataset]


@pytest.mark.parametrize("dataset", DATASETS)
def test_foreground_is_neither_dust_nor_everything(dataset):
    _, label, _ = make_case(dataset, 1, SIZE[dataset])
    assert 0.01 < (label > 0).mean() < 0.5
    for value in LABELS[dataset] - {0}:
        assert (label == value).sum() >= 20


@pytest.mark.parametrize("dataset", ["mmwhs-ct", "mmwhs-mr"])
def test_hearts_keep_their_size_in_mm_until_voxels_reach_3_mm(dataset):
    widths_mm = []
    for size in [(48, 48, 44), (80, 80, 72)]:
        _, label, affine = make_case(dataset, 2, size)
        spacing_mm = nibabel.affines.voxel_sizes(affine)
        assert spacing_mm.max() <= 3 + 1e-6
        where = np.argwhere(label > 0)
        widths_mm.append(((np.ptp(where, axis=0) + 1) * spacing_mm).max())
    assert all(90 < width < 160 for width in widths_mm)
    _, _, tiny = make_case(dataset, 2, (24, 24, 24))
    assert np.allclose(nibabel.affines.voxel_sizes(tiny), 3)


def test_anatomy_does_not_depend_on_the_number_of_voxels():
    volumes_ml = []
    for size in [(60, 60, 52), (90, 90, 78)]:
        _, label, affine = make_case("mmwhs-ct", 0, size)
        voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
        volumes_ml.append([(label == value).sum() * voxel_ml for value in (205, 500, 820)])
    assert np.allclose(*volumes_ml, rtol=0.05)


def test_ct_is_in_hounsfield_units_with_padding():
    image, label, _ = make_case("mmwhs-ct", 0, SIZE["mmwhs-ct"])
    assert image.dtype == label.dtype == np.int16
    assert image.min() == -1024
    assert 250 < image.max() <= 3071
    assert image[0, 0, 0] == -1024
    assert 50 < np.median(image[label == 205]) < 160
    assert 180 < np.median(image[label == 500]) < 450


def test_mr_is_positive_with_a_gain_per_case():
    medians = []
    for index in range(5):
        image, label, _ = make_case("mmwhs-mr", index, SIZE["mmwhs-mr"])
        assert image.dtype == label.dtype == np.int16
        assert image.min() >= 0
        medians.append(np.median(image[label == 500]))
    assert max(medians) > 1.5 * min(medians)


def test_brain_is_stripped_and_channels_come_last():
    image, label, affine = make_case("msd-brats", 0, SIZE["msd-brats"])
    assert image.shape == (*SIZE["msd-brats"], 4)
    assert (image.dtype, label.dtype) == (np.float32, np.uint8)
    assert image.min() == 0
    assert (image[0] == 0).all()
    assert np.array_equal(affine, [[-1, 0, 0, 0], [0, -1, 0, 43], [0, 0, 1, 0], [0, 0, 0, 1]])
    t1gd = image[..., 2]
    assert np.median(t1gd[label == 3]) > 1.2 * np.median(t1gd[label == 2])


def test_hippocampus_sizes_types_and_gains_vary_as_in_the_real_set():
    cases = [make_case("hippocampus", index) for index in range(40)]
    shapes = np.array([image.shape for image, _, _ in cases])
    assert (shapes >= (31, 40, 24)).all()
    assert (shapes <= (43, 59, 47)).all()
    assert len({tuple(shape) for shape in shapes.tolist()}) > 20
    assert {image.dtype.name for image, _, _ in cases} == {"uint8", "float32"}
    assert {label.dtype.name for _, label, _ in cases} <= {"uint8", "float32"}
    maxima = [float(image.max()) for image, _, _ in cases]
    assert min(maxima) < 300
    assert max(maxima) > 1e5
    for _, label, affine in cases:
        assert nibabel.aff2axcodes(affine) == ("R", "A", "S")
        assert np.argwhere(label == 1)[:, 1].mean() > np.argwhere(label == 2)[:, 1].mean() + 8


@pytest.mark.parametrize("dataset", ["mmwhs-ct", "mmwhs-mr", "msd-brats"])
def test_orientation_is_never_ras_and_varies_for_hearts(dataset):
    affines = [make_case(dataset, index, (16, 16, 16))[2] for index in range(8)]
    codes = {nibabel.aff2axcodes(affine) for affine in affines}
    assert ("R", "A", "S") not in codes
    if dataset.startswith("mmwhs"):
        assert len(codes) > 1
        assert any(np.abs(affine[:3, :3]).astype(bool).sum() > 3 for affine in affines)


LAYOUT = {
    "mmwhs-ct": ["imagesTraining/ct_train_1001_image.nii.gz",
                 "imagesTraining/ct_train_1002_image.nii.gz",
                 "labelsTraining/ct_train_1001_label.nii.gz",
                 "labelsTraining/ct_train_1002_label.nii.gz", "phantoms.json"],
    "mmwhs-mr": ["imagesTraining/mr_train_1001_image.nii.gz",
                 "imagesTraining/mr_train_1002_image.nii.gz",
                 "labelsTraining/mr_train_1001_label.nii.gz",
                 "labelsTraining/mr_train_1002_label.nii.gz", "phantoms.json"],
    "msd-brats": [f"Task01_BrainTumour/{name}" for name in (
        "dataset.json", "imagesTr/BRATS_001.nii.gz", "imagesTr/BRATS_002.nii.gz",
        "labelsTr/BRATS_001.nii.gz", "labelsTr/BRATS_002.nii.gz", "phantoms.json")],
    "hippocampus": [f"Task04_Hippocampus/{name}" for name in (
        "dataset.json", "imagesTr/hippocampus_001.nii.gz", "imagesTr/hippocampus_003.nii.gz",
        "labelsTr/hippocampus_001.nii.gz", "labelsTr/hippocampus_003.nii.gz", "phantoms.json")],
}


def files_below(folder):
    """Return {relative path: bytes}."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("dataset", DATASETS)
def test_files_lie_and_read_as_the_real_ones(dataset, tmp_path):
    ids = make_phantoms(dataset, tmp_path, 2, SIZE[dataset], progress=False)
    assert ids == [case_id_of(dataset, 0), case_id_of(dataset, 1)]
    names = sorted(files_below(tmp_path))
    assert names == sorted(LAYOUT[dataset])
    images = [tmp_path / name for name in names if "images" in name]
    labels = [tmp_path / name for name in names if "labels" in name]
    for index, (image_path, label_path) in enumerate(zip(images, labels, strict=True)):
        image, label = nibabel.load(image_path), nibabel.load(label_path)
        array, label_map, affine = make_case(dataset, index, SIZE[dataset])
        assert image.get_data_dtype() == array.dtype
        assert label.get_data_dtype() == label_map.dtype
        assert np.array_equal(np.asarray(image.dataobj), array)
        assert np.array_equal(np.asarray(label.dataobj), label_map)
        assert np.allclose(image.affine, affine, atol=1e-4)
        assert np.array_equal(image.affine, label.affine)
        assert np.allclose(image.get_qform(), image.get_sform(), atol=1e-3)
        assert image.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("dataset", ["msd-brats", "hippocampus"])
def test_dataset_json_has_the_decathlons_form(dataset, tmp_path):
    make_phantoms(dataset, tmp_path, 3, (16, 16, 16), progress=False)
    task = tmp_path / PHANTOMS[dataset].folder
    content = json.loads((task / "dataset.json").read_text())
    assert content["numTraining"] == len(content["training"]) == 3
    assert set(map(int, content["labels"])) == LABELS[dataset]
    assert len(content["modality"]) == (4 if dataset == "msd-brats" else 1)
    for pair in content["training"]:
        assert (task / pair["image"]).is_file()
        assert (task / pair["label"]).is_file()


@pytest.mark.parametrize("dataset", DATASETS)
def test_same_seed_same_bytes_whatever_the_number_of_cases(dataset, tmp_path):
    for name, num_cases in (("two", 2), ("again", 2), ("three", 3)):
        make_phantoms(dataset, tmp_path / name, num_cases, (24, 24, 24), 5, progress=False)
    two, again, three = (files_below(tmp_path / name) for name in ("two", "again", "three"))
    assert two == again
    cases = [name for name in two if name.endswith(".nii.gz")]
    assert all(three[name] == two[name] for name in cases)
    assert len(three) == len(two) + 2


@pytest.mark.parametrize("dataset", DATASETS)
def test_seeds_and_indices_give_different_cases(dataset):
    labels = [make_case(dataset, index, (24, 24, 24), seed)[1]
              for index, seed in ((0, 0), (1, 0), (0, 1), (1, 1))]
    assert len({label.tobytes() for label in labels}) == 4


def test_hippocampus_numbers_have_gaps():
    ids = [case_id_of("hippocampus", index) for index in range(4)]
    assert ids == [f"hippocampus_{number:03d}" for number in (1, 3, 4, 6)]


def test_a_folder_with_cases_is_refused_unless_they_are_phantoms_to_replace(tmp_path):
    make_phantoms("hippocampus", tmp_path, 3, (16, 16, 16), progress=False)
    before = files_below(tmp_path)
    with pytest.raises(ValueError, match="already holds cases .* --overwrite"):
        make_phantoms("hippocampus", tmp_path, 2, (16, 16, 16), 1, progress=False)
    assert files_below(tmp_path) == before
    make_phantoms("hippocampus", tmp_path, 2, (16, 16, 16), 1, overwrite=True, progress=False)
    after = files_below(tmp_path)
    assert len(after) == len(before) - 2
    name = "Task04_Hippocampus/imagesTr/hippocampus_001.nii.gz"
    assert after[name] != before[name]


def test_real_cases_are_never_overwritten(tmp_path):
    real = tmp_path / "imagesTraining" / "ct_train_1001_image.nii.gz"
    real.parent.mkdir()
    real.write_bytes(b"real")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="already holds cases"):
            make_phantoms("mmwhs-ct", tmp_path, 1, (16, 16, 16), overwrite=overwrite)
    assert files_below(tmp_path) == {"imagesTraining/ct_train_1001_image.nii.gz": b"real"}


@pytest.mark.parametrize(("change", "words"), [
    ({"dataset": "liver"}, "mmwhs-ct, mmwhs-mr, msd-brats, hippocampus"),
    ({"num_cases": 0}, "at least 1"),
    ({"size": (32, 32, 15)}, "at least 16"),
    ({"size": (32, 32)}, "three whole numbers"),
    ({"seed": -1}, "negative"),
])
def test_wrong_arguments_say_what_is_wrong(change, words, tmp_path):
    arguments = {"dataset": "hippocampus", "output": tmp_path / "new", "num_cases": 1, **change}
    with pytest.raises(ValueError, match=words):
        make_phantoms(**arguments, progress=False)
    assert not (tmp_path / "new").exists()
