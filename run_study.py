"""Re-run a table of the papers, or as much of it as the time allows.

python run_study.py hippocampus --data Task04_Hippocampus
python run_study.py hippocampus --data Task04_Hippocampus --networks nnunet --methods basic dsd \
    --seeds 100 --epochs 30 --budget-minutes 90 -- --num_crops 2 --fast
python run_study.py hippocampus --data Task04_Hippocampus --report_only
python run_study.py --help

Runs are ordinary run folders, made by the training scripts and scored by eval.py. Those that are
finished are skipped, those that were stopped go on, and the same command a second time, as on
another GPU, takes those that the first is not at. The report is OUTPUT/STUDY.study/report.md.
"""

import shlex

from configs.study.label_studies import LabelStudyConfig
from configs.study.study_plan import study_config
from system.exit import StatedError, exit_with, log_to_console


def main() -> None:
    config = study_config()
    # Only now, so that --help and a mistyped flag answer at once.
    from managers import refuse_several_processes
    from managers.runs.folder import work_folder
    from managers.runs.run_locks import alone
    from managers.runs.state import FINISHED, SCRIPTS
    from studies.execute import check_plan, progress_of, run_study
    from studies.label_study import run_label_study
    from studies.report import write_report

    log = log_to_console()
    refuse_several_processes()
    if isinstance(config, LabelStudyConfig):
        run_label_study(config)
        return
    with alone(config.folder):
        progress = progress_of(config)
    if config.dry_run:
        for run in config.runs:
            now = progress[run.name]
            log.info(f"# {now.state}, {now.epochs} of {run.settings.epochs} epochs\n"
                     f"{shlex.join(['python', SCRIPTS[run.settings.method], *run.arguments])}")
        return
    failures = {}
    with work_folder(config.folder, "study.log", "run_study.py", shared=config.executor == "local"):
        if not config.report_only:
            if any(one.state != FINISHED for one in progress.values()):
                check_plan(config, progress)
            failures = run_study(config)
        with alone(config.folder):
            page = write_report(config, progress_of(config))
        log.info(f"\n{page}\n{config.folder / 'report.md'}")
    if failures:
        raise StatedError("\n".join([
            f"{len(failures)} of {len(config.runs)} runs failed; the same command tries them "
            f"again.", *failures.values()]))


if __name__ == "__main__":
    exit_with(main)
