"""Score a trained run: edit SETTINGS and run `python eval.py`, or give the settings as flags.

python eval.py --experiment Hippocampus_nnUnet_SelfDist.exp --mode testing

The network, its weights, the data folder and the split come from the run folder, so a case that
the run was trained on cannot be scored by mistake.
"""

from contextlib import ExitStack
from functools import partial

from configs import evaluation_config
from system.exit import exit_with, log_to_console

SETTINGS = {
    "experiment": "Hippocampus_nnUnet_SelfDist.exp",
    "data": None,                     # data folder, if it has moved since training
    "mode": "validation",             # validation, testing, training: of the run's own split
    "cases": None,                    # only these case ids, from any group
    "saved_model": "best",            # best or last
    "device": "auto",                 # cuda:0, cpu, ...
    "amp": "off",                     # bf16 or fp16: mixed precision
    "native_space": False,            # on the label files' own grid, not the resampled one
    "paper_metrics": False,           # distances in voxels, as in the papers
    "tolerance_mm": 1.0,              # of surface Dice
    "tune_postprocessing": False,     # learn on the validation cases which specks to remove
    "include_training_cases": False,  # score cases that the run was trained on
    "save_predictions": False,        # label maps to predictions/
    "trust_network_code": False,      # import the network's code where the run folder names its own
    "show_verbose": True,
}


def main() -> None:
    config = evaluation_config(SETTINGS)
    # Only now, so that --help and a mistyped flag answer at once.
    from data import cases_to_score, stream_volumes
    from managers import join_processes, read_run
    from managers.compute.precision import check_amp
    from managers.inference.predictor import load_predictor
    from managers.inference.scoring import (
        note_predictions,
        publish_scores,
        retract_predictions,
        score,
    )
    from managers.inference.segment import native_volumes, segment_native, segment_resampled
    from managers.inference.tuning import Tuning
    from managers.runs.run_locks import scores_held
    from reports import write_report

    log = log_to_console()
    processes, device = join_processes(config.device)
    check_amp(config.amp, device)
    held = ExitStack()  # of the lock of the scores
    with processes.main_first():
        folder, run, split = read_run(config.experiment)
        predictor, weights = load_predictor(folder, run, config.saved_model, device,
                                            config.trust_network_code, config.amp)
        dataset, cases = cases_to_score(config, run, split)
        predictions_dir = folder / "predictions" if config.save_predictions else None
        if processes.is_main:
            held.enter_context(scores_held(folder))
            if predictions_dir is not None:
                retract_predictions(folder, cases)

    mine = processes.share(list(cases.values()))
    volumes, segment = stream_volumes(mine, dataset), segment_resampled
    if config.native_space:
        volumes, segment = native_volumes(mine, dataset), partial(segment_native, dataset=dataset)
    tuning = None
    if config.tune_postprocessing:
        tuning = Tuning(dataset.class_names)
        segment = tuning.watch(segment)
    scores = score(predictor, volumes, len(mine), dataset.class_names, processes, segment,
                   config.paper_metrics, predictions_dir,
                   config.show_verbose and processes.is_main, config.tolerance_mm)
    if tuning is not None:
        tuning.rows = list(processes.in_order(tuning.rows))
    processes.leave()
    if not processes.is_main:
        return
    group = "chosen" if config.cases else config.mode
    about = {"group": group, "saved_model": config.saved_model, "epoch": weights["epoch"],
             "weights_sha256": weights["weights_sha256"], "amp": config.amp,
             "space": "native" if config.native_space else "resampled"}
    if predictions_dir is not None:
        note_predictions(folder, cases, about)
    pictures = publish_scores(folder, scores, about | {"paper_metrics": config.paper_metrics},
                              dataset.class_names)

    space = ", in native space" if config.native_space else ""
    log.info(f"\n{folder}, {weights['file']} on {len(cases)} {group} cases{space}:\n"
             f"{scores.table}\n")
    if tuning is not None:
        log.info(tuning.keep(folder, about))
    report = write_report([str(folder)])
    for path in [folder / "per_case.csv", folder / "summary.json", *pictures, report]:
        log.info(str(path))
    held.close()


if __name__ == "__main__":
    exit_with(main)
