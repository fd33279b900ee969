"""What a run is: settings, command lines, experiment names, recipes. Imports nothing heavy."""

from .evaluation import EvaluationConfig, evaluation_config, evaluation_parser
from .experiment_name import NameHints, read_experiment_name
from .recipes import DATASETS, NETWORKS, RECIPES, Recipe, recipe_of
from .run_folder import experiment_dir, read_config
from .settings import training_config
from .training import TrainingConfig
from .training_parser import training_parser

__all__ = [
    "DATASETS", "NETWORKS", "RECIPES", "EvaluationConfig", "NameHints", "Recipe",
    "TrainingConfig", "evaluation_config", "evaluation_parser", "experiment_dir", "read_config",
    "read_experiment_name", "recipe_of", "training_config", "training_parser",
]
