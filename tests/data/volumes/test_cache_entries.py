"""An entry of the cache is whole or made again, runs no code, and is read where it is cropped."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from data import DATASETS, augmentation, load_volumes
from data.volumes.cache_entries import (
    ABANDONED_S,
    is_intact,
    open_cache,
    read_entry,
    remove_abandoned,
    write_entry,
)
from data.volumes.transforms import plain_tensors, prepare_crops

HIPPOCAMPUS, CT = DATASETS["hippocampus"], DATASETS["mmwhs-ct"]
SIZE = (16, 16, 16)


@pytest.fixture(scope="module")
def cases(phantoms):
    return HIPPOCAMPUS.find_cases(phantoms("hippocampus", 3, (20, 24, 18)))[0]


@pytest.fixture(scope="module")
def expected(cases):
    """The volumes in memory."""
    return load_volumes(cases, HIPPOCAMPUS, SIZE)


@pytest.fixture
def disk(cases, tmp_path):
    """The volumes on disk, in a folder of their own in tmp_path / "cache"."""
    return load_volumes(cases, HIPPOCAMPUS, SIZE, cache="disk", folder=tmp_path / "cache")


def again(disk):
    """What a later run finds."""
    return load_volumes(disk.cases, HIPPOCAMPUS, SIZE, cache="disk",
                        folder=disk.entries[0].parents[1])


def same(one, other):
    """Whether two volumes are equal to the bit."""
    return one.keys() == other.keys() and one["case_id"] == other["case_id"] and all(
        np.array_equal(one[name], other[name]) for name in one if name != "case_id")


def volume_of(shape, seed=0):
    """A prepared volume of noise, foreground in its middle."""
    image = np.random.default_rng(seed).standard_normal((1, *shape), dtype=np.float32)
    label = np.zeros((1, *shape), np.uint8)
    label[0, *(slice(side // 3, 2 * side // 3) for side in shape)] = 1
    volume = {"image": torch.from_numpy(image), "label": torch.from_numpy(label),
              "affine": torch.diag(torch.tensor([0.1, -1 / 3, 2, 1], dtype=torch.float64)),
              "spacing_mm": torch.tensor([0.1, 1 / 3, 2], dtype=torch.float64), "case_id": "a"}
    return prepare_crops(volume, CT, SIZE)


def cut(entry):
    with open(entry / "image.npy", "r+b") as file:
        file.truncate(100)


def pretend(entry):
    """To be of Python objects, which would be pointers."""
    about = json.loads((entry / "entry.json").read_text())
    about["arrays"]["image"]["dtype"] = "object"
    (entry / "entry.json").write_text(json.dumps(about))


def flip(path, at):
    """One bit of a file, as a disk or a copy may do it."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def other_spacing(entry):
    path = entry / "entry.json"
    text = path.read_text()
    assert '"spacing_mm": [\n    1.0' in text
    path.write_text(text.replace('"spacing_mm": [\n    1.0', '"spacing_mm": [\n    3.0'))


def replace_by_file(entry):
    shutil.rmtree(entry)
    entry.touch()


@pytest.mark.parametrize("spoil", [
    cut, pretend, replace_by_file, shutil.rmtree,
    lambda entry: (entry / "label.npy").unlink(),
    lambda entry: (entry / "entry.json").unlink(),
    lambda entry: (entry / "entry.json").write_text('{"arrays": '),
    lambda entry: (entry / "entry.json").write_text("[]"),
], ids=["cut", "objects", "a file", "gone", "no label", "no json", "half a json", "a list"])
def test_a_torn_entry_is_made_again(disk, expected, spoil):
    entry, ours = disk.entries[1], set(disk.entries)
    spoil(entry)
    assert not is_intact(entry)
    assert same(disk[1], expected[1])  # by the run that is using it
    spoil(entry)
    assert all(map(same, again(disk), expected))  # by a later one
    others = {path for path in entry.parent.iterdir() if path not in ours}
    assert is_intact(entry) and not [path for path in others if path.is_dir()]


