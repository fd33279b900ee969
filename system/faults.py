"""What to do about a full disk, missing rights, too little memory and the like.

In terms of the script that runs: predict.py knows no --batch_size.
"""

import errno
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

SHARED_MEMORY_DIR = "/dev/shm"
SMALLEST_SHARED = 2**20  # bytes free there, below which it is to blame for what is not of a file
SHARED_MEMORY = (f"{SHARED_MEMORY_DIR}, through which loader processes hand over their batches, is "
                 f"full: start the container with more of it, such as docker run --shm-size=8g (or "
                 f"--ipc=host), or give --num_workers 0.")
PACKAGES = ("torch", "monai", "torchmanager", "numpy", "scipy", "nibabel", "PIL", "edt", "einops",
            "safetensors", "tensorboard", "matplotlib", "tqdm")  # as requirements.txt asks for them
MAY_NOT = "ask for the right to, or give another folder."
DISK = {
    errno.ENOSPC: "The disk is full: free some space there, or give {elsewhere}.",
    errno.EDQUOT: "Your quota is used up: free some space there, or give {elsewhere}.",
    errno.EROFS: "That file system cannot be written to: give {elsewhere}.",
    errno.EACCES: f"You may not read or write there: {MAY_NOT}",
    errno.EPERM: f"You may not write there: {MAY_NOT}",
    errno.EIO: "The disk or the network to it failed: look there first.",
}


@dataclass(frozen=True)
class Advice:
    """How a script needs less of a machine, in its own flags.

    Attributes:
        gpu, memory: what to do when the GPU's, or the machine's, is full.
        elsewhere: a place that can be written to, as the object of "give".
        again: what stays of what was done.
    """

    gpu: str = "end what else runs there."
    memory: str = "end what else runs here; a cluster job may ask for more."
    elsewhere: str = "a folder on another disk"
    again: str = ""


TRAINING = Advice(
    "lower --img_size, --batch_size, --num_crops or --window_batch, give --amp bf16 or "
    "--use_checkpoint, or end what else runs there.",
    "lower --num_workers or --batch_size, or give --cache disk; a cluster job may ask for more.",
    "a folder on another disk (--experiment PATH/NAME.exp, --cache_dir)",
    "Checkpoints are whole as they are: the same command with --resume goes on from them.")
_GOES_ON = "What is done is kept: the same command goes on from there."
_OR_CPU = "end what else runs there, or give --device cpu."
_FEWER_WORKERS = "give fewer --workers, or end what else runs here."
ADVICE = {
    "pretrain_DeSD.py": Advice(
        "lower --batch_size_per_gpu, --crop_size or --local_crops_number, give --amp bf16, or end "
        "what else runs there.",
        "lower --num_workers or --batch_size_per_gpu; a cluster job may ask for more.",
        "a folder on another disk (--output_dir PATH/NAME.exp)", TRAINING.again),
    "cross_validate.py": replace(TRAINING, elsewhere="a folder on another disk (--experiment "
                                 "PATH/NAME)", again=_GOES_ON),
    "run_study.py": Advice(_OR_CPU, elsewhere="another --output", again=_GOES_ON),
    "predict.py": Advice("lower --window_batch, give --amp bf16, or end what else runs there.",
                         elsewhere="another --output", again=_GOES_ON),
    "eval.py": Advice(f"give --amp bf16, {_OR_CPU}"),
    "score_side_outputs.py": Advice(_OR_CPU),
    "export_model.py": Advice(elsewhere="another --output"),
    "make_phantoms.py": Advice(memory="give a smaller --size, or end what else runs here.",
                               elsewhere="another --output"),
    "preprocess_deeplesion.py": Advice(memory=_FEWER_WORKERS, elsewhere="another OUTPUT",
                                       again=_GOES_ON),
    "verify_dataset.py": Advice(memory=_FEWER_WORKERS, elsewhere="another --json"),
}


def remedy(error: BaseException, script: str | None = None) -> str | None:
    """What to do about an error of disk, memory, device or installation; None for any other.

    Found by the errors behind it, since libraries hide a cause in errors of their own. An error
    that has an attribute `needs_less` says itself what to do about a GPU that is full.

    Args:
        script: name of the file that runs; None for that of this process.
    """
    if isinstance(error, ModuleNotFoundError) and error.name in PACKAGES:
        return (f"{sys.executable} does not have it: run the script with .venv/bin/python, which "
                f"`make .venv/installed` makes, or pip install -r requirements.txt.")
    advice = ADVICE.get(Path(sys.argv[0]).name if script is None else script, TRAINING)
    chain = list(_chain(error))
    for one in chain:
        advice = replace(advice, gpu=getattr(one, "needs_less", None) or advice.gpu)
    if any(map(_is_of_shared_memory, chain)):  # first: it looks like a full disk or a dead worker
        return f"{SHARED_MEMORY} {advice.again}".strip()
    for one in chain:
        found = _remedy_of(one, advice)
        if found is not None:
            return f"{found} {advice.again}".strip()
    return None


def _remedy_of(error: BaseException, advice: Advice) -> str | None:
    if isinstance(error, OSError) and error.errno in DISK:
        return DISK[error.errno].format(elsewhere=advice.elsewhere)
    names = {kind.__name__ for kind in type(error).__mro__}  # torch takes seconds to import
    if "OutOfMemoryError" in names:
        return f"The GPU's memory is full: {advice.gpu}"
    text = str(error)
    if "deterministic implementation" in text:
        return "Leave out --deterministic, or the option that brings this operation in."
    if isinstance(error, MemoryError) or "DataLoader worker" in text or (
            "can't allocate memory" in text):
        return f"The memory is full: {advice.memory}"
    return None


def _is_of_shared_memory(error: BaseException) -> bool:
    """Whether an error came of too small a /dev/shm, under whatever name."""
    text = str(error)
    if "shared memory" in text or "signal: Bus error" in text or "</torch_" in text:
        return True
    if not isinstance(error, OSError) or error.errno != errno.ENOSPC:
        return False
    if error.filename is not None:
        return str(error.filename).startswith(SHARED_MEMORY_DIR)
    with suppress(OSError):  # semaphores, which are no files, lie there too
        return shutil.disk_usage(SHARED_MEMORY_DIR).free < SMALLEST_SHARED
    return False


def without_traceback(text: str) -> str:
    """An error's text less the traceback that a loader process puts before it."""
    if "Original Traceback (most recent call last)" not in text:
        return text
    lines = text.rstrip().splitlines()
    frames = [number for number, line in enumerate(lines) if re.match(r' +File "', line)]
    for number in range(frames[-1] + 1 if frames else len(lines), len(lines)):
        if not lines[number].startswith(" "):
            return "\n".join(lines[number:])
    return lines[-1]


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
