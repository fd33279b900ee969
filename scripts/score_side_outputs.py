"""Score every output of a self-distilled network: what students and teachers have learned.

python scripts/score_side_outputs.py Hippocampus_nnUnet_SelfDist.exp --mode testing

Prints for each output the mean Dice, accuracy and confidence on the label's foreground voxels, and
the KL divergence from its teacher. Writes side_outputs_MODE.csv, with every case, and
side_outputs_MODE.png to the run's folder.
"""

import argparse
import sys
from pathlib import Path

# Run as a file, Python puts scripts/ on the path, not the root that the packages live in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from configs.use.evaluation import MODES, SAVED_MODELS, TRUST_HELP, EvaluationConfig  # noqa: E402
from metrics import TOLERANCE_MM  # noqa: E402
from system.command_line import CommandLine  # noqa: E402
from system.exit import exit_with  # noqa: E402 - needs the line above


def parse(argv: list[str] | None = None) -> EvaluationConfig:
    """Return the settings of the evaluation, as for eval.py."""
    parser = CommandLine(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", metavar="NAME.exp", help="run folder, as in training")
    parser.add_argument("--data", metavar="DATA", help="data folder, if it has moved")
    parser.add_argument("--mode", choices=MODES, default="validation",
                        help="group of the run's own split (default validation)")
    parser.add_argument("--saved_model", choices=SAVED_MODELS, default="best",
                        help="which weights (default best)")
    parser.add_argument("--device", default="auto", help="cuda:0, cpu, ... (default auto)")
    parser.add_argument("--trust_network_code", action="store_true", help=TRUST_HELP)
    args = vars(parser.parse_args(argv))
    return EvaluationConfig(**args, cases=(), amp="off", native_space=False, paper_metrics=False,
                            tolerance_mm=TOLERANCE_MM, tune_postprocessing=False,
                            include_training_cases=args["mode"] == "training",
                            save_predictions=False, show_verbose=True)


def main() -> None:
    config = parse()
    # Only now, so that --help and a mistyped flag answer at once.
    from data import cases_to_score, stream_volumes
    from managers import choose_device, read_run, refuse_several_processes
    from managers.inference.predictor import load_predictor
    from managers.inference.side_scores import score_side_outputs
    from reports import per_case_csv
    from reports.side_outputs import mean_outputs, outputs_picture, outputs_table

    refuse_several_processes()
    device = choose_device(config.device)
    folder, run, split = read_run(config.experiment)
    predictor, _ = load_predictor(folder, run, config.saved_model, device,
                                  config.trust_network_code)
    dataset, cases = cases_to_score(config, run, split)
    rows = score_side_outputs(predictor, stream_volumes(list(cases.values()), dataset), len(cases),
                              run.temperature, run.include_background, progress=True)

    title = f"{folder.name}, {config.saved_model}.model on {len(cases)} {config.mode} cases"
    files = [folder / f"side_outputs_{config.mode}.{ending}" for ending in ("csv", "png")]
    per_case_csv(files[0], rows)
    outputs_picture(files[1], rows, title)
    print(f"\n{title}:\n{outputs_table(mean_outputs(rows))}\n", *files, sep="\n")


if __name__ == "__main__":
    exit_with(main)
