"""/dev/shm, through which loader processes hand over their batches: 64 MB in most containers."""

import os
import shutil
import warnings

FOLDER = "/dev/shm"
AHEAD = 2  # batches that each worker makes before they are asked for, by torch's default


def check_shared_memory(batch_bytes: int, num_workers: int) -> None:
    """See at the start whether batches will fit; a worker would be killed in the first epoch.

    Warns where not all fit that may wait at a time.

    Args:
        batch_bytes: of one batch of this process.
        num_workers: of this process; others on this machine are taken to have as many.

    Raises:
        ValueError: there is less than a batch for each worker.
    """
    if num_workers == 0 or not os.path.isdir(FOLDER):
        return
    free = shutil.disk_usage(FOLDER).free
    workers = num_workers * int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    least, most = workers * batch_bytes, workers * AHEAD * batch_bytes
    if free >= most:
        return
    gigabytes = -(-most // 2**30)
    message = (f"{FOLDER} has {_mb(free)} MB free, and {workers} loader process(es) hand over up "
               f"to {_mb(most)} MB of batches through it. Start the container with more of it, "
               f"such as docker run --shm-size={gigabytes}g (or --ipc=host), or give "
               f"--num_workers 0.")
    if free < least:
        raise ValueError(message)
    warnings.warn(message, stacklevel=3)


def workers_with_room(batch_bytes: int, most: int) -> int:
    """How many loader processes of this one, at most `most`, can have all their batches there.

    Args:
        batch_bytes: as for `check_shared_memory`.
    """
    if not os.path.isdir(FOLDER):
        return most
    free = shutil.disk_usage(FOLDER).free // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(most, free // (AHEAD * batch_bytes))


def _mb(size: int) -> str:
    return f"{size / 2**20:.3g}"
