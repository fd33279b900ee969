"""The cases that planned runs will train, validate and test on, found by file names."""

from collections.abc import Sequence

from data import Split, choose_fold, dataset_of, planned_folds

from .plans.planned import PlannedRun


def planned_splits(runs: Sequence[PlannedRun]) -> dict[tuple[str, int], Split]:
    """The split of every data set and fold that runs need.

    Raises:
        ValueError: the data lack cases to score, or there are not so many folds.
    """
    splits: dict[tuple[str, int], Split] = {}
    problems = []
    for run in runs:
        settings = run.settings
        key = (settings.dataset, settings.fold)
        if key in splits:
            continue
        dataset = dataset_of(settings)
        case_ids = [case.case_id for case in dataset.find_cases(settings.data_dir)[0]]
        splits[key] = Split((), (), ())
        try:
            splits[key] = choose_fold(planned_folds(settings, dataset, case_ids), settings.fold)
            if not getattr(splits[key], run.group):
                problems.append(f"  {key[0]}, fold {key[1]}: has no {run.group} cases.")
        except ValueError as error:
            problems.append(f"  {key[0]}, fold {key[1]}: {error}")
    if problems:
        raise ValueError("\n".join([f"{runs[0].settings.data_dir}: these data do not have the "
                                    f"cases for all runs:", *dict.fromkeys(problems)]))
    return splits
