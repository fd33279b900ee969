"""Prepare CT for pre-training with DeSD: volumes of 1 mm voxels, cut into tiles, and their list.

python scripts/preprocess_deeplesion.py all DeepLesion prepared      PNG series and DL_info.csv
python scripts/preprocess_deeplesion.py all my_ct_volumes prepared   any folder of NIfTI volumes

What is there, whole and made of the same input is kept, so the same command goes on where an
interrupted one stopped. The steps can be run one by one, too.
"""

import argparse
import shlex
import sys
from pathlib import Path

# Run as a file, Python puts scripts/ on the path, not the root that the packages live in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from system.command_line import CommandLine  # noqa: E402
from system.exit import StatedError, exit_with  # noqa: E402 - needs the line above

STEPS = {
    "nifti": ("PNG series -> OUTPUT/Images_nifti",
              "DeepLesion folder with Images_png/ and DL_info.csv"),
    "respace": ("NIfTI volumes -> OUTPUT/Images_respaced",
                "folder of NIfTI volumes, nested or not"),
    "tile": ("re-spaced volumes -> OUTPUT/DL_patches_v2 and OUTPUT/SSL_data_deeplesion.txt",
             "folder of re-spaced volumes"),
    "all": ("the three in one pass; between the PNG files and the tiles nothing is written",
            "DeepLesion folder, or any folder of CT volumes as NIfTI"),
}
NUM_NAMED = 20  # of failures and short volumes; the files name them all


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments; the library checks their values."""
    parser = CommandLine(description=__doc__,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    for name, (what, source) in STEPS.items():
        step = steps.add_parser(name, help=what, description=what)
        step.add_argument("input", metavar="INPUT", help=source)
        step.add_argument("output", metavar="OUTPUT", help="folder to write below")
        step.add_argument("--workers", type=int, metavar="N",
                          help="processes at a time (default: one per core)")
        step.add_argument("--overwrite", action="store_true",
                          help="make again what is there, also what was made with other settings")
        step.add_argument("--hu_offset", type=int, default=0, metavar="HU",
                          help="added to the values first; -1024 for CT that is stored from 0 on "
                               "(default 0)")
        if name in ("respace", "all"):
            step.add_argument("--spacing", type=float, default=1.0, metavar="MM",
                              help="edge of the isotropic voxels (default 1.0)")
            step.add_argument("--rescale", type=float, nargs=2, metavar=("LOW", "HIGH"),
                              help="for images that are not CT: map these percentiles to -1024 "
                                   "and 1024; default: values are HU and clipped there")
        if name == "all":
            step.add_argument("--keep_intermediate", action="store_true",
                              help="write Images_nifti and Images_respaced too")
    return parser.parse_args(argv)


def tell(title: str, lines: list[str], path: Path) -> None:
    """Print lines under a title, and where all of them are if there are many."""
    print(f"{title}, listed in {path}:")
    for line in lines[:NUM_NAMED]:
        print(f"  {line}")
    if len(lines) > NUM_NAMED:
        print(f"  and {len(lines) - NUM_NAMED} more")


def main() -> None:
    args = parse()
    # Only now, so that --help and a mistyped flag answer at once.
    from data.preparation.steps import AIRLESS, FAILURES, LIST, TOO_SHORT, prepare
    from data.preparation.tiles import MIN_DEPTH
    from system.workers import num_cores

    options = {"spacing_mm": args.spacing, "rescale": args.rescale and tuple(args.rescale)} \
        if "spacing" in args else {}
    result = prepare(args.step, args.input, args.output,
                     num_cores() if args.workers is None else args.workers,
                     hu_offset=args.hu_offset, overwrite=args.overwrite,
                     keep_intermediate=getattr(args, "keep_intermediate", False), **options)

    output = Path(args.output)
    there = f", {len(result.there)} were there already" if result.there else ""
    print(f"{len(result.made)} volume(s) prepared{there}: {' '.join(map(str, result.folders))}")
    if result.num_labels:
        print(f"{result.num_labels} label map(s) left out (folders labels*, names *_label, "
              f"*_seg, *segmentation*)")
    for problem in result.passed_over:
        print(f"warning: {str(problem).strip()}")
    if result.sheared:
        more = ", ..." if len(result.sheared) > NUM_NAMED else ""
        print(f"warning: {len(result.sheared)} volume(s) have sheared axes (a gantry tilt) and are "
              f"treated as straight; dcm2niix corrects a tilt: "
              f"{', '.join(result.sheared[:NUM_NAMED])}{more}")
    if result.airless:
        tell(f"warning: {len(result.airless)} volume(s) without air, as if their HU offset were "
             f"missing", result.airless, output / AIRLESS)
        print("  CT that is stored from 0 on is made again with --overwrite --hu_offset -1024, MR "
              "and others with --overwrite --rescale 0.5 99.5")
    if result.too_short:
        tell(f"{len(result.too_short)} volume(s) too short for a tile (under {MIN_DEPTH} slices "
             f"when re-spaced)",
             [f"{name}: {depth} slice(s)" for name, depth in result.too_short], output / TOO_SHORT)
    if result.tiles:
        print(f"{len(result.tiles)} tiles, listed in {output / LIST}\nPre-train on them, for "
              f"example:\n  python pretrain_DeSD.py {shlex.quote(args.output)} "
              f"{shlex.quote(str(output / LIST))} --output_dir experiments/DeSD.exp")
    elif not result.cuts_tiles and (result.made or result.there):
        following = "respace" if args.step == "nifti" else "tile"
        print(f"Go on with:\n  python scripts/preprocess_deeplesion.py {following} "
              f"{shlex.quote(str(result.folders[-1]))} {shlex.quote(args.output)}")
    if result.failed:
        tell(f"{len(result.failed)} failed", [f"{name}: {reason}" for name, reason
                                              in sorted(result.failed.items())], output / FAILURES)
        raise StatedError(f"{len(result.failed)} volume(s) or series could not be prepared; "
                          f"the rest is done")
    if result.cuts_tiles and not result.tiles:
        raise StatedError("no volume gave a tile: there is nothing to pre-train on")


if __name__ == "__main__":
    exit_with(main)
