"""Figure: parameters of clean and robust classifiers of the grid family against dimension, and exact small cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, SERIES, figure, legend, panel_label

_SQUARES = {"neighbours": ("++--", "+-+-"), "corner": ("+---", "+-++", "++-+", "+++-"), "diagonal": ("+--+",)}


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    grid, line, square, parity, bound, lost = (
        _kind(result, kind) for kind in ("grid", "line", "square", "parity", "bound", "lost")
    )
    built = grid.isel(record=np.flatnonzero(grid["nonzero"].values > 0))
    exact = int((line["neurons"] == line["needed"]).sum())
    solved = square["neurons"] > 0
    tight = int((square["neurons"] == square["needed"]).sum())
    certified = min(float(x["certified"].min()) for x in (built, parity, line))
    top = bound.isel(record=int(bound["dim"].values.argmax()))
    large = built.isel(record=int(built["cells"].values.argmax()))
    regular = parity.isel(record=int(parity["cells"].values.argmax()))
    widest = lost.isel(record=np.flatnonzero(lost["dim"].values == lost["dim"].values.max()))
    linear = widest.isel(record=int(widest["parameters"].values.argmin()))
    return (
        "Labels of K^(D-1) cells, balls in l_inf. (a) The hyperplane x_D = 1/2 makes no clean error with D + 1 "
        "parameters (grey). Networks of any depth that are robust on 0.9 of the cells of every labelling need more "
        "parameters than the lower end of each band, by counting sign patterns, and a lookup of grid cells is robust "
        f"with as many as its upper end: between {_number(top['lower'])} and {_number(top['upper'])} at K = "
        f"{int(top['cells_per_side'])}, D = {int(top['dim'])}. Both ends grow as K^((D-1)/2), up to D log K. For "
        "random labels, the smallest network among our constructions that is robust on all cells (circles: non-zero "
        f"parameters, mean over labellings) has {int(large['nonzero']):,} at K = {int(large['cells_per_side'])}, D = "
        f"{int(large['dim'])}; for parity labels 9 (D - 1)(K - 1) suffice (diamonds), {int(regular['nonzero']):,} at "
        f"K = {int(regular['cells_per_side'])}, D = {int(regular['dim'])}. {certified:.0%} of their points are "
        f"certified. (b) K = {int(linear['cells_per_side'])}: the share of cells on which every network of that size "
        "errs robustly, for some labelling, by the same count; 1/2 is guessing. At D = "
        f"{int(linear['dim'])} networks of {int(linear['parameters']):,} parameters, the size of the hyperplane, lose "
        f"{float(linear['share']):.4f}. (c) All {line.sizes['record']} labellings, up to sign, of up to "
        f"{int(line['cells_per_side'].max())} cells: neurons of the two-layer network built and certified, against "
        "the number of label changes; the line is a lower bound (attained in "
        f"{exact} of {line.sizes['record']} cases). (d) K = 2, all {square.sizes['record']} labellings up to sign: the "
        "proved least number of neurons, and the smallest certified network that training from many starts finds, in "
        f"{int(solved.sum())} cases; it attains the least in {tight}."
    )


def _number(value: xr.DataArray) -> str:
    """12,345 or 1.2e+30."""
    return f"{float(value):,.0f}" if float(value) < 1e6 else f"{float(value):.1e}"


def draw(result: xr.Dataset) -> Drawing:
    """Four panels: against the dimension, the share of lost cells, the line, the square."""
    fig, axes = figure(7.2, 5.0, nrows=2, ncols=2, width_ratios=(1.35, 1))
    (a, b), (c, d) = axes
    _grids(a, result)
    _lost(b, _kind(result, "lost"))
    _line(c, _kind(result, "line"))
    _square(d, _kind(result, "square"))
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """One row per grid and per labelling of a line or the square."""
    header = [str(name) for name in result.data_vars]
    return header, [[result[name].values[k].item() for name in header] for k in range(result.sizes["record"])]


def _grids(ax: Axes, result: xr.Dataset) -> None:
    grid, parity, bound = (_kind(result, kind) for kind in ("grid", "parity", "bound"))
    sides = np.unique(grid["cells_per_side"].values)
    for K, color in zip(sides, SERIES, strict=False):
        one, regular, all_of_them = (
            x.isel(record=np.flatnonzero(x["cells_per_side"].values == K)) for x in (grid, parity, bound)
        )
        built = one.isel(record=np.flatnonzero(one["nonzero"].values > 0))
        dims = all_of_them["dim"].values
        ax.fill_between(dims, all_of_them["lower"], all_of_them["upper"], color=color, alpha=0.15, lw=0)
        ax.plot(dims, all_of_them["lower"], color=color, lw=1.2)
        ax.plot(dims, all_of_them["upper"], color=color, lw=0.9, ls="--")
        look: dict[str, Any] = {"color": color, "ls": "none", "ms": 2.6}
        ax.plot(*_means(built, "nonzero"), marker="o", **look)
        ax.plot(*_means(regular, "nonzero"), marker="D", mfc="white", mew=0.7, **look)
        ax.plot([], [], color=color, lw=3, label=f"$K = {K}$")
    black: dict[str, Any] = {"color": "black", "lw": 0.9}
    ax.plot([], [], ls="--", label="robust, sufficient", **black)
    ax.plot([], [], label="robust, necessary", **black)
    ax.plot([], [], marker="o", ms=2.6, ls="none", color="black", label="built, random labels")
    ax.plot([], [], marker="D", ms=2.6, mew=0.7, mfc="white", ls="none", color="black", label="built, parity labels")
    dims = np.unique(bound["dim"].values)
    ax.plot(dims, dims + 1, color=COLORS["neutral"], lw=1.4, ls=":", label="clean, a hyperplane")
    ax.set_yscale("log")
    ax.set_ylim(bottom=1)
    ax.set_xlabel("dimension $D$")
    ax.set_ylabel("parameters")
    legend(ax, "upper left", (0.0, 1.02), fontsize=6.5, handlelength=1.8, labelspacing=0.3)
    panel_label(ax, "a", "$K^{D-1}$ cells, networks of any depth")


def _lost(ax: Axes, lost: xr.Dataset) -> None:
    dims = np.unique(lost["dim"].values)
    for dim, shade in zip(dims, np.linspace(0.25, 1.0, len(dims)), strict=True):
        one = lost.isel(record=np.flatnonzero(lost["dim"].values == dim)).sortby("parameters")
        ax.plot(one["parameters"], one["share"], color=COLORS["robust"], alpha=shade)
        half = int(np.abs(one["share"].values - 0.25).argmin())
        near = (one["parameters"].values[half], one["share"].values[half])
        name = f"$D = {dim}$" if dim == dims[0] else f"${dim}$"
        ax.annotate(name, near, (3, 2), textcoords="offset points", fontsize=6.5)
    ax.axhline(0.5, color=COLORS["neutral"], lw=0.8, ls=":")
    ax.set_xscale("log")
    ax.set_ylim(-0.02, 0.56)
    ax.set_xlabel("parameters")
    ax.set_ylabel("share of cells lost, at least")
    panel_label(ax, "b", "what smaller networks lose")


def _line(ax: Axes, line: xr.Dataset) -> None:
    changes = np.unique(line["changes"].values)
    needed = [line["needed"].values[line["changes"].values == k].mean() for k in changes]
    found = [line["neurons"].values[line["changes"].values == k].max() for k in changes]
    ax.plot(changes, needed, color=COLORS["neutral"], lw=1.2, label="needed")
    ax.plot(changes, found, color=COLORS["clean"], marker="o", ms=4, ls="none", label="built, certified")
    ax.set_xlabel("changes of the label")
    ax.set_ylabel("neurons of two layers")
    ax.set_xticks(changes)
    ax.set_yticks(range(max(found) + 2))
    ax.set_ylim(0, max(found) + 2)
    legend(ax, "upper left", (0.0, 1.02))
    panel_label(ax, "c", "cells on a line, $D = 2$")


def _square(ax: Axes, square: xr.Dataset) -> None:
    labelling = square["labelling"].values
    for k, names in enumerate(_SQUARES.values()):
        part = square.isel(record=np.flatnonzero(np.isin(labelling, names)))
        needed, found = float(part["needed"].max()), part["neurons"].values
        ax.plot([k - 0.3, k + 0.3], [needed] * 2, color=COLORS["neutral"], lw=1.2, label=None if k else "proved")
        found = found[found > 0]
        spread = np.linspace(-0.18, 0.18, len(found)) if len(found) > 1 else np.zeros(len(found))
        look: dict[str, Any] = {"color": COLORS["robust"], "marker": "s", "ms": 4, "ls": "none"}
        ax.plot(k + spread, found, label=None if k else "trained, certified", **look)
    most = int(max(square["neurons"].max(), square["needed"].max()))
    ax.set_xticks(range(len(_SQUARES)), list(_SQUARES), rotation=20)
    ax.set_xlim(-0.5, len(_SQUARES) - 0.5)
    ax.set_yticks(range(most + 2))
    ax.set_ylim(0, most + 1.6)
    ax.set_xlabel("pattern of labels")
    legend(ax, "upper left", (0.0, 1.02))
    panel_label(ax, "d", "four cells, $D = 3$")


def _means(part: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Dimensions, and the mean at each of them."""
    dims = np.unique(part["dim"].values)
    return dims, np.array([part[name].values[part["dim"].values == d].mean() for d in dims])


def _kind(result: xr.Dataset, kind: str) -> xr.Dataset:
    return result.isel(record=np.flatnonzero(result["kind"].values == kind))


FIGURE = Figure(
    "The grid family: clean is linear, robust is exponential",
    experiment="robust-lower-bound",
    needs={
        "record": (
            "kind cells_per_side dim cells clean_parameters changes nonzero total depth neurons needed "
            "needed_parameters needed_at_depth needed_with_errors lower upper parameters share certified construction "
            "labelling"
        ),
    },
    draw=draw,
    caption=caption,
    numbers=numbers,
)
