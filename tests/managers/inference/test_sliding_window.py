"""Rolling sliding-window inference against MONAI's, and means over networks and flips."""

import itertools
import warnings

import nibabel
import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from data.nifti.native_files import NativeGrid, ProbabilityFile
from managers import Predictor
from managers.inference.ensemble import MeanLogits
from managers.inference.sliding_window import rolling_logits


class Place(nn.Module):
    """Adds where in its window a voxel is, as transformers know it: 0.01, 0.1, 1 a voxel."""

    def forward(self, windows):
        for axis, step in ((2, 0.01), (3, 0.1), (4, 1.0)):
            at = torch.arange(windows.shape[axis], dtype=windows.dtype)
            windows = windows + step * at.view(-1, *[1] * (4 - axis))
        return windows


@pytest.fixture
def network():
    """Two channels to three classes; the same voxel at another place has other logits."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 3, 1),
                         Place()).eval()


def image_of(*shape):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(5))


def whole(image, predictor, axis=0):
    """The slabs put together, after a look at their rows."""
    parts, rows = [], 0
    for start, slab in predictor.slabs(image, axis):
        assert start == rows
        rows += slab.shape[1 + axis]
        parts.append(slab.clone())
    return torch.cat(parts, 1 + axis)


SHAPES = [(20, 17, 23), (8, 8, 8), (5, 9, 30), (16, 7, 6), (1, 1, 1)]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("shape", "roi", "overlap"), list(itertools.product(
    SHAPES, [(8, 8, 8), (9, 6, 7)], [0, 0.25, 0.5, 0.75])))
def test_logits_are_those_of_monai(network, shape, roi, overlap, axis):
    image = image_of(*shape)
    with torch.no_grad():
        expected = sliding_window_inference(image[None], roi, 4, network, overlap=overlap)[0]
    found = whole(image, Predictor(network, roi, overlap, window_batch=3), axis)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window_batch", [1, 3, 100])
@pytest.mark.parametrize("shape", SHAPES)
def test_whole_logits_are_those_of_monai(network, shape, window_batch):
    image = image_of(*shape)
    with torch.no_grad():
        expected = sliding_window_inference(image[None], (8, 8, 8), 4, network, overlap=0.25)[0]
    found = Predictor(network, (8, 8, 8), 0.25, window_batch).logits(image)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precisions_are_added_up_in_float32(kind):
    """257 windows of one number, which bfloat16 could not count."""
    predictor = Predictor(lambda windows: torch.ones_like(windows, dtype=kind), (257, 1, 1), 0.999)
    logits = predictor.logits(torch.zeros(1, 600, 1, 1))
    assert logits.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    assert (logits == 1).all()


def test_no_more_rows_are_held_than_a_window_has(network):
    predictor = Predictor(network, (8, 8, 8), 0.5)
    storage = {len(slab.untyped_storage())
               for _, slab in predictor.slabs(image_of(40, 9, 9))}
    assert storage == {4 * 3 * 8 * 9 * 9}


GPU = torch.device("cpu", 0)  # computes as the CPU does, and is another device than it
FULL = torch.OutOfMemoryError("CUDA out of memory")


class FullAt(nn.Module):
    """Runs out of memory in some of its calls, counted from 1."""

    def __init__(self, network, *calls):
        super().__init__()
        self.network, self.calls, self.number = network, calls, 0

    def forward(self, windows):
        self.number += 1
        if self.number in self.calls:
            raise FULL
        return self.network(windows)


@pytest.mark.parametrize("call", [1, 2, 7, 32])
def test_a_full_device_leaves_the_sums_to_the_cpu(network, call):
    image = image_of(20, 17, 9)
    expected = whole(image, Predictor(network, (8, 8, 8), 0.5, 2))
    predictor = Predictor(FullAt(network, call), (8, 8, 8), 0.5, 2, GPU)
    with pytest.warns(UserWarning, match="memory of cpu:0 is full.*added up on the CPU") as said:
        found = whole(image, predictor)
    assert len(said) == 1 and predictor.network.number == 32 + 1
    assert torch.equal(found, expected)


def test_a_device_without_room_for_the_sums(network, monkeypatch):
    image, zeros = image_of(20, 17, 9), torch.zeros

    def full(*shape, device=None, **options):
        if device == GPU:
            raise FULL
        return zeros(*shape, device=device, **options)

    expected = Predictor(network, (8, 8, 8)).label_map(image)
    monkeypatch.setattr(torch, "zeros", full)
    with pytest.warns(UserWarning, match="is full"):
        found = Predictor(network, (8, 8, 8), device=GPU).label_map(image)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("device", [GPU, torch.device("cpu")])
def test_a_network_that_does_not_fit_is_an_error(network, device):
    predictor = Predictor(FullAt(network, 2, 3), (8, 8, 8), device=device)
    with warnings.catch_warnings(), pytest.raises(torch.OutOfMemoryError):
        warnings.simplefilter("ignore")
        predictor.label_map(image_of(20, 17, 9))
    assert predictor.network.number == (3 if device == GPU else 2)


def test_a_device_that_is_full_in_the_midst_of_a_native_label_map(network):
    volume = {"image": image_of(20, 17, 9), "affine": torch.eye(4)}
    affine = np.diag([0.7, 1.0, 1.0, 1.0])
    grid = NativeGrid((28, 17, 9), affine, _header((28, 17, 9), affine))
    turned = NativeGrid((9, 17, 28), affine[:, [2, 1, 0, 3]], grid.header)  # slabs along 28
    expected = Predictor(network, (8, 8, 8)).native(volume, turned)
    with pytest.warns(UserWarning, match="is full"):
        found = Predictor(FullAt(network, 4), (8, 8, 8), device=GPU).native(volume, turned)
    np.testing.assert_array_equal(found, expected)


def test_windows_come_in_batches_and_without_gradient():
    sizes = []

    def predict(windows):
        sizes.append(len(windows))
        assert not torch.is_grad_enabled()
        return windows

    steps = rolling_logits(image_of(8, 16, 24), predict, (8, 8, 8), 0.0, 4)
    for _, slab in steps:
        assert torch.is_grad_enabled() and not slab.requires_grad  # the caller's world is its own
    assert sizes == [4, 2]


def test_an_ensemble_of_one_is_the_network(network):
    image = image_of(8, 8, 8)[None]
    assert torch.equal(MeanLogits([network])(image), network(image))


def test_an_ensemble_is_the_mean_of_logits(network):
    torch.manual_seed(1)
    other = nn.Conv3d(2, 3, 1).eval()
    image = image_of(8, 8, 8)[None]
    torch.testing.assert_close(MeanLogits([network, other])(image),
                               (network(image) + other(image)) / 2)


def test_averaging_inside_windows_is_averaging_volumes(network):
    torch.manual_seed(1)
    other = nn.Conv3d(2, 3, 3, padding=1).eval()
    image, both = image_of(11, 12, 13), []
    for each in (network, other):
        both.append(whole(image, Predictor(each, (8, 8, 8), 0.5)))
    found = whole(image, Predictor(MeanLogits([network, other]), (8, 8, 8), 0.5))
    torch.testing.assert_close(found, (both[0] + both[1]) / 2)


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_flips_change_nothing_for_a_network_that_knows_no_direction(axes):
    pointwise = nn.Conv3d(2, 3, 1).eval()
    image = image_of(6, 7, 8)[None]
    torch.testing.assert_close(MeanLogits([pointwise], axes)(image), pointwise(image))


def test_flips_by_hand():
    """A network that gives each row its own number: the mean with its mirror is 1.5 everywhere."""
    def rows(windows):
        return torch.arange(4.0).view(1, 1, 4, 1, 1).expand(len(windows), 1, 4, 2, 2)

    class Rows(nn.Module):
        def forward(self, windows):
            return rows(windows)

    mean = MeanLogits([Rows()], [0])
    assert (mean(torch.zeros(2, 1, 4, 2, 2)) == 1.5).all()
    assert len(MeanLogits([Rows()], [0, 1, 2]).flips) == 8 and MeanLogits([Rows()]).flips == [()]


def test_the_mean_is_in_evaluation_mode(network):
    assert not MeanLogits([network.train()]).networks[0].training


def test_native_label_map_and_probabilities(tmp_path):
    """The image is its own logits; the file's grid is mirrored, permuted and twice as fine."""
    logits = torch.randn(3, 6, 7, 8, generator=torch.Generator().manual_seed(2))
    volume = {"image": logits, "affine": torch.eye(4)}
    affine = np.array([[0, -1, 0, 5.0], [0, 0, 1, 0], [0.5, 0, 0, 0], [0, 0, 0, 1]])
    grid = NativeGrid((15, 6, 7), affine, _header((15, 6, 7), affine))
    file = ProbabilityFile(tmp_path / "p.nii.gz", grid, 3)
    found = Predictor(lambda x: x, (4, 4, 4), 0.5).native(volume, grid, file)
    file.close()
    native = logits.flip(1).permute(0, 3, 1, 2)  # every second row along the first axis
    fine = torch.empty(3, 15, 6, 7)
    fine[:, ::2] = native
    fine[:, 1::2] = (native[:, 1:] + native[:, :-1]) / 2
    np.testing.assert_array_equal(found, fine.argmax(0).numpy())
    written = nibabel.load(tmp_path / "p.nii.gz")
    assert written.shape == (15, 6, 7, 3) and written.get_data_dtype() == np.float32
    np.testing.assert_allclose(np.moveaxis(written.get_fdata(), -1, 0), fine.softmax(0), atol=1e-6)
    np.testing.assert_array_equal(written.affine, affine)
    assert [path.name for path in tmp_path.iterdir()] == ["p.nii.gz"]


def _header(shape, affine):
    return nibabel.Nifti1Image(np.zeros(shape, np.uint8), affine).header
