"""Batches depend on the seed and the epoch, and on nothing else."""

import pytest
import torch
from monai.data.meta_obj import get_track_meta
from monai.transforms import Randomizable

from data import (
    DATASETS,
    augmentation,
    evaluation_loader,
    load_volumes,
    stream_volumes,
    training_loader,
)
from data.volumes.loaders import reseed

HIPPOCAMPUS = DATASETS["hippocampus"]
SIZE = (16, 16, 16)


@pytest.fixture(scope="module")
def cases(phantoms):
    return HIPPOCAMPUS.find_cases(phantoms("hippocampus", 5, (20, 24, 18)))[0]


@pytest.fixture(scope="module")
def volumes(cases):
    """Volumes prepared for training."""
    return load_volumes(cases, HIPPOCAMPUS, SIZE)


def epoch_of(loader, epoch):
    """All batches of one epoch."""
    loader.sampler.set_epoch(epoch)
    return list(loader)


def loader_of(volumes, batch_size=1, seed=100, num_workers=0):
    return training_loader(volumes, HIPPOCAMPUS, SIZE, batch_size, seed, num_workers)


def same(batches, others):
    """Whether two epochs are equal to the bit."""
    return len(batches) == len(others) and all(
        one["case_id"] == other["case_id"] and torch.equal(one["image"], other["image"])
        and torch.equal(one["label"], other["label"])
        for one, other in zip(batches, others, strict=True))


def test_a_batch_holds_the_crops_of_one_volume(volumes):
    for batch in epoch_of(loader_of(volumes), 1):
        assert batch["image"].shape == batch["label"].shape == (8, 1, *SIZE)
        assert (batch["image"].dtype, batch["label"].dtype) == (torch.float32, torch.uint8)
        assert len(batch["case_id"]) == 8
        assert len(set(batch["case_id"])) == 1
        assert type(batch["image"]) is torch.Tensor


def test_a_batch_of_several_volumes_and_the_rest(volumes):
    batches = epoch_of(loader_of(volumes, batch_size=2), 1)
    assert [len(batch["image"]) for batch in batches] == [16, 16, 8]
    assert [len(set(batch["case_id"])) for batch in batches] == [2, 2, 1]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_each_epoch_visits_every_volume_once(volumes, cases, batch_size):
    loader = loader_of(volumes, batch_size)
    for epoch in (1, 2, 7):
        visited = [case for batch in epoch_of(loader, epoch) for case in batch["case_id"][::8]]
        assert sorted(visited) == [case.case_id for case in cases]


def test_crops_do_not_depend_on_the_number_of_workers(volumes):
    alone, helped = loader_of(volumes), loader_of(volumes, num_workers=2)
    for epoch in (1, 2):
        assert same(epoch_of(alone, epoch), epoch_of(helped, epoch))


def test_crops_do_not_depend_on_the_epochs_before(volumes):
    straight, resumed = loader_of(volumes), loader_of(volumes)
    epochs = [epoch_of(straight, epoch) for epoch in (1, 2, 3)]
    assert same(epochs[2], epoch_of(resumed, 3))


def test_crops_do_not_depend_on_the_global_generators(volumes):
    first = epoch_of(loader_of(volumes), 1)
    torch.manual_seed(12345)
    assert same(first, epoch_of(loader_of(volumes), 1))


def test_crops_of_a_volume_do_not_depend_on_the_batch_size(volumes):
    def by_case(batches):
        return {case: torch.stack([image for batch in batches for image, name
                                   in zip(batch["image"], batch["case_id"], strict=True)
                                   if name == case])
                for case in {name for batch in batches for name in batch["case_id"]}}

    alone = by_case(epoch_of(loader_of(volumes), 1))
    together = by_case(epoch_of(loader_of(volumes, batch_size=3), 1))
    assert set(alone) == set(together)
    assert all(torch.equal(alone[case], together[case]) for case in alone)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_seeding_anew_is_that_of_monai(name):
    ours, theirs = (augmentation(DATASETS[name], SIZE) for _ in range(2))
    ours.set_random_state(0)
    for seed in (0, 1, 2**32 - 2, 2**32 - 1, 12345):
        reseed(ours, seed)
        theirs.set_random_state(seed)
        compared = 0
        for one, other in zip(ours.transforms, theirs.transforms, strict=True):
            for mine, other_one in ((one, other), *zip(vars(one).values(), vars(other).values(),
                                                       strict=True)):
                if isinstance(mine, Randomizable):
                    assert mine.R.randint(2**31, size=3).tolist() == \
                        other_one.R.randint(2**31, size=3).tolist()
                    compared += 1
        assert compared == 8  # crop and flips, rotation, shift; two of them have an inner one


def test_epochs_and_seeds_differ(volumes):
    base = epoch_of(loader_of(volumes[:1]), 1)
    assert not same(base, epoch_of(loader_of(volumes[:1]), 2))
    assert not same(base, epoch_of(loader_of(volumes[:1], seed=101), 1))
    orders = {tuple(batch["case_id"][0] for batch in epoch_of(loader_of(volumes), epoch))
              for epoch in range(6)}
    assert len(orders) > 1


