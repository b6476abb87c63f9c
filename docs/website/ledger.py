"""The ledger of claims: the rows of CLAIMS.md, and what the references in their cells name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ["claim", "formula", "simulation", "check", "test", "figure"]


def cells_of(line: str) -> list[str]:
    """The cells of a table row; a bar in backticks or after a backslash does not end one."""
    parts = re.findall(r"(?:`[^`]*`|\\.|[^|`])+", line.strip().removeprefix("|"))
    return [part.strip() for part in parts]


def ledger(text: str) -> list[dict[str, str]]:
    """The rows of the table whose header is COLUMNS."""
    lines = [cells_of(line) for line in text.splitlines() if line.lstrip().startswith("|")]
    start = lines.index(COLUMNS) + 2
    assert all(len(row) == len(COLUMNS) for row in lines[start:]), "a row does not have one cell for each column"
    return [dict(zip(COLUMNS, row, strict=True)) for row in lines[start:]]


def legend(text: str) -> str:
    """What CLAIMS.md says before its table, without the title."""
    before = text.partition("\n|")[0]
    return before.partition("\n")[2].strip()


def references(cell: str) -> list[str]:
    """What a cell names, in backticks: `path` or `path::name`."""
    return re.findall(r"`([^`]+)`", cell)


@dataclass(frozen=True)
class Row:
    """A claim and what it refers to."""

    claim: str
    """The statement with its tags."""
    formula: str
    """`path::name` of the function that holds it."""
    experiments: tuple[str, ...]
    checks: tuple[str, ...]
    tests: tuple[str, ...]
    """Paths."""
    figures: tuple[str, ...]


def rows() -> list[Row]:
    """All claims in the order of CLAIMS.md."""
    return [_row(cells) for cells in ledger((ROOT / "CLAIMS.md").read_text(encoding="utf-8"))]


def _row(cells: dict[str, str]) -> Row:
    def names(column: str) -> tuple[str, ...]:
        return tuple(Path(path).stem.replace("_", "-") for path in references(cells[column]))

    claim = re.sub(r"\\([\\|*_<>])", r"\1", cells["claim"])
    return Row(
        claim=claim,
        formula=references(cells["formula"])[0],
        experiments=names("simulation"),
        checks=names("check"),
        tests=tuple(references(cells["test"])),
        figures=names("figure"),
    )


@dataclass(frozen=True)
class Formula:
    """A definition in a source file."""

    path: str
    name: str
    source: str
    about: str
    """Its docstring."""


def formula(reference: str) -> Formula:
    """The definition that `path::name` names; without a name the whole file."""
    path, _, name = reference.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    found: ast.Module | ast.stmt = ast.parse(text)
    for part in filter(None, name.split(".")):
        found = next(each for each in found.body if part in _names(each))  # type: ignore[union-attr]
    about = ast.get_docstring(found) if isinstance(found, ast.Module | ast.FunctionDef | ast.ClassDef) else None
    if isinstance(found, ast.Module):
        return Formula(path, name, text, about or "")
    first = min([found.lineno, *(each.lineno for each in getattr(found, "decorator_list", []))])
    return Formula(path, name, "\n".join(text.splitlines()[first - 1 : found.end_lineno]), about or "")


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    yield from (target.id for target in targets if isinstance(target, ast.Name))
