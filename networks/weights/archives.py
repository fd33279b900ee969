"""Damage in the archives that torch.save writes."""

import os
import zipfile


def archive_problem(path: str | os.PathLike) -> str | None:
    """What is damaged in a ZIP archive, which is what torch.save writes; None if nothing is.

    torch.load compares no checksum, so a flipped bit would be loaded as a weight. Files of other
    kinds are not checked.
    """
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # a damaged archive may raise anything
        return f"its archive is damaged: {error}"
    if damaged is None:
        return None
    return f"the checksum of {damaged} in it is wrong"
