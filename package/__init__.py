"""DSD and DeSD for networks of one's own: dsd3d.losses, .networks, .metrics; .nnunet for nnU-Net.

In the checkout this folder holds the top of the installed package alone; the build adds the rooms
to it (pyproject.toml). It is not called dsd3d, which would hide the installed one there.
"""

__version__ = "0.1.0"
