"""What a checkpoint was trained with: what its network was given, and what its classes mean."""

from pathlib import Path
from typing import Any

from configs import TrainingConfig
from data import dataset_of

FLAGS = {"spacing_mm": "--spacing", "intensity": "--intensity", "window": "--window"}


def preprocessing_of(config: TrainingConfig) -> dict[str, Any]:
    """All that decides how files become a network's input and its output a label map.

    Plain values, with those that the settings leave to the dataset.
    """
    dataset = dataset_of(config)
    return {
        "spacing_mm": None if dataset.spacing_mm is None else list(dataset.spacing_mm),
        "intensity": dataset.intensity,
        "window": list(dataset.window) if dataset.intensity == "ct" else None,
        "channels": list(dataset.channels),
        "class_names": list(dataset.class_names),
        "label_values": {str(value): index for value, index in dataset.label_values.items()},
    }


def preprocessing_changes(checkpoint: dict[str, Any], config: TrainingConfig) -> list[str]:
    """What `config` says otherwise than a checkpoint was trained with, in words for people.

    A checkpoint of an older version records less, or nothing; only what it records is compared.
    """
    trained = checkpoint.get("preprocessing")
    if trained is None:
        try:
            trained = preprocessing_of(TrainingConfig.from_dict(checkpoint.get("config")))
        except (KeyError, TypeError, ValueError):  # settings of another version
            return []
    return _changes(trained, preprocessing_of(config))


def changes_between(before: TrainingConfig, now: TrainingConfig) -> list[str]:
    """What two settings say otherwise of it, in words for people."""
    return _changes(preprocessing_of(before), preprocessing_of(now))


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [f"{FLAGS.get(name, name)} {_shown(name, before[name])} -> {_shown(name, now[name])}"
            for name in now if name in before and before[name] != now[name]]


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "of the files" if name == "spacing_mm" else "none"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def refuse_other_preprocessing(path: Path, checkpoint: dict[str, Any],
                               config: TrainingConfig) -> None:
    """Refuse to use weights on volumes that are prepared otherwise than in their training.

    Args:
        path: of the checkpoint.
        config: of config.json beside it.

    Raises:
        ValueError: names each setting with the checkpoint's value and that of config.json.
    """
    changes = preprocessing_changes(checkpoint, config)
    if changes:
        raise ValueError(f"{path}: was trained with other settings than config.json beside it has: "
                         f"{'; '.join(changes)}. Put the former into config.json, or train the "
                         f"run again.")


LAYOUT = ("numbered", "num_training")  # of a definition: how its files are found, no more


def content_of(definition: dict[str, Any] | None) -> dict[str, Any] | None:
    """A definition of a dataset less what older versions leave out and no volume depends on."""
    if definition is None:
        return None
    return {name: value for name, value in definition.items() if name not in LAYOUT}


def definition_changes(before: dict[str, Any] | None, now: dict[str, Any] | None) -> str:
    """What two definitions of a dataset (see configs.dataset_json) say otherwise."""
    before, now = content_of(before) or {}, content_of(now) or {}
    said = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if name == "cases" and old and new:
            others = sorted({case["case_id"] for case in old} ^ {case["case_id"] for case in new})
            said.append(f"cases {len(old)} -> {len(new)}, "
                        + (f"of which {', '.join(others[:3])}{' ...' if len(others) > 3 else ''} "
                           f"in one only" if others else "with other files"))
        elif name == "cases":
            said.append(f"cases {'listed' if old else 'all files'} -> "
                        f"{'listed' if new else 'all files'}")
        else:
            said.append(f"{name} {old} -> {new}")
    return "; ".join(said)
