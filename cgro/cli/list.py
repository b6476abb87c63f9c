"""`cgro list`: experiments, checks and figures; none of them is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from cgro.runs.registry import Kind, titles

KINDS: tuple[Kind, ...] = ("experiment", "check", "figure")


@dataclass(frozen=True)
class Options:
    """A line on every experiment, check and figure: a table on a terminal, else kind, name, title by tabs."""


def run(_options: Options, _rest: object) -> int:
    """Print them."""
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
