"""`cgro list`: list experiments, checks and figures without importing them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from cgro.runs.registry import Kind, titles

KINDS: tuple[Kind, ...] = ("experiment", "check", "figure")


@dataclass(frozen=True)
class Options:
    """List all experiments, checks and figures: a table on a terminal, otherwise lines of kind, name and title,
    separated by tabs."""


def run(_options: Options, _rest: object) -> int:
    """Print the list."""
    rows = [(kind, name, title) for kind in KINDS for name, title in titles(kind).items()]
    if sys.stdout.isatty():
        _print_table(rows)
        return 0
    print(*("\t".join(" ".join(cell.split()) for cell in row) for row in rows), sep="\n")
    return 0


def _print_table(rows: Iterable[tuple[str, str, str]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("kind", "name", "what it is"):
        table.add_column(heading)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)
