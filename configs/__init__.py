"""What a run is: settings, command lines, experiment names, recipes. Imports nothing heavy."""

from .experiment_name import NameHints, read_experiment_name
from .pretraining.pretraining import PretrainingConfig
from .pretraining.pretraining_parser import pretraining_config, pretraining_parser
from .recipes import DATASETS, NETWORKS, RECIPES, Recipe, recipe_of
from .training.settings import training_command, training_config
from .training.training import TrainingConfig
from .training.training_parser import training_parser
from .use.evaluation import EvaluationConfig, evaluation_config, evaluation_parser
from .use.run_folder import cache_dir, experiment_dir, read_config, read_pretraining_config

__all__ = [
    "DATASETS", "NETWORKS", "RECIPES", "EvaluationConfig", "NameHints", "PretrainingConfig",
    "Recipe", "TrainingConfig", "cache_dir", "evaluation_config", "evaluation_parser",
    "experiment_dir", "pretraining_config", "pretraining_parser", "read_config",
    "read_experiment_name", "read_pretraining_config", "recipe_of",
    "training_command", "training_config", "training_parser",
]
