"""A figure as an object: the experiment whose results it draws, the variables it needs, and its functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr
from matplotlib.figure import Figure as Drawing

from cgro.base.errors import UserError
from cgro.plots.interactive import Map


@dataclass(frozen=True)
class Table:
    """A table in the report that belongs to a figure."""

    about: str
    """What the table shows, in a sentence or two."""
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    """The last cell of a row is a verdict."""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Figure:
    """A figure; every file in `figures/` defines one as `FIGURE`. Its functions take a result and read nothing else."""

    title: str
    """Title in one line."""
    experiment: str
    """Name of the experiment whose results it draws."""
    needs: Mapping[str, str]
    """Variables that it needs, by their dimensions; both are names separated by spaces."""
    draw: Callable[[xr.Dataset], Drawing]
    caption: Callable[[xr.Dataset], str]
    """What the figure shows, with the numbers of the result."""
    numbers: Callable[[xr.Dataset], tuple[list[str], list[list[Any]]]]
    """Header and rows of the plotted numbers, for the CSV file."""
    along: str = ""
    """Values of the variable `axis` that need a panel each, names separated by spaces."""
    attributes: str = ""
    """Attributes that it needs, names separated by spaces."""
    highlight: Callable[[xr.Dataset], tuple[str, str]] | None = None
    """A number and its meaning, for the top of the report."""
    message: Callable[[xr.Dataset], str] | None = None
    """What the result says, in two or three sentences for someone who reads nothing else."""
    table: Callable[[xr.Dataset], Table] | None = None
    interactive: Callable[[xr.Dataset], Map | None] | None = None
    """A map to explore in a page; None for results that do not have what it takes."""
    order: int = 100
    """Position in the report: smaller numbers first, then by name."""

    def require(self, name: str, result: xr.Dataset) -> None:
        """Refuse a result without what the figure needs. Raises: UserError naming what is missing."""
        for words, variables in self.needs.items():
            dims = tuple(words.split())
            for variable in variables.split():
                if variable not in result.variables:
                    has = ", ".join(map(str, result.variables)) or "none"
                    raise UserError(f"figure {name} needs the variable {variable}; the result has {has}")
                found = tuple(map(str, result[variable].dims))
                if found != dims:
                    raise UserError(
                        f"figure {name} needs {variable} with dimensions ({', '.join(dims)}), got ({', '.join(found)})"
                    )
                if result[variable].size == 0:
                    raise UserError(f"figure {name} needs values of {variable}; the result has none")
        missing = [axis for axis in self.along.split() if axis not in result["axis"].values]
        if missing:
            has = ", ".join(dict.fromkeys(map(str, result["axis"].values)))
            raise UserError(
                f"figure {name} needs values along {' and '.join(missing)}; the result has them along {has}: "
                f"`cgro simulate {self.experiment}` with a list for each"
            )
        for attribute in self.attributes.split():
            if attribute not in result.attrs:
                raise UserError(f"figure {name} needs the attribute {attribute}, which the result lacks")