def test_crops_leave_the_volumes_alone(volumes):
    before = [volume["image"].clone() for volume in volumes]
    epoch_of(loader_of(volumes), 1)
    assert all(torch.equal(old, new["image"]) for old, new in zip(before, volumes, strict=True))


def test_prepared_volumes_have_what_crops_need(volumes, cases):
    assert [volume["case_id"] for volume in volumes] == [case.case_id for case in cases]
    for volume in volumes:
        assert volume["label"].flatten()[volume["foreground_indices"]].all()
        assert not volume["label"].flatten()[volume["background_indices"]].any()


@pytest.mark.parametrize("dataset", ["hippocampus", "mmwhs-ct"])
def test_evaluation_gives_whole_volumes_in_order(dataset, phantoms):
    description = DATASETS[dataset]
    found = description.find_cases(phantoms(dataset, 3, (20, 18, 16)))[0]
    loaded = load_volumes(found, description)
    batches = list(evaluation_loader(loaded))
    assert [batch["case_id"] for batch in batches] == [[case.case_id] for case in found]
    for batch, volume in zip(batches, loaded, strict=True):
        for name in ("image", "label", "affine", "spacing_mm"):
            assert torch.equal(batch[name], volume[name][None]), name


def test_streamed_volumes_are_the_loaded_ones(cases):
    loaded, streamed = load_volumes(cases, HIPPOCAMPUS), list(stream_volumes(cases, HIPPOCAMPUS))
    assert len(loaded) == len(streamed) == 5
    for one, other in zip(loaded, streamed, strict=True):
        assert set(one) == set(other)
        assert one["case_id"] == other["case_id"]
        assert all(torch.equal(one[name], other[name])
                   for name in ("image", "label", "affine", "spacing_mm"))


def test_no_cases_stream_to_nothing():
    assert list(stream_volumes([], HIPPOCAMPUS)) == []


def test_metadata_are_tracked_again_after_use(cases):
    assert get_track_meta() is True
    prepared = load_volumes(cases[:1], HIPPOCAMPUS, SIZE)
    assert get_track_meta() is True
    epoch_of(loader_of(prepared), 1)
    assert get_track_meta() is True


def test_metadata_are_tracked_again_after_an_error(cases, save, tmp_path):
    constant = torch.zeros(20, 24, 18, dtype=torch.uint8).numpy()
    broken = type(cases[0])("empty", save(tmp_path / "empty.nii.gz", constant), cases[0].label)
    with pytest.raises(ValueError, match="empty: .*constant"):
        load_volumes([broken], HIPPOCAMPUS, SIZE)
    assert get_track_meta() is True


@pytest.mark.parametrize(("world_size", "batch_size"), [(2, 1), (3, 2), (5, 3), (8, 2)])
def test_processes_share_each_batch(volumes, world_size, batch_size):
    """Five volumes of eight crops: together the parts are the batches of one process."""
    whole = epoch_of(loader_of(volumes, batch_size), 2)
    parts = []
    for rank in range(world_size):
        loader = training_loader(volumes, HIPPOCAMPUS, SIZE, batch_size, 100, rank=rank,
                                 world_size=world_size)
        loader.batch_sampler.sampler.set_epoch(2)
        parts.append(list(loader))
        assert len(loader) == len(parts[-1]) == len(whole)
    for number, batch in enumerate(whole):
        shared = [of_rank[number] for of_rank in parts]
        sizes = [len(part["image"]) for part in shared]
        assert sum(sizes) == len(batch["image"]) and max(sizes) - min(sizes) <= 1
        assert torch.equal(torch.cat([part["image"] for part in shared]), batch["image"])
        assert torch.equal(torch.cat([part["label"] for part in shared]), batch["label"])
        for part, size in zip(shared, sizes, strict=True):
            assert float(part["share"].sum()) == pytest.approx(size / sum(sizes))


def test_a_process_without_a_crop_has_one_that_counts_nothing(volumes):
    """The last batch, of one volume's 8 crops, among 9 processes."""
    loaders = [training_loader(volumes, HIPPOCAMPUS, SIZE, 2, 100, rank=rank, world_size=9)
               for rank in range(9)]
    last = [list(loader)[-1] for loader in loaders]
    assert [len(part["image"]) for part in last] == [1] * 9
    assert sorted(float(part["share"]) for part in last) == [0, *[1 / 8] * 8]


def test_more_processes_than_crops_are_refused(volumes):
    with pytest.raises(ValueError, match="9 processes are more than the 8 crops of a step"):
        training_loader(volumes, HIPPOCAMPUS, SIZE, 1, 100, rank=0, world_size=9)


def test_processes_share_the_validation_volumes(volumes):
    ids = [[batch["case_id"][0] for batch in evaluation_loader(volumes, rank, 2)]
           for rank in (0, 1)]
    assert ids == [[volume["case_id"] for volume in volumes[start::2]] for start in (0, 1)]