@pytest.mark.parametrize("damage", [
    lambda entry: flip(entry / "image.npy", -5), lambda entry: flip(entry / "label.npy", 200),
    lambda entry: flip(entry / "image.npy", 30), lambda entry: flip(entry / "label.npy", -1),
    lambda entry: flip(entry / "foreground_indices.npy", -8), other_spacing,
], ids=["image", "label", "header", "last byte", "indices", "spacing"])
def test_one_wrong_bit_is_found_by_the_next_run(disk, expected, damage):
    entry = disk.entries[1]
    damage(entry)
    assert not is_intact(entry)
    assert all(map(same, again(disk), expected)) and is_intact(entry)


def test_one_process_on_a_machine_compares_checksums(disk, monkeypatch):
    flip(disk.entries[0] / "image.npy", -5)
    cut(disk.entries[1])
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [disk.has(index) for index in range(3)] == [True, False, True]
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert [disk.has(index) for index in range(3)] == [False, False, True]


def test_whole_entries_are_left_alone(disk):
    before = [os.stat(entry / "entry.json").st_ino for entry in disk.entries]
    again(disk)
    write_entry(disk.entries[0], disk[0])
    assert before == [os.stat(entry / "entry.json").st_ino for entry in disk.entries]


@pytest.mark.parametrize("step", ["mkdir", "save", "rename"])
def test_a_disk_that_is_full_is_explained_and_nothing_stays(cases, tmp_path, monkeypatch, step):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    owner = {"mkdir": Path, "save": np, "rename": os}[step]
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, full)
        with pytest.raises(ValueError) as error:
            load_volumes(cases, HIPPOCAMPUS, SIZE, cache="disk", folder=tmp_path / "cache")
    for text in ("--cache disk", str(tmp_path / "cache"), "No space left", "--cache memory"):
        assert text in str(error.value)
    assert not [path for path in tmp_path.glob("cache/prepared_volumes/*") if path.is_dir()]


@pytest.mark.parametrize("kind", ["a file", "read-only"])
def test_a_folder_that_cannot_be_written_is_explained(cases, tmp_path, kind):
    folder = tmp_path / "cache"
    if kind == "a file":
        folder.touch()
    else:
        folder.mkdir()
        folder.chmod(0o500)
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
    with pytest.raises(ValueError, match="--cache disk: .*prepared_volumes cannot be written.*"
                                         "--cache_dir"):
        load_volumes(cases, HIPPOCAMPUS, SIZE, cache="disk", folder=folder)


def test_a_complete_cache_may_be_read_only(disk, expected):
    folder = disk.entries[0].parent
    folder.chmod(0o500)
    try:
        assert all(map(same, again(disk), expected))
    finally:
        folder.chmod(0o700)


def aged(path):
    """A folder that was last written to before ABANDONED_S."""
    path.mkdir(parents=True)
    (path / "precious").touch()
    before = time.time() - ABANDONED_S - 60
    os.utime(path, (before, before))
    return path


def test_what_killed_processes_left_is_removed(disk):
    folder, name = disk.entries[0].parent, disk.entries[0].name
    old, new = folder / f".{name}.{'0' * 16}", folder / f".{name}.{'1' * 16}"
    aged(old)
    new.mkdir()
    before = time.time() - ABANDONED_S - 60
    os.utime(disk.entries[0], (before, before))
    remove_abandoned(folder)
    assert not old.exists() and new.exists() and is_intact(disk.entries[0])
    remove_abandoned(folder / "none")


FOREIGN = (".venv-3.11", ".git.old", ".config.bak", ".a.1", f".{'0' * 32}.{'1' * 15}",
           f".{'0' * 32}.{'1' * 16}.bak", f"{'0' * 32}.{'1' * 16}", f".{'g' * 32}.{'1' * 16}")


