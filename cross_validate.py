"""All folds of one experiment, the table over them, and the comparison with another experiment.

python cross_validate.py DATA --dataset mmwhs-ct --network nnunet --method dsd
python cross_validate.py DATA --dataset mmwhs-ct --network nnunet --method dsd \
    --compare_with mmwhs-ct_nnunet_basic
python cross_validate.py --help

Folds are run folders experiments/NAME_FoldK.exp like any other; those that are finished are
skipped, those that were interrupted go on. Tables and pictures are in experiments/NAME.cv. Flags
that are not its own go to train_basic.py or train_SelfDistil_Original.py.
"""

from configs.study.cross_validation import cross_validation_config
from system.exit import exit_with, log_to_console


def main() -> None:
    config = cross_validation_config()
    # Only now, so that --help and a mistyped flag answer at once.
    from managers import refuse_several_processes
    from studies.cross_validation import (
        check_plan,
        gathered_rows,
        opened,
        write_comparison,
        write_results,
    )
    from studies.folds import run_folds, states
    log = log_to_console()
    refuse_several_processes()
    found = states(config)
    check_plan(config, found)
    with opened(config) as folder:
        run_folds(config, folder, found)
        rows = gathered_rows(config, folder)
        log.info(f"\n{folder}\n{write_results(config, folder, rows)}")
        if config.compare_with is not None:
            log.info(f"\n{write_comparison(config, folder, rows)}")


if __name__ == "__main__":
    exit_with(main)
