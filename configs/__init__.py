"""What a run is: settings, command lines, experiment names, recipes. Imports nothing heavy."""

from .evaluation import EvaluationConfig, evaluation_config, evaluation_parser
from .experiment_name import NameHints, read_experiment_name
from .pretraining import PretrainingConfig
from .pretraining_parser import pretraining_config, pretraining_parser
from .recipes import DATASETS, NETWORKS, RECIPES, Recipe, recipe_of
from .run_folder import cache_dir, experiment_dir, read_config, read_pretraining_config
from .settings import training_config
from .training import TrainingConfig
from .training_parser import training_parser

__all__ = [
    "DATASETS", "NETWORKS", "RECIPES", "EvaluationConfig", "NameHints", "PretrainingConfig",
    "Recipe", "TrainingConfig", "cache_dir", "evaluation_config", "evaluation_parser",
    "experiment_dir", "pretraining_config", "pretraining_parser", "read_config",
    "read_experiment_name", "read_pretraining_config", "recipe_of", "training_config",
    "training_parser",
]
