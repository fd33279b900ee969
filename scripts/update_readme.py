"""Write the tables of README.md and docs/ from the code, between their marker comments.

python scripts/update_readme.py           writes
python scripts/update_readme.py --check   exits 1 when one of them is not up to date
"""

import argparse
import re
import sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Run as a file, Python puts scripts/ on the path, not the root that the packages live in.
sys.path.insert(0, str(ROOT))

from configs import RECIPES, evaluation_parser  # noqa: E402 - the line above
from configs.pretraining.pretraining_parser import pretraining_parser  # noqa: E402
from configs.recipes import OWN_RECIPES  # noqa: E402
from configs.study.cross_validation import cross_validation_parser  # noqa: E402
from configs.study.study_parser import study_parser  # noqa: E402
from configs.training.training_parser import training_parser  # noqa: E402
from configs.use.export import export_parser  # noqa: E402
from configs.use.prediction import prediction_parser  # noqa: E402
from eval import SETTINGS  # noqa: E402
from system.command_line import CommandLine  # noqa: E402
from system.files import write_text  # noqa: E402


def flag_table(parser: argparse.ArgumentParser) -> str:
    """One Markdown row per argument: how it is written, and what it does."""
    rows = ["| argument | meaning |", "|---|---|"]
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
            continue
        name = max(action.option_strings[:2], key=len, default=None) or action.metavar
        if isinstance(action, argparse.BooleanOptionalAction):
            name = action.option_strings[0]
        value = "" if action.nargs == 0 or not action.option_strings else " " + _value(action)
        help_text = (action.help or "").replace("%%", "%").replace("|", "\\|")
        rows.append(f"| `{name}{value}` | {help_text} |")
    return "\n".join(rows)


def _value(action: argparse.Action) -> str:
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    metavar = action.metavar or action.dest.upper()
    if isinstance(metavar, tuple):
        return " ".join(metavar)
    return f"{metavar} ..." if action.nargs in ("+", "*") else metavar


def recipe_table() -> str:
    """One Markdown row per recipe; datasets and neighbouring networks that share one share a row.

    Of a dataset of one's own, those that differ from MM-WHS, whose recipes it has otherwise.
    """
    rows = ["| dataset | network | options | crop | epochs | AdamW learning rate | schedule |",
            "|---|---|---|---|---|---|---|"]
    own = {name: recipe for name, recipe in OWN_RECIPES.items()
           if recipe != RECIPES["mmwhs-ct"][name]}
    tables = [(names, RECIPES[names[0]]) for names in _groups(RECIPES)] + [(["FILE.json"], own)]
    for datasets, recipes in tables:
        for networks in _groups(recipes):
            recipe = recipes[networks[0]]
            options = ", ".join(f"{name} {_plain(value)}"
                                for name, value in recipe.network_options.items())
            which = networks[0] if len(networks) == 1 else f"{networks[0]} to {networks[-1]}"
            rows.append(f"| {', '.join(datasets)} | {which} | {options or 'defaults'} | "
                        f"{_plain(recipe.img_size, ' x ')} | {recipe.epochs} | {recipe.lr:g} | "
                        f"{recipe.lr_schedule} |")
    return "\n".join(rows)


def _groups(values: dict[str, object]) -> list[list[str]]:
    """Names of equal values that follow each other."""
    return [list(names) for _, names in groupby(values, values.__getitem__)]


def _plain(value: object, between: str = " ") -> str:
    return between.join(map(str, value)) if isinstance(value, tuple) else str(value)


def updated(pages: dict[Path, str]) -> dict[Path, str]:
    """The pages with every table as the code is now."""
    tables = {"flags:training": flag_table(training_parser("dsd")),
              "flags:pretraining": flag_table(pretraining_parser()),
              "flags:evaluation": flag_table(evaluation_parser(SETTINGS)),
              "flags:prediction": flag_table(prediction_parser()),
              "flags:cross_validation": flag_table(cross_validation_parser()),
              "flags:export": flag_table(export_parser()),
              "flags:study": flag_table(study_parser()),
              "recipes": recipe_table()}
    for name, table in tables.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        places = [path for path, text in pages.items() if block.search(text)]
        assert len(places) == 1, f"the table {name} has the places {places}; it needs one"
        pages = pages | {places[0]: block.sub(
            lambda match, table=table: f"{match[1]}{table}\n{match[2]}", pages[places[0]])}
    return pages


def main() -> None:
    parser = CommandLine(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if outdated")
    check = parser.parse_args().check
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    before = {path: path.read_text(encoding="utf-8") for path in paths}
    after = updated(before)
    if check:
        sys.exit(before != after)
    for path in paths:
        if before[path] != after[path]:
            write_text(path, after[path])


if __name__ == "__main__":
    main()
