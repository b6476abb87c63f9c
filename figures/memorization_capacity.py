"""Figure: parameters of the smallest trained robust memorizer against N and D."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, figure, legend, panel_label

_LOOKS = {
    "random": (COLORS["noise"], "o", "random labels"),
    "linear": (COLORS["signal"], "s", "linear labels"),
    "prototypes": (COLORS["accent"], "D", "four prototypes"),
}
_AXES = (("samples", "points $N$"), ("dim", "dimension $D$"))
_SLOPES = {
    "samples": ((r"$N\,D$ and $N$", 1.0, ":"), (r"$\sqrt{ND}$", 0.5, "--")),
    "dim": ((r"$N\,D$", 1.0, ":"), (r"$\sqrt{ND}$", 0.5, "--"), ("$N$", 0.0, "-.")),
}
_NUMBERS = ("width", "parameters", "attacked", "certified")


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    kinds = result["labels"].values.tolist()
    fits = "; ".join(
        f"{_LOOKS[kind][2]} {_exponent(result, kind, 'samples')} in N and {_exponent(result, kind, 'dim')} in D"
        for kind in kinds
    )
    certified = ", ".join(
        f"{float(part.mean()):.0%} ({kind})"
        for kind in kinds
        if bool((part := result["certified"].sel(labels=kind)).notnull().any())
    )
    failed = int((result["width"] < 0).sum())
    left_out = (
        f"; {failed} of {result['width'].size} searches failed at the largest width {result.attrs['largest_width']} "
        "(arrows) and are left out of the fits with all searches at that size"
        if failed
        else ""
    )
    return (
        f"Parameters of the smallest network with {result.attrs['depth']} layers that reaches attacked training "
        f"accuracy 1 by adversarial training, in l_{result.attrs['norm']} at rho = {result.attrs['ratio']:g}, "
        f"confirmed by the certifier's falsifier; {result.sizes['seed']} data sets (marker: geometric mean, bar: "
        f"minimum to maximum). Exponents of power laws (lines) with 95 % intervals: {fits}{left_out}. Grey: slopes of "
        "N D (1, 1), sqrt(N D) (1/2, 1/2) and N (1, 0). Fraction of points certified by bounds for the networks found: "
        f"{certified or 'none'}. For linear labels one neuron suffices, D + 3 parameters in two layers. Training may "
        "miss smaller networks, so the markers are upper bounds on what is needed."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Two panels: against N and against D, with reference slopes."""
    fig, axes = figure(6.6, 3.1, ncols=2, sharey=True)
    kinds = result["labels"].values.tolist()
    for ax, letter, (axis, label) in zip(axes, "ab", _AXES, strict=True):
        places = result.isel(place=np.flatnonzero(result["axis"].values == axis))
        for k, kind in enumerate(kinds):
            _series(ax, places.sel(labels=kind), axis, kind, dodge=1.06 ** (k - (len(kinds) - 1) / 2))
        _references(ax, places.sel(labels=kinds[0]), axis)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel(label)
        ax.margins(x=0.12)
        ticks = np.unique(places[axis].values)
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        other = "dim" if axis == "samples" else "samples"
        fixed = int(places[other].values[0])
        panel_label(ax, letter, f"$D = {fixed}$" if other == "dim" else f"$N = {fixed}$")
    axes[0].set_ylabel("parameters")
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, high * 2.5)  # room for the legend
    legend(axes[0], "upper left", (0.0, 1.02))
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """One row per search."""
    places = ("axis", "samples", "dim")
    rows = [
        [
            str(kind),
            int(seed),
            *(result[name].values[p].item() for name in places),
            *(result[name].sel(labels=kind, seed=seed).values[p].item() for name in _NUMBERS),
        ]
        for kind in result["labels"].values
        for seed in result["seed"].values
        for p in range(result.sizes["place"])
    ]
    return ["labels", "seed", *places, *_NUMBERS], rows


def _series(ax: Axes, part: xr.Dataset, axis: str, kind: str, dodge: float) -> None:
    """Markers, the power law, and arrows at the largest width where a search failed; `dodge` shifts the series."""
    color, marker, text = _LOOKS[kind]
    values = part["parameters"].transpose("seed", "place").values.astype(float)
    failed = (values < 0).any(axis=0)
    x, whole = part[axis].values, values[:, ~failed]
    if whole.size:
        mean = np.exp(np.log(whole).mean(axis=0))
        ends = np.clip([mean - whole.min(axis=0), whole.max(axis=0) - mean], 0, None)
        look: dict[str, Any] = {"color": color, "marker": marker, "ms": 3.5, "lw": 0, "elinewidth": 0.8}
        ax.errorbar(x[~failed] * dodge, mean, yerr=ends, label=text, **look)
    for p in np.flatnonzero(failed):
        most = _most_parameters(part, int(part["dim"].values[p]))
        found = values[:, p][values[:, p] > 0]
        ax.plot(np.full(len(found), x[p] * dodge), found, color=color, marker=marker, ms=3.5, mfc="white", lw=0)
        ax.plot([x[p] * dodge], [most], color=color, marker="$\\uparrow$", ms=8, lw=0)
    law = part.sel(vary=axis)
    if np.isfinite(law["exponent"]):
        there = x[~failed].astype(float)
        ax.plot(there, float(law["factor"]) * there ** float(law["exponent"]), color=color, lw=1.0, alpha=0.8)


def _references(ax: Axes, part: xr.Dataset, axis: str) -> None:
    """Grey lines of the known slopes through the middle of the first kind of labels."""
    values = part["parameters"].values.astype(float)
    values = values[values > 0]
    x = np.sort(part[axis].values.astype(float))
    if not values.size:
        return
    middle, at = np.exp(np.log(values).mean()), np.exp(np.log(x).mean())
    for text, power, style in _SLOPES[axis]:
        line = middle * (x / at) ** power
        ax.plot(x, line, color=COLORS["neutral"], ls=style, lw=0.8, zorder=0)
        ax.annotate(text, (x[-1], line[-1]), (7, 0), textcoords="offset points", fontsize=6.5, va="center")


def _most_parameters(part: xr.Dataset, dim: int) -> int:
    """Parameters at the largest width."""
    sizes = (dim, *[part.attrs["largest_width"]] * (part.attrs["depth"] - 1), 1)
    return sum((a + 1) * b for a, b in pairwise(sizes))


def _exponent(result: xr.Dataset, kind: str, axis: str) -> str:
    """Exponent and interval as text."""
    law = result.sel(labels=kind, vary=axis)
    if not np.isfinite(law["exponent"]):
        return "too few searches for a fit"
    return f"{float(law['exponent']):.2f} ({float(law['exponent_low']):.2f} to {float(law['exponent_high']):.2f})"


FIGURE = Figure(
    "The smallest trained network that memorizes robustly",
    experiment="memorization-capacity",
    needs={
        "labels seed place": "width parameters attacked certified",
        "place": "axis samples dim",
        "labels": "labels",
        "labels vary": "exponent exponent_low exponent_high factor",
        "vary": "vary",
    },
    attributes="ratio norm depth largest_width",
    along="samples dim",
    draw=draw,
    caption=caption,
    numbers=numbers,
)
