"""Batches of views depend on seed, epoch and tile; processes share a step's tiles out."""

import json
import random
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import data.views.tile_views
from data import pretraining_loader
from data.views.tile_views import TileSampler, TileViews

CROP = (8, 32, 32)


@pytest.fixture(scope="module")
def tiles(save, tmp_path_factory):
    """Seven tiles, one of them packed and two smaller than a view."""
    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    shapes = [(70, 66, 12)] * 4 + [(20, 60, 5), (66, 70, 8), (70, 33, 12)]
    return [save(folder / f"{index}.nii{'.gz' if index == 3 else ''}",
                 rng.integers(-1024, 1025, shape).astype(np.int16))
            for index, shape in enumerate(shapes)]


def loader_of(tiles, batch_size=3, seed=5, **settings):
    return pretraining_loader(tiles, batch_size, seed, crop_size=CROP, **settings)


def epoch_of(loader, epoch):
    """All batches of one epoch."""
    loader.sampler.set_epoch(epoch)
    return list(loader)


def same(batches, others):
    """Whether two epochs are equal to the bit."""
    return len(batches) == len(others) and all(
        torch.equal(view, other) for batch, twin in zip(batches, others, strict=True)
        for view, other in zip(batch, twin, strict=True))


def sampled(epoch=1, **settings):
    """What a sampler yields in an epoch."""
    sampler = TileSampler(**settings)
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("local_crops", [0, 3])
def test_a_batch_is_a_list_of_views(tiles, local_crops):
    batches = epoch_of(loader_of(tiles, local_crops=local_crops), 1)
    assert len(batches) == 2
    for batch in batches:
        assert isinstance(batch, list)
        assert [tuple(view.shape) for view in batch] == (
            [(3, 1, 8, 32, 32)] * 2 + [(3, 1, 8, 16, 16)] * local_crops)
        for view in batch:
            assert type(view) is torch.Tensor and view.dtype == torch.float32
            assert view.isfinite().all()
        assert not torch.equal(batch[0], batch[1])


def test_the_authors_size_is_the_default(tiles):
    views = TileViews(tiles, 0, local_crops=1)[1, 0]
    assert [tuple(view.shape) for view in views] == [(1, 16, 96, 96)] * 2 + [(1, 16, 48, 48)]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_views_do_not_depend_on_the_number_of_workers(tiles, num_workers):
    alone, helped = loader_of(tiles), loader_of(tiles, num_workers=num_workers)
    for epoch in (1, 2):
        assert same(epoch_of(alone, epoch), epoch_of(helped, epoch))


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_views_do_not_depend_on_how_workers_start(tiles, method):
    helped = loader_of(tiles, num_workers=1)
    helped.multiprocessing_context = method
    assert same(epoch_of(loader_of(tiles), 1), epoch_of(helped, 1))


def test_views_do_not_depend_on_the_epochs_before(tiles):
    straight = loader_of(tiles, num_workers=1)
    epochs = [epoch_of(straight, epoch) for epoch in (1, 2, 3)]
    assert same(epochs[2], epoch_of(loader_of(tiles), 3))
    assert not same(epochs[0], epochs[1])


def test_every_epoch_tile_and_seed_draws_other_views(tiles):
    twins = [tiles[0], tiles[0]]
    views = [TileViews(twins, seed, crop_size=CROP)[epoch, index]
             for seed in (0, 1) for epoch in (0, 1, 2) for index in (0, 1)]
    flat = [view for pair in views for view in pair]
    assert not any(torch.equal(one, other) for number, one in enumerate(flat)
                   for other in flat[:number])


def test_a_tiles_views_do_not_depend_on_the_batch(tiles):
    together = torch.cat([batch[0] for batch in epoch_of(loader_of(tiles, 3), 4)])
    one_by_one = torch.cat([batch[0] for batch in epoch_of(loader_of(tiles, 1), 4)])
    assert torch.equal(together, one_by_one[:6])


def test_global_generators_are_neither_used_nor_changed(tiles):
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    first = epoch_of(loader_of(tiles), 1)
    epoch_of(loader_of(tiles, num_workers=1), 1)
    assert states() == before
    torch.manual_seed(12345)
    np.random.seed(12345)
    random.seed(12345)
    assert same(first, epoch_of(loader_of(tiles), 1))


def test_nothing_is_warned_of(tiles):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for num_workers in (0, 1):
            assert len(epoch_of(loader_of(tiles, num_workers=num_workers), 1)) == 2


def test_workers_have_one_thread_and_stay(tiles):
    loader = loader_of(tiles, num_workers=1)
    assert loader.persistent_workers
    loader.multiprocessing_context = "fork"     # which hands the class of this file on
    loader.dataset.__class__ = CountsThreads
    assert [batch.tolist() for batch in epoch_of(loader, 1)] == [[1] * 3] * 2


class CountsThreads(TileViews):
    """Gives the number of threads in the place of views."""

    def __getitem__(self, key):
        return torch.get_num_threads()


