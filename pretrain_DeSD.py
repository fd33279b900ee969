"""Pre-train a 3D ResNet on unlabelled CT by deep self-distillation (DeSD, MICCAI 2022).

python pretrain_DeSD.py DATA LIST --output_dir experiments/DeSD.exp
python pretrain_DeSD.py DATA LIST --output_dir experiments/DeSD.exp --tiny     on a CPU, in minutes
torchrun --standalone --nproc_per_node=6 pretrain_DeSD.py DATA LIST --output_dir NAME.exp   6 GPUs

DATA and LIST are what scripts/preprocess_deeplesion.py writes. Everything about the run is kept in
the output folder; a segmentation network starts from it with --init_from experiments/DeSD.exp
--encoder_only.
"""

from configs import experiment_dir, pretraining_config
from configs.pretraining.pretraining_parser import warn_of_rates
from system.exit import exit_with, log_to_console


def main() -> None:
    config = pretraining_config()
    # Only now, so that --help and a mistyped flag answer at once.
    from data import pretraining_loader, read_tile_list
    from losses import DeSDLoss
    from managers import (
        DeSDManager,
        build_optimizer,
        fingerprint,
        join_processes,
        loader_workers,
        open_folder,
        parameter_groups,
        pretraining_callbacks,
        pretraining_resume_point,
        restore_pretraining,
        seed_everything,
    )
    from networks import build_desd
    log = log_to_console()
    processes, device = join_processes(config.device)
    seed_everything(config.seed, config.deterministic)
    with processes.main_first():
        checkpoint = pretraining_resume_point(config, processes.world_size)
        tiles = read_tile_list(config.data_dir, config.tile_list,
                               progress=config.show_verbose and processes.is_main)
        warn_of_rates(config, processes.world_size)
        loader = pretraining_loader(
            tiles, config.batch_size_per_gpu, config.seed, loader_workers(config.num_workers),
            device.type == "cuda", processes.rank, processes.world_size,
            config.local_crops_number, config.crop_size)
        student, teacher = build_desd(config.arch, config.out_dim, config.use_bn_in_head,
                                      config.norm_last_layer)
        optimizer = build_optimizer(
            config.optimizer, parameter_groups(student, config.weight_decay), config.lr)
        loss = DeSDLoss(config.out_dim, config.student_temp, config.center_momentum,
                        processes.mean)
        manager = DeSDManager(student, teacher, optimizer, loss, config, len(loader), processes)
        listed = fingerprint(tiles, config.data_dir)
        history = restore_pretraining(checkpoint, manager, listed, len(loader))

    folder = experiment_dir(config.output_dir)
    if processes.is_main:
        open_folder(folder, config, device, resumed=checkpoint is not None)
        log.info(f"{folder}: DeSD of {config.arch} on {len(tiles)} tiles, {len(loader)} steps an "
                 f"epoch, epochs {len(history) + 1} to {config.epochs}, "
                 f"{processes.world_size} x {device}")
    manager.fit(loader, config.epochs,
                callbacks_list=pretraining_callbacks(folder, config, manager, loader, history,
                                                     listed, checkpoint),
                initial_epoch=len(history), device=device)
    processes.leave()
    if processes.is_main:
        log.info(f"to segment with it: --network {config.arch.replace('res3d', 'resnet')}-unet "
                 f"--init_from {folder} --encoder_only")


if __name__ == "__main__":
    exit_with(main)
