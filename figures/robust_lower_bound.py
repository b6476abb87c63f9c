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
    grid, line, square, parity = (_kind(result, kind) for kind in ("grid", "line", "square", "parity"))
    built = grid.isel(record=np.flatnonzero(grid["nonzero"].values > 0))
    exact = int((line["neurons"] == line["needed"]).sum())
    solved = square["neurons"] > 0
    tight = int((square["neurons"] == square["needed"]).sum())
    certified = min(float(x["certified"].min()) for x in (built, parity, line))
    top = grid.isel(record=int((grid["needed_parameters"]).values.argmax()))
    large = built.isel(record=int(built["cells"].values.argmax()))
    regular = parity.isel(record=int(parity["cells"].values.argmax()))
    return (
        "K^(D-1) cells in l_inf. (a) The hyperplane x_D = 1/2 makes no clean error with D + 1 parameters (grey). For "
        "random labels, the smallest robust network among our constructions (circles: non-zero parameters, mean over "
        f"labellings) grows with the number of cells, to {int(large['nonzero']):,} at K = "
        f"{int(large['cells_per_side'])}, D = {int(large['dim'])}. For parity labels (diamonds) 9 (D - 1)(K - 1) "
        f"suffice, {int(regular['nonzero']):,} at K = {int(regular['cells_per_side'])}, D = {int(regular['dim'])}. "
        f"{certified:.0%} of the points are certified in every network. Lines: parameters that two-layer networks "
        "need for some labelling, by counting (VC dimension, Bartlett et al. 2019): "
        f"{int(top['needed_parameters']):,} at K = {int(top['cells_per_side'])}, D = {int(top['dim'])}. The constant "
        "is poor, but the growth is exponential in D. Bounds for deeper networks such as ours are weaker: at its "
        f"depth, counting requires {int(large['needed_at_depth']):,} parameters of the largest network. (b) D = 2, all "
        f"{line.sizes['record']} labellings, up to sign, of up to {int(line['cells_per_side'].max())} cells: neurons "
        "of the two-layer network built and certified, against the number of label changes; the line is a lower bound "
        f"(attained in {exact} of {line.sizes['record']} cases). (c) D = 3, K = 2, all {square.sizes['record']} "
        f"labellings up to sign: training from many starts gives a certified network in {int(solved.sum())} cases. It "
        f"attains the proved bound in {tight} and is only an upper bound in the others."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Three panels: against the dimension, the line, the square."""
    fig, (a, b, c) = figure(7.2, 3.1, ncols=3, width_ratios=(1.8, 1, 1))
    _grids(a, result)
    _line(b, _kind(result, "line"))
    _square(c, _kind(result, "square"))
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """One row per grid and per labelling of a line or the square."""
    header = [str(name) for name in result.data_vars]
    return header, [[result[name].values[k].item() for name in header] for k in range(result.sizes["record"])]


def _grids(ax: Axes, result: xr.Dataset) -> None:
    grid, parity = _kind(result, "grid"), _kind(result, "parity")
    sides = np.unique(grid["cells_per_side"].values)
    for K, color in zip(sides, SERIES, strict=False):
        one = grid.isel(record=np.flatnonzero(grid["cells_per_side"].values == K))
        built = one.isel(record=np.flatnonzero(one["nonzero"].values > 0))
        regular = parity.isel(record=np.flatnonzero(parity["cells_per_side"].values == K))
        ax.plot(*_means(one, "needed_parameters"), color=color, lw=1.2)
        ax.plot(*_means(built, "nonzero"), color=color, marker="o", ms=3.5, ls=":", lw=0.9)
        ax.plot(*_means(regular, "nonzero"), color=color, marker="D", ms=3, mfc="white", ls=":", lw=0.9)
        ax.plot([], [], color=color, lw=3, label=f"$K = {K}$")
    look: dict[str, Any] = {"color": "black", "lw": 0.9}
    ax.plot([], [], marker="o", ms=3.5, ls=":", label="robust, random labels", **look)
    ax.plot([], [], marker="D", ms=3, mfc="white", ls=":", label="robust, parity labels", **look)
    ax.plot([], [], label="needed by two layers", **look)
    dims = np.unique(grid["dim"].values)
    ax.plot(dims, dims + 1, color=COLORS["neutral"], lw=1.2, ls="--", label="clean, a hyperplane")
    ax.set_yscale("log")
    ax.set_xlabel("dimension $D$")
    ax.set_ylabel("parameters")
    top = max(float(grid[name].max()) for name in ("needed_parameters", "nonzero"))
    ax.set_ylim(2, 300 * top)  # room for the legend
    legend(ax, "upper left", (0.0, 1.02), ncols=2, columnspacing=0.8, handlelength=1.6, fontsize=6.5)
    panel_label(ax, "a", "$K^{D-1}$ cells")


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
    panel_label(ax, "b", "cells on a line")


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
    panel_label(ax, "c", "four cells, $D = 3$")


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
            "needed_parameters needed_at_depth needed_with_errors certified construction labelling"
        ),
    },
    draw=draw,
    caption=caption,
    numbers=numbers,
)
