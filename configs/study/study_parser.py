"""The command line of run_study.py."""

import argparse

from system.command_line import CommandLine

from .execution import EXECUTORS


def study_parser() -> argparse.ArgumentParser:
    """The command line of run_study.py, without what follows --."""
    parser = CommandLine(
        description="Train and score the runs of a study, skip those that are finished, continue "
                    "those that were stopped; then its tables beside the papers' gains.",
        epilog="What follows -- goes to both training scripts as it stands, such as -- --fast "
               "--val_every 2.")
    parser.add_argument("study", metavar="STUDY",
                        help="name of a file in studies/, or the path of a .json file")
    parser.add_argument("--data", metavar="DATA",
                        help="as in training; for mmwhs the folder that holds CT and MR")
    parser.add_argument("--output", metavar="FOLDER", default="experiments",
                        help="run folders are made in it, the tables are in FOLDER/STUDY.study "
                             "(default experiments)")
    parser.add_argument("--datasets", nargs="+", metavar="D", help="only these of the study's")
    parser.add_argument("--networks", nargs="+", metavar="N", help="only these of the study's")
    parser.add_argument("--methods", nargs="+", metavar="M", help="only these of the study's")
    parser.add_argument("--folds", nargs="+", type=int, metavar="K", help="only these of the "
                                                                          "study's")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="S", help="instead of the study's")
    parser.add_argument("--epochs", type=int, metavar="E", help="instead of the study's")
    parser.add_argument("--budget-minutes", "--budget_minutes", dest="budget_minutes", type=float,
                        metavar="M",
                        help="of training and scoring in this call: when they are over, the run "
                             "under way is stopped and keeps its place for the next call")
    parser.add_argument("--executor", choices=EXECUTORS, default="local",
                        help="local: one run after another, here; slurm: an array of jobs; "
                             "submitit-local: all at once, here (default local)")
    parser.add_argument("--slurm", nargs="+", default=[], metavar="KEY=VALUE",
                        help="of the jobs, as in cross_validate.py")
    parser.add_argument("--device", help="cuda:0, cpu, ... (default: cuda:0 when there is one)")
    parser.add_argument("--dry_run", action="store_true",
                        help="say how far each run is and what would be run, and stop")
    parser.add_argument("--report_only", action="store_true",
                        help="train and score nothing, make the tables from what is there")
    parser.add_argument("--show_verbose", action="store_true",
                        help="show what the scripts print")
    return parser