def test_both_views_show_one_region_of_the_tile(save, tmp_path, monkeypatch):
    monkeypatch.setattr(data.views.tile_views, "augmented", lambda rng, slices, kind: slices)
    rows, cols, slices = 250, 240, 24
    for axis, limit in ((0, 57), (1, 57), (2, 24)):     # int(32 * 1.8) rows and columns
        ramp = np.moveaxis(np.broadcast_to(
            np.arange((rows, cols, slices)[axis], dtype=np.int16),
            [(cols, slices, rows), (rows, slices, cols), (rows, cols, slices)][axis]), 2, axis)
        views = TileViews([save(tmp_path / f"{axis}.nii", ramp.copy())], 0, crop_size=CROP)
        seen = []
        for epoch in range(40):
            pair = [view * 1024 for view in views[epoch, 0]]
            lowest = min(view.min().item() for view in pair)
            assert max(view.max().item() for view in pair) - lowest < limit
            seen.append(lowest)
            for view in pair:
                # Along its own axis the ramp rises or, mirrored, falls; along the others nothing.
                steps = view[0].diff(dim=(1, 2, 0)[axis])
                assert (steps > 0).all() or (steps < 0).all()
                for other in {0, 1, 2} - {(1, 2, 0)[axis]}:
                    assert view[0].diff(dim=other).abs().max() < 1e-3
        assert len(set(seen)) > 5


@pytest.mark.parametrize("local_crops", [0, 2])
def test_each_kind_of_view_has_its_own_intensities(tiles, monkeypatch, local_crops):
    kinds = []
    monkeypatch.setattr(data.views.tile_views, "augmented",
                        lambda rng, slices, kind: kinds.append(kind) or slices)
    assert len(TileViews(tiles, 0, local_crops, CROP)[1, 0]) == 2 + local_crops
    module = data.views.tile_views
    assert kinds == [module.GLOBAL_1, module.GLOBAL_2] + [module.LOCAL] * local_crops


def test_an_epochs_order_visits_every_tile_once():
    orders = [sampled(epoch, num_tiles=50, batch_size=5, seed=0) for epoch in (0, 1, 2)]
    for epoch, order in enumerate(orders):
        assert {number for number, _ in order} == {epoch}
        assert sorted(index for _, index in order) == list(range(50))
    assert len({tuple(index for _, index in order) for order in orders}) == 3
    assert sampled(1, num_tiles=50, batch_size=5, seed=0) == orders[1]
    assert sampled(1, num_tiles=50, batch_size=5, seed=1) != orders[1]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 30), st.integers(0, 3))
def test_processes_share_the_steps_of_one(world_size, batch_size, more, epoch):
    together = batch_size * world_size
    num_tiles = together + more
    alone = sampled(epoch, num_tiles=num_tiles, batch_size=together, seed=9)
    shares = [sampled(epoch, num_tiles=num_tiles, batch_size=batch_size, seed=9, rank=rank,
                      world_size=world_size) for rank in range(world_size)]
    assert {len(share) for share in shares} == {num_tiles // together * batch_size}
    for step in range(num_tiles // together):
        batch = alone[step * together:(step + 1) * together]
        for rank, share in enumerate(shares):
            assert share[step * batch_size:(step + 1) * batch_size] == batch[rank::world_size]


def test_the_steps_of_an_epoch_on_deeplesion(golden):
    known = json.loads((golden / "desd.json").read_text())["schedules"]
    known = known["iters_per_epoch_for_125000_samples_6gpu_bs32"]
    for rank in (0, 5):
        sampler = TileSampler(125_000, 32, seed=0, rank=rank, world_size=6)
        assert sampler.num_steps == known["iters"]
        assert len(list(sampler)) == len(sampler) == known["iters"] * 32
    loader = pretraining_loader([f"{index}.nii" for index in range(125_000)], 32, 0, world_size=6)
    assert len(loader) == known["iters"]


def test_processes_see_the_batches_of_one(tiles):
    alone = epoch_of(loader_of(tiles, 4), 2)
    shares = [epoch_of(loader_of(tiles, 2, rank=rank, world_size=2), 2) for rank in (0, 1)]
    for step, batch in enumerate(alone):
        for number, view in enumerate(batch):
            rows = torch.stack([share[step][number] for share in shares], 1).flatten(0, 1)
            assert torch.equal(rows, view)


@pytest.mark.parametrize(("batch_size", "world_size"), [(8, 1), (4, 2), (1, 8)])
def test_fewer_tiles_than_a_step_takes(tiles, batch_size, world_size):
    with pytest.raises(ValueError, match="7 tiles are fewer than a step takes") as raised:
        loader_of(tiles, batch_size, world_size=world_size)
    assert f"{batch_size} tiles in each of {world_size} process" in str(raised.value)
    assert "--batch_size_per_gpu" in str(raised.value)


@pytest.mark.parametrize("crop_size", [(0, 96, 96), (16, 1, 96), (16, 96, -2)])
def test_a_view_without_pixels_is_refused(tiles, crop_size):
    with pytest.raises(ValueError, match="--crop_size"):
        pretraining_loader(tiles, 1, 0, crop_size=crop_size)


def test_the_smallest_view(tiles):
    loader = pretraining_loader(tiles, 1, 0, local_crops=1, crop_size=(1, 2, 2))
    for batch in epoch_of(loader, 1):
        assert [tuple(view.shape[2:]) for view in batch] == [(1, 2, 2)] * 2 + [(1, 1, 1)]
        assert all(view.isfinite().all() for view in batch)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_tile_that_cannot_be_read_is_named(tiles, tmp_path, num_workers):
    broken = tmp_path / "broken.nii"
    broken.write_bytes(tiles[0].read_bytes()[:-100])
    loader = pretraining_loader([broken], 1, 0, num_workers)
    with pytest.raises(RuntimeError, match="broken.nii: cannot be read"):
        list(loader)
