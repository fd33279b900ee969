"""Where nnU-Net finds the trainers by name."""

from dsd3d.nnunet.trainers import nnUNetTrainerDSD, nnUNetTrainerDSDEnsemble, nnUNetTrainerDSDNoKL

__all__ = ["nnUNetTrainerDSD", "nnUNetTrainerDSDEnsemble", "nnUNetTrainerDSDNoKL"]
