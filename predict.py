"""Segment new volumes with one or more trained runs.

python predict.py --experiment CT_MMWHS_UNETR.exp --input patients/ --output segmented/
python predict.py --experiment CT_MMWHS_UNETR.cv --input scan.nii.gz --output segmented/

Each input gives OUTPUT/CASE_ID.nii.gz: the dataset's label values on the input's own grid, with its
header. What is there already is skipped, so an interrupted call goes on where it stopped.
"""

from configs.use.prediction import prediction_config
from system.exit import exit_with, log_to_console


def main() -> None:
    config = prediction_config()
    # Only now, so that --help and a mistyped flag answer at once.
    from data import dataset_of
    from managers import join_processes, write_scores
    from managers.compute.precision import check_amp
    from managers.inference.ensemble import load_members, mean_predictor, warn_of_training_cases
    from managers.inference.output_folder import PredictionFolder
    from managers.inference.predict import (
        cases_to_predict,
        predict_cases,
        score_files,
        write_statistics,
    )

    log = log_to_console()
    processes, device = join_processes(config.device)
    check_amp(config.amp, device)
    with processes.main_first():
        members = load_members(config.experiments, config.saved_model,
                               config.trust_network_code)
        dataset = dataset_of(members[0].config)
        predictor = mean_predictor(members, config, device)
        output = PredictionFolder(config, members, predictor)
        cases, pending = cases_to_predict(config, dataset, output)
        if config.labels is not None:
            warn_of_training_cases(cases, members)
        if processes.is_main:
            output.open()

    number = 0
    predicted = predict_cases(processes.share(pending), dataset, predictor, output)
    for turn in processes.turns(pending):  # one case, or none where the last turn has too few
        done = [next(predicted) for _ in turn]
        for case, seconds in processes.in_order(done):
            number += 1
            if processes.is_main:
                output.add(case, seconds)
            log.info(f"{number}/{len(pending)}  {output.label_map(case)}  {seconds:.1f} s")
    processes.leave()
    if not processes.is_main:
        return
    there = f", {len(cases) - len(pending)} were there already" if len(cases) > len(pending) else ""
    log.info(f"{len(pending)} predicted by {len(members)} network(s){there}")

    if config.statistics:
        paths = write_statistics(cases, dataset, output)
        log.info("\n".join(["volumes and intensities:", *map(str, paths)]))
    if config.labels is not None:
        scores = score_files(cases, dataset, output)
        write_scores(output.folder, scores, {"group": "labels", "space": "native",
                                             "saved_model": config.saved_model})
        log.info(f"\nagainst {config.labels}, in native space:\n{scores.table}\n")
        log.info(f"{output.folder / 'per_case.csv'}\n{output.folder / 'summary.json'}")
    output.close()


if __name__ == "__main__":
    exit_with(main)
