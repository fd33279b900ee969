"""Names of NIfTI files; endings count in any case, as some scanners and file systems write them."""

NIFTI_SUFFIXES = (".nii.gz", ".nii")


def split_nifti_name(name: str) -> tuple[str, str] | None:
    """Stem and ending of a NIfTI file's name, the ending as it is written; None for other names.

    "A.NII.GZ" gives ("A", ".NII.GZ").
    """
    for suffix in NIFTI_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[:-len(suffix)], name[-len(suffix):]
    return None


def is_nifti_name(name: str) -> bool:
    """Whether a file is NIfTI by the ending of its name."""
    return split_nifti_name(name) is not None


def is_visible_nifti(name: str) -> bool:
    """Whether a file is NIfTI by its name, and not hidden."""
    return is_nifti_name(name) and not name.startswith(".")


def without_role(stem: str, role: str) -> str | None:
    """A stem without an ending such as "_label", in any case; None if it ends in another way."""
    if stem.lower().endswith(role):
        return stem[:-len(role)]
    return None
