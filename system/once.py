"""Work that one process on a machine does for all of a run that are there."""

import os


def compares_checksums() -> bool:
    """Whether this process reads files from end to end for damage; of torchrun's, the first."""
    return int(os.environ.get("LOCAL_RANK", 0)) == 0
