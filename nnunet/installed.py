"""Whether the nnU-Net that is installed can take these trainers."""

import re
from importlib.metadata import PackageNotFoundError, version

NEEDED = (2, 8)
"""The first nnunetv2 whose trainers build their networks from the plans manager."""
_COMMAND = f"pip install 'nnunetv2>={NEEDED[0]}.{NEEDED[1]},<{NEEDED[0] + 1}'"


def check_nnunet() -> None:
    """Refuse an nnU-Net that is absent, too old or of another major version.

    Raises:
        ImportError: with the version that is there, the one that is needed, and the command.
    """
    try:
        found = version("nnunetv2")
    except PackageNotFoundError as error:
        raise ImportError(f"dsd3d.nnunet needs nnU-Net v2, which is not installed: "
                          f"{_COMMAND}") from error
    numbers = tuple(int(number) for number in re.findall(r"\d+", found)[:2])
    if numbers < NEEDED or numbers[0] > NEEDED[0]:
        raise ImportError(f"dsd3d.nnunet needs nnunetv2 {NEEDED[0]}.{NEEDED[1]} or a later "
                          f"{NEEDED[0]}.x, but {found} is installed: {_COMMAND}")
