"""Train a U-shaped network with dual self-distillation (DSD, ISBI 2024; IEEE TBME 2025).

python train_SelfDistil_Original.py DATA _ --experiment CT_MMWHS_UNETR_SelfDist_Original_Fold1.exp
python train_SelfDistil_Original.py --help

Dataset, network and fold come from flags or from the experiment's name, the rest from the recipe
of the two (configs/recipes.py). Everything about the run is kept in experiments/NAME.exp.
"""

import data
from configs import training_config
from system.exit import exit_with


def main() -> None:
    config = training_config("dsd", data=data)
    # Only now, so that --help and a mistyped flag answer at once.
    from losses import DSDLoss
    from managers import train
    loss = DSDLoss(config.alpha, config.temperature, config.include_background,
                   distil=config.distil, detach_teacher=config.detach_teacher,
                   supervise_encoder=config.supervise_encoder, hint_weight=config.hint_weight,
                   side_weights=config.side_weights, teacher=config.teacher, where=config.kl_where,
                   boundary_weight=config.beta_start if config.shape_priors else None)
    train(config, loss)


if __name__ == "__main__":
    exit_with(main)
