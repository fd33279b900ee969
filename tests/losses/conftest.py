"""The logits and labels that the reference losses were computed on."""

import pytest
import torch

NAMES = ("main", "dec4", "dec3", "dec2", "dec1", "enc1", "enc2", "enc3", "enc4")


@pytest.fixture
def golden_inputs():
    """golden_inputs("C8/float64") -> (outputs dict, label, the nine logits as leaves)."""

    def make(section: str):
        classes, dtype = int(section[1]), getattr(torch, section.split("/")[1])
        leaves = []
        for i in range(len(NAMES)):
            generator = torch.Generator().manual_seed(100 + i)
            logits = torch.randn(2, classes, 12, 12, 12, generator=generator) * 2
            leaves.append(logits.to(dtype).requires_grad_())
        label = torch.randint(0, classes, (2, 1, 12, 12, 12),
                              generator=torch.Generator().manual_seed(7)).to(dtype)
        outputs = {"out": leaves[0], "dec": leaves[1:5], "enc": leaves[5:]}
        return outputs, label, leaves

    return make


@pytest.fixture
def small():
    """small(dtype) -> (outputs dict of 2 samples, 3 classes and 3x2x2 voxels, label)."""

    def make(dtype: torch.dtype = torch.float64):
        generator = torch.Generator().manual_seed(0)
        logits = [torch.randn(2, 3, 3, 2, 2, generator=generator, dtype=torch.float64).to(dtype)
                  for _ in NAMES]
        label = torch.randint(0, 3, (2, 1, 3, 2, 2), generator=generator)
        return {"out": logits[0], "dec": logits[1:5], "enc": logits[5:]}, label

    return make
