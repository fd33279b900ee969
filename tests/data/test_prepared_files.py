"""What a preparation finds in its output folder: damage is mended, other files are left alone."""

import multiprocessing

import numpy as np
import pytest

from data import read_tile_list
from data.preparation.steps import prepare
from system.locks import held

NAME = "a_dep1.nii"


@pytest.fixture
def volumes(tmp_path, save):
    """A folder with one volume, which gives two tiles."""
    values = np.random.default_rng(0).integers(-1000, 1000, (20, 24, 30)).astype(np.int16)
    save(tmp_path / "in" / "a.nii.gz", values, np.eye(4))
    return tmp_path / "in"


def run(volumes, **more):
    return prepare("all", volumes, volumes.with_name("out"), progress=False, **more)


def test_a_damaged_tile_is_found_and_made_again(volumes):
    assert run(volumes).made == ["a"] and run(volumes).made == []
    output = volumes.with_name("out")
    tile, listed = output / "DL_patches_v2" / NAME, output / "SSL_data_deeplesion.txt"
    before = tile.read_bytes()
    tile.write_bytes(before[:5000] + bytes([before[5000] ^ 1]) + before[5001:])
    with pytest.raises(ValueError, match=f"1 of 2 tiles cannot be used(?s:.)*{NAME}: is damaged: "
                                         "its checksum"):
        read_tile_list(output, listed)
    assert run(volumes).made == ["a"]
    assert tile.read_bytes() == before and len(read_tile_list(output, listed)) == 2


@pytest.mark.parametrize("name", ["failures.txt", "too_short.txt", "SSL_data_deeplesion.txt"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_lists_of_another_origin_are_left_alone(volumes, name, overwrite):
    theirs = volumes.with_name("out") / name
    theirs.parent.mkdir()
    theirs.write_text("of my thesis")
    with pytest.raises(ValueError, match=f"out: holds {name} but no preparation.json, so this "
                                         "script did not write it; choose another OUTPUT"):
        run(volumes, overwrite=overwrite)
    assert theirs.read_text() == "of my thesis" and len(list(theirs.parent.iterdir())) == 1


def test_tiles_of_another_origin_are_not_removed(volumes):
    run(volumes)
    tiles = volumes.with_name("out") / "DL_patches_v2"
    (tiles / "a_dep2.nii").write_bytes((tiles / NAME).read_bytes())  # as of a deeper volume
    (tiles / "a_dep3.nii").write_bytes(b"theirs")
    run(volumes, overwrite=True)
    assert not (tiles / "a_dep2.nii").exists()
    assert (tiles / "a_dep3.nii").read_bytes() == b"theirs"


def test_two_at_once_in_one_folder_are_refused(volumes):
    output = volumes.with_name("out")
    output.mkdir()
    context = multiprocessing.get_context("fork")
    begun, end = context.Event(), context.Event()

    def hold():
        with held(output / ".lock", ""):
            begun.set()
            end.wait(60)

    other = context.Process(target=hold)
    other.start()
    assert begun.wait(60)
    with pytest.raises(ValueError, match="OUTPUT .*out: another preprocess_deeplesion.py writes"):
        run(volumes)
    assert [path.name for path in output.iterdir()] == [".lock"]
    end.set()
    other.join(60)
    assert run(volumes).made == ["a"]
