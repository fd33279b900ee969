"""Train a U-shaped network with dual self-distillation (DSD, ISBI 2024; IEEE TBME 2025).

python train_SelfDistil_Original.py DATA _ --experiment CT_MMWHS_UNETR_SelfDist_Original_Fold1.exp
python train_SelfDistil_Original.py --help

Dataset, network and fold come from flags or from the experiment's name, the rest from the recipe
of the two (configs/recipes.py). Everything about the run is kept in experiments/NAME.exp.
"""

import data
from configs import TrainingConfig, training_command
from system.exit import exit_with


def main() -> None:
    config, gpu = training_command("dsd", data=data)
    # Only now, so that --help and a mistyped flag answer at once.
    from managers import train_or_estimate
    train_or_estimate(config, loss_of(config), gpu)


def loss_of(config: TrainingConfig):
    """The DSDLoss of a run's settings."""
    from losses import DSDLoss
    boundary_weight = None
    if config.shape_priors:
        boundary_weight = config.beta_start
    return DSDLoss(config.alpha, config.temperature, config.include_background,
                   distil=config.distil, detach_teacher=config.detach_teacher,
                   supervise_encoder=config.supervise_encoder, hint_weight=config.hint_weight,
                   side_weights=config.side_weights, teacher=config.teacher, where=config.kl_where,
                   boundary_weight=boundary_weight)


if __name__ == "__main__":
    exit_with(main)
