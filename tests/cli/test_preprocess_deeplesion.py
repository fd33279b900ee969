"""scripts/preprocess_deeplesion.py as a user runs it, from phantoms to the list of tiles."""

import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

from data.phantoms.ct_series import make_deeplesion

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "scripts/preprocess_deeplesion.py"


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Three small phantom series."""
    folder = tmp_path_factory.mktemp("deeplesion")
    make_deeplesion(folder, 3, (48, 48, 20), progress=False)
    return folder


@pytest.fixture
def deeplesion(made, tmp_path):
    """A copy of the phantoms to spoil."""
    return shutil.copytree(made, tmp_path / "Deep Lesion")


def test_from_phantoms_to_tiles_by_the_commands_that_are_printed(run_script, tmp_path):
    done = run_script("scripts/make_phantoms.py", "--dataset", "deeplesion", "--output",
                      "my data/", "--cases", 2, "--size", 32, 32, 16)
    assert done.returncode == 0, done.stderr
    python, *command = shlex.split(done.stdout.splitlines()[-1])
    assert python == "python" and command[:2] == [SCRIPT, "all"]
    done = run_script(*command, "--workers", 2)
    assert done.returncode == 0, done.stderr
    python, script, data, tile_list, *flags = shlex.split(done.stdout.splitlines()[-1])
    assert (python, script) == ("python", "pretrain_DeSD.py")
    assert flags == ["--output_dir", "experiments/DeSD.exp"]
    lines = (tmp_path / tile_list).read_text().splitlines()
    assert lines and f"{len(lines)} tiles" in done.stdout
    for line in lines:
        tile = np.asanyarray(nibabel.load(tmp_path / data / line).dataobj)
        assert tile.dtype == np.int16 and 13 <= tile.shape[2] <= 24
        assert tile.min() >= -1024 and tile.max() <= 1024


def test_step_by_step_by_the_commands_that_are_printed(made, run_script, tmp_path):
    command = [SCRIPT, "nifti", str(made), "out", "--workers", "1"]
    for _ in range(2):
        done = run_script(*command)
        assert done.returncode == 0, done.stderr
        assert "Go on with:" in done.stdout
        _, *command = shlex.split(done.stdout.splitlines()[-1])
        command += ["--workers", "1"]
    done = run_script(*command)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == [
        "DL_patches_v2", "Images_nifti", "Images_respaced", "SSL_data_deeplesion.txt",
        "preparation.json"]


def test_a_broken_slice_is_named_the_rest_is_done_and_the_exit_status_is_1(deeplesion, run_script):
    slices = sorted((deeplesion / "Images_png" / "000001_02_01").iterdir())
    slices[3].write_bytes(slices[3].read_bytes()[:-40])
    done = run_script(SCRIPT, "all", deeplesion, "out", "--workers", 2)
    assert done.returncode == 1
    assert "2 volume(s) prepared" in done.stdout
    assert f"{slices[3]}: cannot be read" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("failed: 1 volume(s)")
    slices[3].unlink()
    done = run_script(SCRIPT, "all", deeplesion, "out", "--workers", 1)
    assert done.returncode == 0
    assert "2 were there already" in done.stdout


def test_volumes_too_short_are_listed(deeplesion, run_script, tmp_path):
    for path in sorted((deeplesion / "Images_png" / "000001_01_01").iterdir())[2:]:
        path.unlink()
    text = (deeplesion / "DL_info.csv").read_text().splitlines()
    done = run_script(SCRIPT, "all", deeplesion, "out", "--workers", 1)
    assert done.returncode == 0, done.stderr
    depth = round(2 * float(text[1].split('"')[-6].split(",")[2]))
    short = (tmp_path / "out" / "too_short.txt").read_text()
    assert short.startswith("000001_01_01_") and short.endswith(f" {depth}\n")
    assert f"{short.split()[0]}: {depth} slice(s)" in done.stdout


def without_csv(folder):
    (folder / "DL_info.csv").unlink()
    return "has no DL_info.csv"


def without_slices(folder):
    shutil.rmtree(folder / "Images_png")
    return "has no Images_png"


def without_column(folder):
    path = folder / "DL_info.csv"
    path.write_text(path.read_text().replace("Spacing_mm_px_", "Spacing"))
    return "has no column Spacing_mm_px_"


def emptied(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    return "holds no NIfTI volumes"


@pytest.mark.parametrize("spoil", [without_csv, without_slices, without_column, emptied])
def test_wrong_input_exits_2_with_one_message(deeplesion, run_script, tmp_path, spoil):
    words = spoil(deeplesion)
    done = run_script(SCRIPT, "all", deeplesion, "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_without_any_tile_fails(run_script, tmp_path, deeplesion):
    for series in (deeplesion / "Images_png").iterdir():
        for path in sorted(series.iterdir())[1:]:
            path.unlink()
    done = run_script(SCRIPT, "all", deeplesion, "out", "--workers", 1)
    assert done.returncode == 1
    assert "no volume gave a tile" in done.stderr
    assert not (tmp_path / "out" / "SSL_data_deeplesion.txt").exists()


def test_mr_by_percentiles(hippocampus_dir, run_script, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted((hippocampus_dir / "imagesTr").glob("[!.]*.nii.gz"))[:3]:
        shutil.copy(path, images)
    done = run_script(SCRIPT, "all", images, "out", "--rescale", 0.5, 99.5, "--spacing", 0.5,
                      "--workers", 1)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "SSL_data_deeplesion.txt").read_text().splitlines()
    tile = nibabel.load(tmp_path / "out" / lines[0])
    assert np.allclose(tile.header.get_zooms(), 0.5)
    assert np.asanyarray(tile.dataobj).max() == 1024


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_what_is_stopped_goes_on_where_it_was(tmp_path, run_script, kill):
    data = tmp_path / "data"
    data.mkdir()
    for n in range(60):  # of one tile each
        volume = np.full((120, 120, 16), 10 * n - 1000, np.int16)
        volume[:60] += 1000
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([1.5, 1.5, 1.5, 1])), data / f"{n}.nii")
    tiles = tmp_path / "out" / "DL_patches_v2"
    arguments = [str(ROOT / SCRIPT), "all", str(data), str(tmp_path / "out"), "--workers", "2"]
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tiles.glob("[!.]*.nii")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(kill)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == (130 if kill == signal.SIGINT else -kill)
    assert kill != signal.SIGINT or messages.splitlines()[-1].startswith("interrupted")
    assert not (tmp_path / "out" / "SSL_data_deeplesion.txt").exists()
    done = run_script(*arguments)
    assert done.returncode == 0, done.stderr
    assert "were there already" in done.stdout
    lines = (tmp_path / "out" / "SSL_data_deeplesion.txt").read_text().splitlines()
    assert lines == sorted(f"DL_patches_v2/{path.name}" for path in tiles.glob("[!.]*.nii"))


def test_help_imports_nothing_heavy(tmp_path):
    code = ("import runpy, sys\n"
            "sys.argv = ['x', 'all', '--help']\n"
            "try:\n"
            f"    runpy.run_path({str(ROOT / SCRIPT)!r}, run_name='__main__')\n"
            "except SystemExit as end:\n"
            "    assert end.code == 0\n"
            "heavy = {'numpy', 'scipy', 'nibabel', 'torch', 'PIL'} & set(sys.modules)\n"
            "assert not heavy, heavy\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "--keep_intermediate" in done.stdout


def test_tilted_volumes_and_files_passed_over_are_named(run_script, tmp_path):
    tilted = np.diag([1.0, 1, 1, 1])
    tilted[1, 2] = 0.3
    volume = np.full((16, 16, 24), -1000, np.int16)
    volume[4:12, 4:12] = 40
    (tmp_path / "ct").mkdir()
    nibabel.save(nibabel.Nifti1Image(volume, tilted), tmp_path / "ct" / "TILTED.NII.GZ")
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "ct" / "straight.nii")
    (tmp_path / "ct" / "IM0001").write_bytes(bytes(128) + b"DICM")
    done = run_script(SCRIPT, "all", "ct", "out", "--workers", 1)
    assert done.returncode == 0 and "2 volume(s) prepared" in done.stdout, done.stderr
    assert "1 volume(s) have sheared axes" in done.stdout and ": TILTED\n" in done.stdout
    assert "1 file(s), each DICOM, passed over: IM0001; convert its series" in done.stdout
