"""Write the README's tables from the parsers and the recipes, between their marker comments.

python scripts/update_readme.py           writes
python scripts/update_readme.py --check   exits 1 when the README is not up to date
"""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Run as a file, Python puts scripts/ on the path, not the root that the packages live in.
sys.path.insert(0, str(ROOT))

from configs import RECIPES, evaluation_parser, training_parser  # noqa: E402 - the line above
from configs.cross_validation import cross_validation_parser  # noqa: E402
from configs.files import write_text  # noqa: E402
from configs.prediction import prediction_parser  # noqa: E402
from eval import SETTINGS  # noqa: E402


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
    return f"{metavar} ..." if action.nargs == "+" else metavar


def recipe_table() -> str:
    """One Markdown row per recipe; datasets that share theirs share a row."""
    rows = ["| dataset | network | options | crop | epochs | AdamW learning rate | schedule |",
            "|---|---|---|---|---|---|---|"]
    done = []
    for dataset, recipes in RECIPES.items():
        if dataset in done:
            continue
        same = [name for name, other in RECIPES.items() if other == recipes]
        done += same
        for network, recipe in recipes.items():
            options = ", ".join(f"{name} {_plain(value)}"
                                for name, value in recipe.network_options.items())
            rows.append(f"| {', '.join(same)} | {network} | {options or 'MONAI defaults'} | "
                        f"{_plain(recipe.img_size, ' x ')} | {recipe.epochs} | {recipe.lr:g} | "
                        f"{recipe.lr_schedule} |")
    return "\n".join(rows)


def _plain(value: object, between: str = " ") -> str:
    return between.join(map(str, value)) if isinstance(value, tuple) else str(value)


def updated(readme: str) -> str:
    """The README with every table as the code is now."""
    tables = {"flags:training": flag_table(training_parser("dsd")),
              "flags:evaluation": flag_table(evaluation_parser(SETTINGS)),
              "flags:prediction": flag_table(prediction_parser()),
              "flags:cross_validation": flag_table(cross_validation_parser()),
              "recipes": recipe_table()}
    for name, table in tables.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert block.search(readme), f"README.md has no place for the table {name}"
        readme = block.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", readme)
    return readme


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if outdated")
    check = parser.parse_args().check
    path = ROOT / "README.md"
    readme = path.read_text(encoding="utf-8")
    if check:
        sys.exit(readme != updated(readme))
    write_text(path, updated(readme))


if __name__ == "__main__":
    main()
