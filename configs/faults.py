"""What to do about a full disk, missing rights, too little memory and the like."""

import errno
from collections.abc import Iterator

DISK = {
    errno.ENOSPC: "The disk is full: free some space there, or give a folder on another disk "
                  "(--experiment PATH/NAME.exp, --cache_dir).",
    errno.EDQUOT: "Your quota is used up: free some space there, or give a folder elsewhere "
                  "(--experiment PATH/NAME.exp, --cache_dir).",
    errno.EROFS: "That file system cannot be written to: give a folder that can "
                 "(--experiment PATH/NAME.exp, --cache_dir).",
    errno.EACCES: "You may not read or write there: ask for the right to, or give another folder.",
    errno.EPERM: "You may not write there: ask for the right to, or give another folder.",
    errno.EIO: "The disk or the network to it failed: look there first.",
}
GPU_MEMORY = ("The GPU's memory is full: lower --batch_size, --img_size or --window_batch, give "
              "--amp or --use_checkpoint, or end what else runs there.")
MEMORY = ("The memory is full: lower --num_workers or --batch_size, or give --cache disk; a "
          "cluster job may ask for more.")
AGAIN = "Checkpoints are whole as they are: the same command with --resume goes on from them."


def remedy(error: BaseException) -> str | None:
    """What to do about an error that disk, memory or device caused; None for any other.

    Found by the errors behind it, since libraries hide a cause in errors of their own.
    """
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in DISK:
            return f"{DISK[one.errno]} {AGAIN}"
        names = {kind.__name__ for kind in type(one).__mro__}  # torch takes seconds to import
        if "OutOfMemoryError" in names:
            return f"{GPU_MEMORY} {AGAIN}"
        if "deterministic implementation" in str(one):
            return ("Leave out --deterministic, or the option that brings this operation in. "
                    f"{AGAIN}")
        if isinstance(one, MemoryError) or "DataLoader worker" in str(one) or (
                "can't allocate memory" in str(one)):
            return f"{MEMORY} {AGAIN}"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
