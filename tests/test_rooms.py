"""The house: which room may import which, and how large rooms and files get."""

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# From the ground up: a room imports rooms of lower floors, and its own.
FLOORS = [
    ["system", "package"],
    ["configs"],
    ["metrics", "losses"],
    ["data", "networks", "reports"],
    ["managers.compute"],
    ["managers.runs"],
    ["managers.inference"],
    ["managers", "studies"],
    ["benchmarks", "scripts", "nnunet", ""],  # "": the scripts of the top level
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
APART = {"data", "networks", "losses", "metrics"}  # never import each other
INSTALLED = {"losses", "networks", "metrics", "nnunet"}  # under another name: dsd3d.losses, ...
SOURCES = sorted(path.relative_to(ROOT) for room in {name.split(".")[0] for name in FLOOR_OF}
                 for path in (ROOT / room).glob("**/*.py" if room else "*.py")
                 if ".venv" not in path.parts)


def module_of(path: Path) -> str:
    return ".".join(part for part in path.with_suffix("").parts if part != "__init__")


def room_of(module: str) -> str | None:
    """The longest name in FLOORS that the module lies in; None for other packages."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in FLOOR_OF), None)


def imported_by(path: Path) -> list[str]:
    """The project's modules that a file imports anywhere, dotted."""
    package = list(path.parent.parts)
    found = []
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            found += [".".join([*base, alias.name]) for alias in node.names]
    return [name for name in found if room_of(name) is not None]


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_imports_go_down(path):
    room = room_of(module_of(path)) if len(path.parts) > 1 else ""
    for name in imported_by(path):
        other = room_of(name)
        assert FLOOR_OF[other] <= FLOOR_OF[room], f"{path} ({room}) imports {name}"
        if room != other and FLOOR_OF[other] == FLOOR_OF[room]:
            assert room in ("managers", "studies", "scripts", "benchmarks", "data", "networks",
                            "reports", "metrics", "losses"), f"{path} imports {name}"
        assert room == other or not {room, other} <= APART, f"{path} imports {name}"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[0] in INSTALLED], ids=str)
def test_what_is_installed_imports_itself_by_relative_names(path):
    own = {"nnunet", "losses", "networks"} if path.parts[0] == "nnunet" else {path.parts[0]}
    assert {room_of(name) for name in imported_by(path)} <= own
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if room_of(alias.name)]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert room_of(node.module) is None, node.module


@pytest.mark.parametrize("path", [path for path in SOURCES if path.parts[0] != "nnunet"], ids=str)
def test_nobody_needs_the_trainers_for_nnunet(path):
    assert "nnunet" not in {room_of(name) for name in imported_by(path)}


def test_a_folder_holds_at_most_15_files():
    counts = Counter(path.parent for path in SOURCES)
    assert {folder: count for folder, count in counts.items() if count > 15} == {}


def test_no_stem_recurs_in_a_room():
    stems = Counter((path.parts[0], path.stem) for path in SOURCES
                    if len(path.parts) > 1 and path.stem not in ("__init__", "__main__"))
    assert {key: count for key, count in stems.items() if count > 1} == {}


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_file_has_at_most_300_lines(path):
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= 300
