"""python -m dsd3d.nnunet prints the folder that nnU-Net's variable nnUNet_extTrainer takes."""

import sys
from pathlib import Path

from .installed import check_nnunet


def main() -> None:
    """Print the folder, or say on standard error why nnU-Net could not use it, with status 1."""
    try:
        check_nnunet()
    except ImportError as error:
        sys.exit(str(error))
    print(Path(__file__).with_name("search_here"))


if __name__ == "__main__":
    main()
