"""Write report.html of a run, of a cross-validation, or of several against the first.

python -m reports NAME.exp
python -m reports BASELINE.exp OTHER.exp --output comparison.html
"""

import argparse
from pathlib import Path

from system.command_line import CommandLine
from system.exit import exit_with


def main() -> None:
    parser = CommandLine(prog="python -m reports", description=__doc__,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", metavar="EXPERIMENT",
                        help="NAME.exp or NAME.cv, the baseline first")
    parser.add_argument("--output", metavar="FILE",
                        help="default: report.html in the folder of the last")
    options = parser.parse_args()
    from .html.page_file import write_report  # only now, so that --help answers at once

    path = write_report(options.experiments, options.output and Path(options.output))
    print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    exit_with(main)
