"""`cgro list`: list experiments, checks and figures without importing them."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from cgro.cli.tables import print_table
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
        print_table(("kind", "name", "what it is"), rows)
        return 0
    print(*("\t".join(" ".join(cell.split()) for cell in row) for row in rows), sep="\n")
    return 0
