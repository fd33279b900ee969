"""An iteration of DSD's trainers for nnU-Net v2 over one of nnU-Net's own, on the same images.

    .venv-nnunet/bin/python -m benchmarks.nnunet_step 4 3d_fullres --device cpu

Needs the environment of `make nnunet`, and a data set that nnU-Net has planned and preprocessed.
"""

import argparse
import os
import tempfile
from typing import Any

import torch

from .measure import paired

NAMES = ("nnUNetTrainerDSDNoKL", "nnUNetTrainerDSD", "nnUNetTrainerDSDEnsemble")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("configuration")
    parser.add_argument("--plans", default="nnUNetPlans")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pairs", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as results:
        os.environ["nnUNet_results"] = results  # noqa: SIM112 - its name
        plain = started("nnUNetTrainer", args)
        rows = []
        for name in NAMES:
            trainer = started(name, args)
            found = paired(lambda trainer=trainer: one_step(trainer), lambda: one_step(plain),
                           args.pairs, warm_up=2, device=args.device)
            rows.append(f"{name:25} {found['ratio']:.2f} ({found['smallest']:.2f} to "
                        f"{found['largest']:.2f})  {found['first_s']:.2f} s of "
                        f"{found['second_s']:.2f} s")
    print("\n".join(rows))


def started(name: str, args: argparse.Namespace) -> Any:
    """A trainer ready for its first iteration, with a batch of random images and labels."""
    from dsd3d.nnunet import search_here
    from nnunetv2.run.run_training import get_trainer_from_args

    os.environ["nnUNet_extTrainer"] = os.path.dirname(search_here.__file__)  # noqa: SIM112
    trainer = get_trainer_from_args(args.dataset, args.configuration, 0, name, args.plans,
                                    device=torch.device(args.device))
    trainer.initialize()
    trainer.network.train()
    trainer.set_deep_supervision_enabled(True)
    plan = trainer.configuration_manager
    shape = (plan.batch_size, 1, *plan.patch_size)
    torch.manual_seed(0)
    label = torch.randint(0, trainer.label_manager.num_segmentation_heads, shape).float()
    targets = []
    for scales in trainer._get_deep_supervision_scales():
        targets.append(torch.nn.functional.interpolate(label, scale_factor=scales).to(torch.int16))
    images = torch.randn(shape[0], trainer.num_input_channels, *shape[2:])
    trainer.batch = {"data": images, "target": targets}
    return trainer


def one_step(trainer: Any) -> None:
    trainer.train_step(trainer.batch)


if __name__ == "__main__":
    main()
