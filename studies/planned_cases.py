"""The cases that a planned run will train, validate and test on, by the names of the files."""

from configs import TrainingConfig
from data import Split, choose_fold, dataset_of, planned_folds


def case_ids_of(settings: TrainingConfig) -> list[str]:
    """The cases in the data folder of a run.

    Raises:
        ValueError: the folder does not have them.
    """
    cases, _ = dataset_of(settings).find_cases(settings.data_dir)
    return [case.case_id for case in cases]


def planned_split(settings: TrainingConfig, case_ids: list[str]) -> Split:
    """Which of the cases belong to which group of the run's fold.

    Raises:
        ValueError: there are not so many folds.
    """
    return choose_fold(planned_folds(settings, dataset_of(settings), case_ids), settings.fold)
