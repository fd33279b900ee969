"""How a checkpoint's images were prepared, and what its classes mean."""

from pathlib import Path
from typing import Any

from configs import TrainingConfig
from data import dataset_of
from system.text_files import few

FLAGS = {"spacing_mm": "--spacing", "intensity": "--intensity", "window": "--window"}


def preprocessing_of(config: TrainingConfig) -> dict[str, Any]:
    """Everything that decides how files become a network's input, and its output a label map.

    Plain values; those left to the dataset are filled in.
    """
    dataset = dataset_of(config)
    spacing_mm, window = None, None
    if dataset.spacing_mm is not None:
        spacing_mm = list(dataset.spacing_mm)
    if dataset.used_window is not None:
        window = list(dataset.used_window)
    return {
        "spacing_mm": spacing_mm,
        "intensity": dataset.intensity,
        "window": window,
        "channels": list(dataset.channels),
        "class_names": list(dataset.class_names),
        "label_values": {str(value): index for value, index in dataset.label_values.items()},
    }


def preprocessing_changes(checkpoint: dict[str, Any], config: TrainingConfig) -> list[str]:
    """Where `config` differs from the settings of a checkpoint's training, in words.

    Only what the checkpoint records is compared; older versions record less, or nothing.
    """
    trained = checkpoint.get("preprocessing")
    if trained is None:
        try:
            trained = preprocessing_of(TrainingConfig.from_dict(checkpoint.get("config")))
        except (KeyError, TypeError, ValueError):  # settings of another version
            return []
    return _changes(trained, preprocessing_of(config))


def changes_between(before: TrainingConfig, now: TrainingConfig) -> list[str]:
    """Where two configurations differ in preprocessing, in words."""
    return _changes(preprocessing_of(before), preprocessing_of(now))


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    changes = []
    for name, new in now.items():
        old = before.get(name, new)
        if old != new:
            changes.append(f"{FLAGS.get(name, name)} {_words(name, old)} -> {_words(name, new)}")
    return changes


def _words(name: str, value: Any) -> str:
    if value is None and name == "spacing_mm":
        return "of the files"
    if value is None:
        return "none"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def refuse_other_preprocessing(path: Path, checkpoint: dict[str, Any],
                               config: TrainingConfig) -> None:
    """Raise ValueError for weights whose training prepared volumes otherwise than `config`.

    Args:
        path: of the checkpoint; `config` is the config.json beside it.
    """
    changes = preprocessing_changes(checkpoint, config)
    if changes:
        raise ValueError(f"{path}: was trained with other settings than config.json beside it has: "
                         f"{'; '.join(changes)}. Put the former into config.json, or train the "
                         f"run again.")


LAYOUT = ("numbered", "num_training")  # keys of a definition that say how its files are found


def content_of(definition: dict[str, Any] | None) -> dict[str, Any] | None:
    """A dataset's definition without LAYOUT, which older versions lack and no volume depends on."""
    if definition is None:
        return None
    content = dict(definition)
    for name in LAYOUT:
        content.pop(name, None)
    return content


def definition_changes(before: dict[str, Any] | None, now: dict[str, Any] | None) -> str:
    """Where two definitions of a dataset (see configs.dataset_json) differ."""
    before, now = content_of(before) or {}, content_of(now) or {}
    changes = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if name == "cases":
            changes.append(_changed_cases(old, new))
        else:
            changes.append(f"{name} {old} -> {new}")
    return "; ".join(changes)


def _changed_cases(old: list[dict[str, Any]] | None, new: list[dict[str, Any]] | None) -> str:
    """Where two lists of cases differ; None, or an empty list, stands for all files."""
    if not new:
        return "cases listed -> all files"
    if not old:
        return "cases all files -> listed"
    others = sorted({case["case_id"] for case in old} ^ {case["case_id"] for case in new})
    if not others:
        return f"cases {len(old)} -> {len(new)}, with other files"
    return f"cases {len(old)} -> {len(new)}, {few(others, 3)} in only one of them"
