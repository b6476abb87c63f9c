"""Figure: parameters of clean and robust classifiers of the grid family against the dimension; exact tiny cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cgro.plots.style import COLORS, SERIES, figure, legend, panel_label

EXPERIMENT = "robust-lower-bound"
TITLE = "The grid family: clean is linear, robust is exponential"


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    grid, line = _kind(result, "grid"), _kind(result, "line")
    built = grid.isel(record=np.flatnonzero(grid["nonzero"].values > 0))
    exact = int((line["neurons"] == line["needed"]).sum())
    certified = min(float(built["certified"].min()), float(line["certified"].min()))
    K = np.unique(grid["cells_per_side"].values).max()
    last = grid.isel(record=np.flatnonzero(grid["cells_per_side"].values == K))
    top = last.isel(record=int(last["dim"].values.argmax()))
    return (
        "Random labels of a grid of K^(D-1) cells. (a) The hyperplane x_D = 1/2 makes no clean error with D + 1 "
        "parameters "
        "(grey). The smallest robust network among our l_inf constructions (markers: mean over labellings; "
        f"{certified:.0%} of the points certified in every network) grows with the number of cells; two-layer "
        "networks need, for "
        "some labelling, at least the neurons drawn as lines, by counting (VC dimension, Bartlett et al. 2019): "
        f"{int(top['needed']):,} at K = {K}, D = {int(top['dim'])}. The constant of the counting bound is poor, its "
        "growth is "
        f"not. (b) Two dimensions, all {line.sizes['record']} labellings of up to "
        f"{int(line['cells_per_side'].max())} cells: "
        "neurons of the network that we build, certified, against changes of the label along the line; no two-layer "
        "network "
        f"has fewer (line; exact in {exact} of {line.sizes['record']} cases)."
    )


def draw(result: xr.Dataset) -> Figure:
    """Two panels: against the dimension, and the line."""
    fig, (a, b) = figure(6.6, 2.9, ncols=2, width_ratios=(1.5, 1))
    grid, line = _kind(result, "grid"), _kind(result, "line")
    for K, color in zip(np.unique(grid["cells_per_side"].values), SERIES, strict=False):
        one = grid.isel(record=np.flatnonzero(grid["cells_per_side"].values == K))
        dims = np.unique(one["dim"].values)
        needed = [one["needed"].values[one["dim"].values == d].mean() for d in dims]
        a.plot(dims, needed, color=color, lw=1.2)
        kept = one["nonzero"].values > 0
        places = np.unique(one["dim"].values[kept])
        found = [one["nonzero"].values[kept & (one["dim"].values == d)].mean() for d in places]
        a.plot(places, found, color=color, marker="o", ms=3.5, ls=":", lw=1.0, label=f"robust network found, $K={K}$")
    dims = np.unique(grid["dim"].values)
    a.plot([], [], color="black", lw=1.2, label="neurons needed (counting)")
    a.plot(dims, dims + 1, color=COLORS["neutral"], lw=1.2, ls="--", label="clean classifier")
    a.set_yscale("log")
    a.set_xlabel("dimension $D$")
    a.set_ylabel("non-zero parameters, neurons")
    a.set_ylim(0.7, 1e7)
    legend(a, "upper left", (0.0, 1.02))
    panel_label(a, "a", "random labels of $K^{D-1}$ cells")
    changes = np.unique(line["changes"].values)
    needed = [line["needed"].values[line["changes"].values == c].mean() for c in changes]
    found = [line["neurons"].values[line["changes"].values == c].max() for c in changes]
    b.plot(changes, needed, color=COLORS["neutral"], lw=1.2, label="needed")
    b.plot(changes, found, color=COLORS["clean"], marker="o", ms=4, ls="none", label="built and certified")
    b.set_xlabel("changes of the label")
    b.set_ylabel("neurons of a two-layer network")
    b.set_xticks(changes)
    b.set_yticks(range(max(found) + 2))
    b.set_ylim(0, max(found) + 1)
    legend(b, "upper left", (0.0, 1.02))
    panel_label(b, "b", "cells on a line")
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """One row for each grid and each labelling of a line."""
    header = [str(name) for name in result.data_vars]
    return header, [[result[name].values[k].item() for name in header] for k in range(result.sizes["record"])]


def _kind(result: xr.Dataset, kind: str) -> xr.Dataset:
    return result.isel(record=np.flatnonzero(result["kind"].values == kind))
