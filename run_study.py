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

from configs.study.few_labels import FewLabelsCall
from studies.plans.matrix import study_plan
from system.exit import StatedError, exit_with, log_to_console


def main() -> None:
    plan = study_plan()
    # Only now, so that --help and a mistyped flag answer at once.
    from managers import refuse_several_processes
    from managers.runs.folder import work_folder
    from managers.runs.run_locks import alone
    from managers.runs.state import FINISHED, SCRIPTS
    from studies.execute import execute, executor_of
    from studies.few_labels_study import run_few_labels
    from studies.gather import progress_of
    from studies.planned_cases import planned_splits
    from studies.report_matrix import write_report

    log = log_to_console()
    refuse_several_processes()
    if isinstance(plan, FewLabelsCall):
        run_few_labels(plan)
        return
    with alone(plan.folder):
        progress = progress_of(plan)
    if plan.dry_run:
        for run in plan.runs:
            now = progress[run.name]
            log.info(f"# {now.state}, {now.epochs} of {run.settings.epochs} epochs\n"
                     f"{shlex.join(['python', SCRIPTS[run.settings.method], *run.arguments])}")
        return
    failures = {}
    with work_folder(plan.folder, "study.log", "run_study.py", shared=plan.executor == "local"):
        if not plan.report_only:
            planned_splits([run for run in plan.runs if progress[run.name].state != FINISHED])
            failures = execute(plan, executor_of(plan, progress))
        with alone(plan.folder):
            page = write_report(plan, progress_of(plan))
        log.info(f"\n{page}\n{plan.folder / 'report.md'}")
    if failures:
        raise StatedError("\n".join([
            f"{len(failures)} of {len(plan.runs)} runs failed; the same command tries them "
            f"again.", *failures.values()]))


if __name__ == "__main__":
    exit_with(main)
