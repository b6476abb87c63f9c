"""Write a figure as PDF and PNG, and the plotted numbers as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import xarray as xr
from matplotlib.figure import Figure as Drawing
from PIL import Image

from cgro.base.files import write_whole
from cgro.plots.figure import Figure
from cgro.plots.style import house_style

# No dates or versions in the files: the same result gives the same bytes.
_METADATA = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}


def draw_figure(
    figure: Figure, name: str, result: xr.Dataset, folder: Path, kinds: Sequence[str] = ("pdf", "png")
) -> dict[str, Path]:
    """Draw the figure of `result` in these formats, and its numbers as CSV; returns the files by kind.

    Raises: UserError, before anything is written, for a result that lacks what the figure needs.
    """
    figure.require(name, result)
    with house_style():
        fig = _arranged(figure.draw(result))
        contents: dict[str, bytes] = {}
        for kind in kinds:
            contents[kind] = _saved(fig, kind)
    header, rows = figure.numbers(result)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[f"{x:.10g}" if isinstance(x, float) else x for x in row] for row in rows])
    contents["csv"] = text.getvalue().encode()
    files = {kind: folder / f"{name}.{kind}" for kind in contents}
    for kind, path in files.items():
        write_whole(path, contents[kind])
    return files


def _arranged(fig: Drawing) -> Drawing:
    """The drawing with its axes in place: arranged once, at the resolution of the PNG, so that all formats agree and
    none depends on another."""
    fig.set_dpi(float(mpl.rcParams["savefig.dpi"]))
    if (engine := fig.get_layout_engine()) is not None:
        engine.execute(fig)
    fig.set_layout_engine("none")
    return fig


def picture(draw: Callable[[xr.Dataset], Drawing], result: xr.Dataset) -> bytes:
    """The PNG of a drawn result, in the house style."""
    with house_style():
        return _saved(_arranged(draw(result)), "png")


def _saved(fig: Drawing, kind: str) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, format=kind, metadata=_METADATA[kind])
    return in_palette(buffer) if kind == "png" else buffer.getvalue()


def in_palette(png: io.BytesIO) -> bytes:
    """The PNG with a palette of 256 colours: a third of the size, and no difference to the eye."""
    small = io.BytesIO()
    with Image.open(png) as drawn:
        drawn.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png", dpi=drawn.info["dpi"])
    return small.getvalue()


def summary_rows(last: xr.Dataset, dimension: str, names: tuple[str, ...]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows: mean, minimum and maximum over seeds of each quantity, for each value of a dimension."""
    statistics = ("mean", "min", "max")
    header = [dimension, *(f"{name}_{s}" for name in names for s in statistics)]
    rows = [
        [
            value.item(),
            *(float(getattr(last[n].sel({dimension: value}), s)()) for n in names for s in statistics),
        ]
        for value in last[dimension].values
    ]
    return header, rows