def test_nothing_else_is_ever_removed(cases, tmp_path):
    """A folder that somebody names as --cache_dir may be a home directory."""
    home = tmp_path / "home"
    beside = [aged(home / name) for name in (*FOREIGN, f".{'0' * 32}.{'1' * 16}")]
    disk = load_volumes(cases, HIPPOCAMPUS, SIZE, cache="disk", folder=home)
    within = [aged(disk.entries[0].parent / name) for name in FOREIGN]
    load_volumes(cases, HIPPOCAMPUS, SIZE, cache="disk", folder=home)
    assert all((path / "precious").is_file() for path in (*beside, *within))
    assert {path.name for path in home.iterdir()} == {
        *(path.name for path in beside), "prepared_volumes"}


def test_a_folder_of_that_name_that_is_not_a_cache_is_left_alone(cases, tmp_path):
    theirs = tmp_path / "prepared_volumes"
    old = aged(theirs / f".{'0' * 32}.{'1' * 16}")
    (theirs / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds thesis.tex but no cache.txt, so it is not a cache "
                                         r".*choose another --cache_dir"):
        load_volumes(cases, HIPPOCAMPUS, SIZE, cache="disk", folder=tmp_path)
    assert old.is_dir() and len(list(theirs.iterdir())) == 2


def test_a_cache_that_is_deleted_while_it_is_used_is_made_again(disk, expected):
    (disk.entries[0].parent / "cache.txt").unlink()  # and then all but the last entry
    for entry in disk.entries[:2]:
        shutil.rmtree(entry)
    assert all(map(same, disk, expected))
    open_cache(disk.entries[0].parent)
    assert all(map(is_intact, disk.entries))


def test_arrays_are_plain_npy_files_without_pickles(disk, expected):
    for entry, volume in zip(disk.entries, expected, strict=True):
        assert {path.name for path in entry.iterdir()} == {
            "image.npy", "label.npy", "foreground_indices.npy", "background_indices.npy",
            "entry.json"}
        for path in entry.glob("*.npy"):
            assert np.array_equal(np.load(path, allow_pickle=False), volume[path.stem])


def test_geometry_is_kept_to_the_bit(tmp_path):
    volume = volume_of((20, 20, 20))
    write_entry(tmp_path / "entry", volume)
    assert same(volume, read_entry(tmp_path / "entry") | {"case_id": "a"})


def test_a_volume_without_background_is_kept_too(tmp_path):
    volume = volume_of((16, 16, 16))
    volume = prepare_crops(volume | {"label": torch.ones_like(volume["label"])}, CT, SIZE)
    assert len(volume["background_indices"]) == 0
    write_entry(tmp_path / "entry", volume)
    assert same(volume, read_entry(tmp_path / "entry") | {"case_id": "a"})


def test_what_is_written_to_a_volume_stays_in_the_process(disk, expected):
    volume = disk[0]
    volume["image"].zero_()
    assert same(disk[0], expected[0])


def resident(folder):
    """Bytes of the maps on a folder's files that are in this process's memory; {} when closed."""
    found, path = {}, None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            path = Path(line.split(maxsplit=5)[-1])
        elif line.startswith("Rss:") and path.parent == folder:
            found[path.stem] = found.get(path.stem, 0) + 1024 * int(line.split()[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
def test_a_crop_reads_little_more_than_itself(tmp_path):
    entry = tmp_path / "entry"
    write_entry(entry, volume_of((96, 128, 128)))
    volume = read_entry(entry)
    assert set(resident(entry).values()) == {0}
    with plain_tensors():
        crops = augmentation(CT, SIZE).set_random_state(0)(volume | {"case_id": "a"})
    assert all(crop["image"].isfinite().all() and crop["label"].any() for crop in crops)
    for name in ("image", "label"):
        # Of a row of voxels all is mapped, and some rows beside it.
        assert 0 < resident(entry)[name] < 0.6 * os.path.getsize(entry / f"{name}.npy"), name
    del volume, crops
    assert resident(entry) == {}
