"""Train a U-shaped network alone, with Dice-CE on its output: the baseline of the DSD papers.

python train_basic.py DATA _ --experiment CT_MMWHS_nnUnet_Basic_Fold1.exp
python train_basic.py --help

Dataset, network and fold come from flags or from the experiment's name, the rest from the recipe
of the two (configs/recipes.py). Everything about the run is kept in experiments/NAME.exp.
"""

from pathlib import Path

from configs import training_config
from system.exit import exit_with, log_to_console


def main() -> None:
    config = training_config("basic")
    # Only now, so that --help and a mistyped flag answer at once.
    from data import evaluation_loader, run_volumes, select_cases, training_loader
    from losses import DiceCELoss
    from managers import (
        export_weights,
        initialise,
        join_processes,
        loader_workers,
        manager_of,
        network_of,
        open_run,
        optimizer_of,
        restore,
        resume_point,
        score_best,
        seed_everything,
        settled,
        spread_over_gpus,
        training_callbacks,
    )
    log = log_to_console()
    spread_over_gpus(config)
    processes, device = join_processes(config.device)
    config = settled(config, device, processes)
    seed_everything(config.seed, config.deterministic)

    with processes.main_first():
        checkpoint = resume_point(config)
        network = network_of(config)
        transferred = initialise(network, config, checkpoint)
        selection = select_cases(config, progress=config.show_verbose)
        dataset = selection.dataset
        train_volumes, val_volumes = run_volumes(config, selection)
        loader = training_loader(train_volumes, dataset, config.img_size, config.batch_size,
                                 config.seed, loader_workers(config.num_workers),
                                 device.type == "cuda", processes.rank, processes.world_size)
    optimizer = optimizer_of(network, config)
    loss = DiceCELoss()

    folder = open_run(config, selection.folds, device, checkpoint, processes)
    manager = manager_of(config, network, optimizer, loss, dataset.class_names, processes)
    history = restore(checkpoint, network, optimizer, manager.scaler, manager.mean_teacher)
    if transferred:
        log.info(f"weights from {config.init_from}:\n{transferred}")
    log.info(f"{folder}: {config.network} with {config.method} on {dataset.name}, "
             f"{len(train_volumes)} training and {len(val_volumes)} validation cases, "
             f"epochs {len(history) + 1} to {config.epochs}, {processes.world_size} x {device}")
    manager.fit(loader, config.epochs,
                evaluation_loader(val_volumes, processes.rank, processes.world_size),
                training_callbacks(folder, config, manager, loader, history, checkpoint),
                initial_epoch=len(history), device=device)
    if config.output_model is not None and processes.is_main:
        export_weights(Path(config.output_model), network)
        log.info(f"weights of the last epoch: {config.output_model}")

    score_best(folder, config, manager, val_volumes, dataset.class_names, device)
    processes.leave()


if __name__ == "__main__":
    exit_with(main)
