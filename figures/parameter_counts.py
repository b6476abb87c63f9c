"""Figure: parameters of robust memorizers against N, D and rho."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, SERIES, figure

_AXES = (("samples", "points $N$"), ("dim", "dimension $D$"), ("ratio", r"robustness ratio $\rho$"))
_LOOKS = {
    "ball_sum": (r"$\ell_2$ shared square", SERIES[0], "o"),
    "shallow_ball_sum": (r"$\ell_2$ shared square, shallow", SERIES[5], "s"),
    "projected_ball_sum": (r"$\ell_2$ shared square, projected", SERIES[2], "D"),
    "hinge_sum": (r"$\ell_\infty$ hinge sum", SERIES[1], "o"),
    "shared_hinges": (r"$\ell_\infty$ shared hinges", SERIES[4], "s"),
    "sequential": (r"$\ell_\infty$ one after the other", SERIES[3], "D"),
    "lipschitz": (r"$\ell_\infty$ smallest Lipschitz constant", "#8B5A2B", "^"),
    "absolute_sum": (r"$\ell_1$ absolute sum", SERIES[6], "v"),
}


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    built = result["total"].values > 0
    equal = [
        int((result[name].values == result[f"claimed_{name}"].values)[built].sum()) for name in ("nonzero", "total")
    ]
    fixed = {axis: _fixed(result, axis) for axis, _ in _AXES}
    best = result.where((result["construction"] == "projected_ball_sum") & (result["axis"] == "dim"), drop=True)
    wide = best.isel(record=int(best["dim"].values.argmax()))
    sets = len(np.unique(result["seed"]))
    return (
        "Robust memorizers of uniform points with random labels. One of N, D and rho varies; the others are "
        f"N = {fixed['samples']:g}, D = {fixed['dim']:g}, rho = {fixed['ratio']:g}. Markers: parameters of the built "
        f"networks, mean over {sets} point set{'s' if sets > 1 else ''}; lines: the formula of the construction "
        f"({equal[1]} of {int(built.sum())} totals and {equal[0]} non-zero counts equal it). Top: weights and biases "
        "of dense layers, with the lower bound for some data set in l_2 (dotted; Kim, Moon & Yun 2025, "
        "arXiv:2510.24643) and two orders without constants: the published one after projection onto the span, "
        "N d^2 rho^4 + rho^2 d D + D with d = min(N, D) (dashed), and that of the projected shared square, "
        "D + N + rho^2 N D (dash-dotted), which gains nothing for N <= sqrt(D) / rho "
        f"({np.sqrt(fixed['dim']) / fixed['ratio']:.0f} at the fixed D and rho). Bottom: non-zero weights and biases. "
        f"At D = {int(wide['dim'])} the projected shared square has {int(wide['total']):,} parameters in total, "
        f"{float(wide['total'] / wide['lower_bound']):.1f} times the lower bound."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Six panels: all and non-zero parameters, against N, D and rho."""
    fig, axes = figure(6.8, 5.0, ncols=3, nrows=2, sharex="col", sharey="row")
    for column, (axis, label) in enumerate(_AXES):
        part = result.where(result["axis"] == axis, drop=True)
        for row, count in enumerate(("total", "nonzero")):
            ax = axes[row, column]
            for name, (text, color, marker) in _LOOKS.items():
                x, measured, claimed = _curve(part, name, axis, count)
                ax.plot(x, claimed, color=color, lw=0.9)
                ax.plot(x, measured, color=color, ls="none", marker=marker, ms=3, label=text)
            if row == 0:
                bound = part.where(part["norm"] == "2", drop=True)
                for what, style, text in (
                    ("lower_bound", ":", r"lower bound, $\ell_2$"),
                    ("published_scaling", "--", r"published order on the span"),
                    ("shared_square_scaling", "-.", r"order $D + N + \rho^2 N D$"),
                ):
                    x, values, _ = _curve(bound, None, axis, what)
                    ax.plot(x, values, color=COLORS["neutral"], ls=style, lw=1.2, label=text)
            ax.set_yscale("log")
            if axis != "ratio":
                ax.set_xscale("log")
        axes[1, column].set_xlabel(label)
    axes[0, 0].set_ylabel("all parameters")
    axes[1, 0].set_ylabel("non-zero parameters")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3)
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """One row per memorizer."""
    header = [
        *("axis", "samples", "dim", "ratio", "norm", "construction", "seed", "nonzero", "claimed_nonzero", "total"),
        *("claimed_total", "neurons", "depth", "width", "lower_bound"),
    ]
    return header, [[result[name].values[k].item() for name in header] for k in range(result.sizes["record"])]


def _curve(part: xr.Dataset, name: str | None, axis: str, count: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of the axis, mean measured and claimed counts, without networks that could not be built."""
    kept = part["total"].values > 0
    if name is not None:
        kept &= part["construction"].values == name
    x = part[axis].values[kept].astype(float)
    places = np.unique(x)
    claimed = f"claimed_{count}" if f"claimed_{count}" in part else count
    means = [[part[c].values[kept][x == place].mean() for place in places] for c in (count, claimed)]
    return places, np.array(means[0]), np.array(means[1])


def _fixed(result: xr.Dataset, axis: str) -> float:
    """The value of a quantity when it is not varied."""
    return float(result[axis].values[result["axis"].values != axis][0])


FIGURE = Figure(
    "What robust memorization costs",
    experiment="parameter-counts",
    needs={
        "record": (
            "axis samples dim ratio seed norm construction nonzero total neurons depth width claimed_nonzero "
            "claimed_total lower_bound published_scaling shared_square_scaling"
        ),
    },
    along="samples dim ratio",
    draw=draw,
    caption=caption,
    numbers=numbers,
)
