"""What each phantom set imitates: layout on disk, labels, size and voxels of its scanner."""

from dataclasses import dataclass

MIN_SIZE = 16
_HEART_LABELS = {
    0: "background", 205: "myocardium of the left ventricle", 420: "left atrium",
    500: "left ventricle", 550: "right atrium", 600: "right ventricle",
    820: "ascending aorta", 850: "pulmonary artery",
}


@dataclass(frozen=True)
class Phantom:
    """How one set lies on disk, and the size and voxels of its scanner."""

    folder: str  # below the output; "" for none
    image_path: str  # {case_id} is filled in
    label_path: str
    case_id: str  # {number} is filled in
    first: int  # number of the first case
    stride: float  # mean step of the numbers: the hippocampus set has gaps
    labels: dict[int, str]
    modalities: tuple[str, ...]
    size: tuple[int, int, int] | None  # None: drawn per case
    voxel_mm: tuple[float, float, float]
    decathlon: bool  # whether a dataset.json goes with it


def _mmwhs(modality: str, size: tuple[int, int, int], voxel_mm: float) -> Phantom:
    """Return the layout of one half of MM-WHS, as its authors distribute it."""
    return Phantom(
        "", "imagesTraining/{case_id}_image.nii.gz", "labelsTraining/{case_id}_label.nii.gz",
        modality + "_train_{number}", 1001, 1, _HEART_LABELS, (modality.upper(),),
        size, (voxel_mm,) * 3, False,
    )


PHANTOMS: dict[str, Phantom] = {
    "mmwhs-ct": _mmwhs("ct", (512, 512, 240), 0.35),
    "mmwhs-mr": _mmwhs("mr", (288, 288, 160), 0.9),
    "msd-brats": Phantom(
        "Task01_BrainTumour", "imagesTr/{case_id}.nii.gz", "labelsTr/{case_id}.nii.gz",
        "BRATS_{number:03d}", 1, 1,
        {0: "background", 1: "edema", 2: "non-enhancing tumor", 3: "enhancing tumour"},
        ("FLAIR", "T1w", "t1gd", "T2w"), (240, 240, 155), (1.0, 1.0, 1.0), True,
    ),
    "hippocampus": Phantom(
        "Task04_Hippocampus", "imagesTr/{case_id}.nii.gz", "labelsTr/{case_id}.nii.gz",
        "hippocampus_{number:03d}", 1, 1.5, {0: "background", 1: "Anterior", 2: "Posterior"},
        ("MRI",), None, (1.0, 1.0, 1.0), True,
    ),
}
