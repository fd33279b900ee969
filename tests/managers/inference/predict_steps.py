"""The steps of predict.py on one configuration."""

import torch

from data import DATASETS
from managers.inference.ensemble import load_members, mean_predictor
from managers.inference.output_folder import PredictionFolder
from managers.inference.predict import cases_to_predict, predict_cases

CPU = torch.device("cpu")
HIPPOCAMPUS = DATASETS["hippocampus"]


def prepared(config):
    """Members, predictor and folder of a configuration."""
    members = load_members(config.experiments, config.saved_model)
    predictor = mean_predictor(members, config, CPU)
    return members, predictor, PredictionFolder(config, members, predictor)


def predicted(config):
    """Predict all that is pending; the ids of those cases."""
    _, predictor, output = prepared(config)
    _, pending = cases_to_predict(config, HIPPOCAMPUS, output)
    output.open()
    for case, seconds in predict_cases(pending, HIPPOCAMPUS, predictor, output):
        output.add(case, seconds)
    return [case.case_id for case in pending]
