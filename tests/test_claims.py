"""The ledger is correct: everything CLAIMS.md names exists, and it lists every simulation, check and figure."""

from __future__ import annotations

import ast

import pytest
from tools import ROOT
from website.ledger import COLUMNS, cells_of, ledger, references

from cgro.runs.registry import Kind, files

FOLDERS = {"simulation": "simulations/", "check": "proofs_check/", "test": "tests/", "figure": "figures/"}
KINDS: dict[Kind, str] = {"experiment": "simulation", "check": "check", "figure": "figure"}


def defined(source: str) -> set[str]:
    """Functions, classes (with their methods as Class.method) and constants at the top of a module."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def problem(reference: str) -> str | None:
    """Why a reference `path` or `path::name` is wrong; None if it is right."""
    path, _, name = reference.partition("::")
    if not (ROOT / path).is_file():
        return f"{path} does not exist"
    if name and name not in defined((ROOT / path).read_text()):
        return f"{path} does not define {name}"
    return None


ROWS = ledger((ROOT / "CLAIMS.md").read_text())
CELLS = [(row["claim"], column, row[column]) for row in ROWS for column in COLUMNS[1:]]


@pytest.mark.parametrize(
    ("claim", "column", "cell"), CELLS, ids=[f"{claim[:40]}-{column}" for claim, column, _ in CELLS]
)
def test_a_cell_names_what_exists(claim: str, column: str, cell: str) -> None:
    found = references(cell)
    assert found or cell == "-", f"neither a reference in backticks nor -: {cell!r}"
    assert [why for reference in found if (why := problem(reference))] == []
    assert all(reference.startswith(FOLDERS.get(column, "")) for reference in found)


@pytest.mark.parametrize("claim", [row["claim"] for row in ROWS])
def test_a_claim_has_a_formula_and_is_tested(claim: str) -> None:
    (row,) = (row for row in ROWS if row["claim"] == claim)
    assert references(row["formula"])
    assert references(row["check"]) or references(row["test"])


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_in_the_ledger(kind: Kind) -> None:
    column = KINDS[kind]
    named = {reference.partition("::")[0] for row in ROWS for reference in references(row[column])}
    paths = {str(path.relative_to(ROOT)) for path in files(kind).values()}
    assert sorted(paths - named) == []


def test_the_guard_sees_a_false_reference() -> None:
    assert problem("cgro/nowhere.py") == "cgro/nowhere.py does not exist"
    assert problem("cgro/runs/store.py::nothing") == "cgro/runs/store.py does not define nothing"
    for true in ("store.py::save", "store.py::FORMAT", "context.py::StoredContext.map"):
        assert problem(f"cgro/runs/{true}") is None
    with pytest.raises(AssertionError, match="one cell for each column"):
        ledger("| claim | formula | simulation | check | test | figure |\n|---|---|---|---|---|---|\n| a | b |")
    assert cells_of("| a `x|y` | b \\| c | - |") == ["a `x|y`", "b \\| c", "-"]
