"""Segmenting new volumes: what is written for each, and how it scores."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.use.prediction import PredictionConfig
from data import Case, Dataset, read_volume
from data.checks.inputs import find_inputs, inputs_passed_over, verify_inputs
from data.nifti.native_files import (
    NativeGrid,
    ProbabilityFile,
    image_grid,
    in_ras_order,
    label_on_image_grid,
    values_of_classes,
    write_label_map,
)
from data.volumes.prepared import Volume, stream_images
from metrics import class_statistics, summarise
from reports import case_picture, case_planes, grey_window, per_case_csv
from system.files import write_json

from .case_scores import case_scores, voxel_volume_ml
from .logit_checks import naming
from .output_folder import PredictionFolder
from .postprocessing import postprocess
from .predictor import Predictor
from .scoring import Scores


def cases_to_predict(config: PredictionConfig, dataset: Dataset,
                     output: PredictionFolder) -> tuple[list[Case], list[Case]]:
    """All cases of the inputs, and those that are pending, verified.

    Raises:
        ValueError: whatever is wrong with the inputs, in one message, or with the output folder.
    """
    cases, problems = find_inputs(config.inputs, config.labels, dataset.channels,
                                  dataset.numbered)
    problems += output.clashes(cases)
    pending = cases
    if not problems:
        pending = output.pending(cases)
    to_verify = pending
    if config.labels is not None:
        to_verify = cases  # all are scored
    verify_inputs(to_verify, dataset, problems, config.show_verbose,
                  inputs_passed_over(config.inputs, config.labels))
    if not cases:
        raise ValueError(f"--input {' '.join(config.inputs)}: lists no images.")
    return cases, pending


def predict_cases(cases: Sequence[Case], dataset: Dataset, predictor: Predictor,
                  output: PredictionFolder) -> Iterator[tuple[Case, float]]:
    """Predict cases one after another, reading the next image meanwhile.

    Yields:
        A finished case, and the seconds that it took.

    Raises:
        LogitsError: the network's logits are not finite; nothing is written of that case.
        RuntimeError, DataError: an image cannot be read; the cases before it are done.
    """
    with closing(stream_images(cases, dataset)) as volumes:
        for case in cases:
            start = time.perf_counter()
            _predict_case(case, next(volumes), dataset, predictor, output)
            yield case, time.perf_counter() - start


def _predict_case(case: Case, volume: Volume, dataset: Dataset, predictor: Predictor,
                  output: PredictionFolder) -> None:
    """Write a label map, with the dataset's own label values, and what else is asked for."""
    config = output.config
    grid = image_grid(case, len(dataset.channels))
    probabilities = None
    if config.save_probabilities:
        probabilities = ProbabilityFile(output.probabilities(case), grid, dataset.num_classes)
    with naming(case.case_id, predictor.network):
        classes = predictor.native(volume, grid, probabilities, config.show_verbose)
    del volume
    classes = postprocess(classes, output.rule, dataset.class_names, voxel_volume_ml(grid.affine))
    if probabilities is not None:
        probabilities.close()
    if config.preview:
        _draw(output.preview(case), case, dataset, classes, grid)
    # Last, because it marks the case as done.
    write_label_map(output.label_map(case), values_of_classes(dataset.label_values)[classes], grid)


def _draw(path: Path, case: Case, dataset: Dataset, classes: np.ndarray, grid: NativeGrid) -> None:
    """Draw the outlines of the prediction beside those of the label, or the bare image."""
    image = read_volume(case.images, len(dataset.channels), case.channel_first)[0][0]
    label, heading = np.zeros_like(classes), "image"
    if case.label is not None:
        label, _ = label_on_image_grid(case, dataset.label_values, len(dataset.channels))
        heading = "label"
    volumes, spacing_mm = in_ras_order((image, label, classes), grid)
    planes = case_planes(*volumes, spacing_mm, grey_window(image))
    case_picture(path, planes, dataset.class_names, title=case.case_id,
                 headings=(heading, "prediction"))


def write_statistics(cases: Sequence[Case], dataset: Dataset,
                     output: PredictionFolder) -> list[Path]:
    """Write statistics.csv and .json: volume and mean intensities of each class in each label map.

    The mean of a class without voxels is an empty cell, and null in JSON.
    """
    rows = []
    for case in cases:
        written = replace(case, label=output.label_map(case))
        label_map, grid = label_on_image_grid(written, dataset.label_values, len(dataset.channels))
        image, *_ = read_volume(case.images, len(dataset.channels), case.channel_first)
        found = class_statistics(label_map, image, voxel_volume_ml(grid.affine),
                                 dataset.class_names, dataset.channels)
        rows += [{"case_id": case.case_id} | row for row in found]
    paths = [output.folder / "statistics.csv", output.folder / "statistics.json"]
    per_case_csv(paths[0], rows)
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and math.isnan(value):
                row[name] = None
    write_json(paths[1], rows)
    return paths


def score_files(cases: Sequence[Case], dataset: Dataset, output: PredictionFolder) -> Scores:
    """Score the written label maps against the label files, on their own grid, in mm."""
    rows = []
    for case in cases:
        label, grid = label_on_image_grid(case, dataset.label_values, len(dataset.channels))
        written = replace(case, label=output.label_map(case))
        label_map, _ = label_on_image_grid(written, dataset.label_values, len(dataset.channels))
        found = case_scores(label_map, label, grid.affine, grid.spacing_mm, dataset.class_names)
        rows += [{"case_id": case.case_id} | row for row in found]
    return Scores(rows, summarise(rows, dataset.class_names))
