"""All folds of one experiment, the table over them, and the comparison with another experiment.

python cross_validate.py DATA --dataset mmwhs-ct --network nnunet --method dsd
python cross_validate.py DATA --dataset mmwhs-ct --network nnunet --method dsd \
    --compare_with mmwhs-ct_nnunet_basic
python cross_validate.py --help

Folds are run folders experiments/NAME_FoldK.exp like any other; those that are finished are
skipped, those that were interrupted go on. Tables and pictures are in experiments/NAME.cv. Flags
that are not its own go to train_basic.py or train_SelfDistil_Original.py.
"""

from studies.plans.folds import cross_validation
from system.exit import StatedError, exit_with, log_to_console


def main() -> None:
    plan = cross_validation()
    # Only now, so that --help and a mistyped flag answer at once.
    from managers import refuse_several_processes
    from managers.runs.folder import work_folder
    from studies.execute import execute, executor_of
    from studies.gather import progress_of
    from studies.report_folds import (
        begin,
        check_plan,
        gathered_rows,
        write_comparison,
        write_results,
    )

    log = log_to_console()
    refuse_several_processes()
    progress = progress_of(plan)
    check_plan(plan, progress)
    with work_folder(plan.folder, "cross_validation.log", "cross_validate.py"):
        executor = executor_of(plan, progress)
        begin(plan, progress)
        failures = execute(plan, executor)
        if failures:
            missing = ", ".join(name.removeprefix("fold ") for name in failures)
            raise StatedError("\n".join([
                f"{len(failures)} of {len(plan.runs)} folds are missing ({missing}), so there is "
                f"no table. The same command runs these again.", *failures.values()]))
        rows = gathered_rows(plan)
        log.info(f"\n{plan.folder}\n{write_results(plan, rows)}")
        if plan.compare_with is not None:
            log.info(f"\n{write_comparison(plan, rows)}")


if __name__ == "__main__":
    exit_with(main)
