"""Does DeSD pre-training help when labels are few? Scratch against pre-trained, basic and DSD.

python benchmarks/desd_label_study.py --data phantoms --output study --quick
python benchmarks/desd_label_study.py --data hippocampus --hippocampus Task04_Hippocampus \\
    --output study

Pre-trains an encoder on unlabelled images, then fine-tunes a network on 5, 10 and 20 labelled cases
from scratch and from that encoder; the same command goes on where an interrupted one stopped. The
plan is in studies/plans/few_labels.py; `python run_study.py desd` makes the same study.
"""

import sys
from pathlib import Path

# Run as a file, Python puts benchmarks/ on the path, not the root that the packages live in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from configs.study.few_labels import few_labels_call, few_labels_parser  # noqa: E402
from system.exit import exit_with  # noqa: E402


def main() -> None:
    call = few_labels_call(vars(few_labels_parser().parse_args()))
    # Only now, so that --help and a mistyped flag answer at once.
    from studies.few_labels_study import run_few_labels

    run_few_labels(call)


if __name__ == "__main__":
    exit_with(main)
