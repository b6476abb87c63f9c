"""Imports go one way: a package imports only packages below it, and the library imports no experiments."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from tools import ROOT

LAYERS = (
    "base",
    "data",
    "models",
    "networks",
    "attacks",
    "memorizers",
    "certify dynamics training",
    "measures",
    "memorization",
    "runs",
    "claims",
    "plots",
    "cli",
)
"""From bottom to top; a package imports only layers below it, and packages of one layer do not import each other."""
OUTSIDE = ("simulations", "proofs_check", "figures")
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms.split()}

LIBRARY = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "cgro").rglob("*.py"))
}


def imports(source: str) -> Iterator[str]:
    """Every module that the source imports, wherever in it; `from a import b` counts as both a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:  # of files that lie together
                continue
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """The folder of a module below cgro; empty for the face and `python -m cgro`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in RANK else ""


def offences(module: str, source: str) -> list[str]:
    """What the module must not import."""
    own, found = room_of(module), []
    for name in imports(source):
        parts = name.split(".")
        if (
            parts[0] in (*OUTSIDE, "tests", "benchmarks")
            or (parts[0] == "cgro" and parts[1:2] and parts[1] in OUTSIDE)
            or (name in LIBRARY and own and not (room_of(name) == own or RANK.get(room_of(name), 99) < RANK[own]))
        ):
            found.append(name)
    return found


@pytest.mark.parametrize("module", LIBRARY)
def test_a_module_imports_only_what_is_below_it(module: str) -> None:
    assert offences(module, LIBRARY[module].read_text()) == []


def test_every_module_has_a_place() -> None:
    """The rooms are the folders of the tree; only the face and `python -m cgro` lie outside them."""
    assert {room_of(module) for module in LIBRARY if module.count(".") > 0 and module != "cgro.__main__"} == set(RANK)
    assert {path.name for path in (ROOT / "cgro").iterdir() if path.is_dir() and path.name != "__pycache__"} == set(
        RANK
    )


def test_rooms_are_of_similar_size() -> None:
    """None holds more than a fifth of the library or fewer than three files."""
    lines: dict[str, int] = {}
    files: dict[str, int] = {}
    for module, path in LIBRARY.items():
        if (room := room_of(module)) and path.name != "__init__.py":
            lines[room] = lines.get(room, 0) + len(path.read_text().splitlines())
            files[room] = files.get(room, 0) + 1
    assert max(lines.values()) <= sum(lines.values()) / 5, lines
    assert min(files.values()) >= 3, files


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cgro.data.patches", "from cgro.networks import relu"),
        ("cgro.data.patches", "def late():\n    import cgro.runs.store"),
        ("cgro.dynamics.gram", "from cgro.training.loop import Trainer"),
        ("cgro.runs.store", "import cgro.plots.output"),
        ("cgro.runs.store", "from cgro.cli.reading import read"),
        ("cgro.base.work", "from cgro.data.patches import require_sizes"),
        ("cgro.cli.simulate", "import cgro.simulations.attack"),
        ("cgro.plots.output", "from cgro.figures import attack"),
        ("cgro.plots.output", "import proofs_check"),
    ],
)
def test_the_guard_sees_an_offence(module: str, source: str) -> None:
    assert offences(module, source)


def test_experiments_checks_and_figures_know_only_the_library() -> None:
    """Files may import others of their folder, but none of another folder."""
    for folder in OUTSIDE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            assert offences(folder, path.read_text()) == [], path


def test_the_library_is_found() -> None:
    assert {"cgro.cli.main", "cgro.runs.store", "cgro.data.patches"} <= set(LIBRARY)


def test_no_two_files_of_tests_share_a_name() -> None:
    """pytest imports them by their names alone and would leave out the second."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
