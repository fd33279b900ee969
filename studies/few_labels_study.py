"""A study with few labels from its command line to its report."""

import shlex
from pathlib import Path

from configs.study.few_labels import FewLabelsCall
from managers.runs.folder import work_folder
from managers.runs.state import SCRIPTS
from system.exit import StatedError, log_to_console

from .execute import execute, scoring_command
from .plans.few_labels import FewLabelsPlan, few_labels_plan
from .report_few_labels import LOG, begin, check_folder, write_report


def run_few_labels(call: FewLabelsCall) -> None:
    """Prepare, train, score and report whatever is not done yet, or show the plan.

    Raises:
        ValueError: the data lack cases, or the folder belongs to another study or process.
        StatedError: a step failed.
    """
    plan = few_labels_plan(call)
    if call.show_plan:
        print("\n".join(command_lines(plan)))
        return
    log = log_to_console()
    check_folder(plan.study)
    with work_folder(plan.folder, LOG, "study with few labels"):
        begin(plan)
        failures = execute(plan)
        table = write_report(plan)
        if table is None:
            log.info("no arm is finished: there is no table")
        else:
            log.info(f"\n{table}\n\n{plan.folder / 'results.png'}")
    if failures:
        number = len(plan.preparations) + len(plan.runs)
        raise StatedError("\n".join([
            f"{len(failures)} of {number} steps failed or could not be run: "
            f"{', '.join(failures)}. The same command tries them again.", *failures.values()]))


def command_lines(plan: FewLabelsPlan) -> list[str]:
    """What would be run, one command a line."""
    lines = [["python", one.script, *one.arguments] for one in plan.preparations]
    for run in plan.runs:
        lines.append(["python", SCRIPTS[run.settings.method], *run.arguments])
        _, script, *arguments = scoring_command(run)
        lines.append(["python", Path(script).name, *arguments])
    return [shlex.join(line) for line in lines]
