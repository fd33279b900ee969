"""Train a U-shaped network alone, with Dice-CE on its output: the baseline of the DSD papers.

python train_basic.py DATA _ --experiment CT_MMWHS_nnUnet_Basic_Fold1.exp
python train_basic.py --help

Dataset, network and fold come from flags or from the experiment's name, the rest from the recipe
of the two (configs/recipes.py). Everything about the run is kept in experiments/NAME.exp.
"""

import data
from configs import training_command
from system.exit import exit_with


def main() -> None:
    config, gpu = training_command("basic", data=data)
    # Only now, so that --help and a mistyped flag answer at once.
    from losses import DiceCELoss
    from managers import train_or_estimate
    train_or_estimate(config, DiceCELoss(), gpu)


if __name__ == "__main__":
    exit_with(main)
