"""DSD inside nnU-Net v2, the framework: trainers for `nnUNetv2_train -tr`; dsd3d.nnunet."""
