"""Figure: parameters of the smallest trained robust memorizer against N and D."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cgro.measures.scaling import PowerLaw, power_law
from cgro.plots.style import COLORS, figure, legend, panel_label

EXPERIMENT = "memorization-capacity"
TITLE = "The smallest trained network that memorizes robustly"
_LOOKS = {"random": (COLORS["noise"], "random labels"), "structured": (COLORS["signal"], "linearly separable labels")}
_AXES = (("samples", "points $N$"), ("dim", "dimension $D$"))


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    fits = []
    for kind in result["labels"].values.tolist():
        laws = [fit(result, kind, axis) for axis, _ in _AXES]
        exponents = " and ".join(
            f"{law.exponent:.2f} ({law.low:.2f} to {law.high:.2f}) in {name}" if law else f"no fit in {name}"
            for law, name in zip(laws, "ND", strict=True)
        )
        fits.append(f"{_LOOKS[kind][1]}: {exponents}")
    failed = int((result["width"] < 0).sum())
    certified = float(result["certified"].mean()) if bool(result["certified"].notnull().any()) else 0.0
    return (
        f"Parameters of the smallest network with {result.attrs['depth']} layers that adversarial training brings to "
        "attacked "
        f"training accuracy 1, in l_{result.attrs['norm']} at rho = {result.attrs['ratio']:g}; "
        f"{result.sizes['seed']} data "
        "sets (marker: mean, bar: smallest to largest). Exponents of power laws with 95 % intervals: "
        f"{'; '.join(fits)}. Grey: N D, sqrt(N D) and N, through the middle of the random labels. Linear bounds "
        "certify "
        f"{certified:.0%} of the points of the networks found; {failed} searches failed at the largest width and are "
        "left out. "
        "Training may miss smaller networks: the points are upper bounds of what is needed."
    )


def draw(result: xr.Dataset) -> Figure:
    """Two panels: against N and against D, with reference slopes."""
    fig, axes = figure(6.5, 2.9, ncols=2, sharey=True)
    for ax, letter, (axis, label) in zip(axes, "ab", _AXES, strict=True):
        for kind in result["labels"].values.tolist():
            x, values = _curve(result, kind, axis)
            color, text = _LOOKS[kind]
            law = fit(result, kind, axis)
            mean = np.nanmean(values, axis=0)
            ends = np.clip([mean - np.nanmin(values, axis=0), np.nanmax(values, axis=0) - mean], 0, None)
            ax.errorbar(x, mean, yerr=ends, color=color, label=text, marker="o", ms=3.5, lw=0, elinewidth=0.8)
            if law is not None:
                ax.plot(x, law.factor * x**law.exponent, color=color, lw=1.2)
        base = "random" if "random" in result["labels"].values else str(result["labels"].values[0])
        x, values = _curve(result, base, axis)
        middle = float(np.exp(np.nanmean(np.log(values))))
        at = float(np.exp(np.log(x).mean()))
        powers = {"samples": (("$ND$, $N$", 1.0, ":"), (r"$\sqrt{ND}$", 0.5, "--"))}.get(
            axis, (("$ND$", 1.0, ":"), (r"$\sqrt{ND}$", 0.5, "--"), ("$N$", 0.0, "-."))
        )
        for text, power, style in powers:
            line = middle * (x / at) ** power
            ax.plot(x, line, color=COLORS["neutral"], ls=style, lw=0.9, zorder=0)
            ax.annotate(text, (x[-1], line[-1]), (3, 0), textcoords="offset points", fontsize=6.5, va="center")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel(label)
        ax.margins(x=0.14)
        ax.set_xticks(ticks := np.unique(result[axis].values[result["axis"].values == axis]), [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        held = "dim" if axis == "samples" else "samples"
        fixed = int(result[held].values[result["axis"].values == axis][0])
        panel_label(ax, letter, f"{'D' if held == 'dim' else 'N'} = {fixed}")
    axes[0].set_ylabel("parameters")
    legend(axes[0], "upper left", (0.0, 1.0))
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """One row for each search."""
    header = ["labels", "seed", "axis", "samples", "dim", "width", "parameters", "certified"]
    rows = [
        [
            str(kind),
            int(seed),
            *(result[name].values[p].item() for name in ("axis", "samples", "dim")),
            *(
                result[name].sel(labels=kind, seed=seed).values[p].item()
                for name in ("width", "parameters", "certified")
            ),
        ]
        for kind in result["labels"].values
        for seed in result["seed"].values
        for p in range(result.sizes["place"])
    ]
    return header, rows


def fit(result: xr.Dataset, kind: str, axis: str) -> PowerLaw | None:
    """Power law of the parameters along an axis, over all seeds; None for too few successes."""
    x, values = _curve(result, kind, axis)
    where = np.isfinite(values)
    everywhere = np.broadcast_to(x, values.shape)[where]
    if len(everywhere) < 3 or len(np.unique(everywhere)) < 2:
        return None
    return power_law(everywhere, values[where])


def _curve(result: xr.Dataset, kind: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """Values of the axis, and parameters (seed, place), NaN where the search failed; places without success are "
    "left out."""
    part = result.sel(labels=kind).isel(place=np.flatnonzero(result["axis"].values == axis))
    values = part["parameters"].transpose("seed", "place").values.astype(float)
    values[values < 0] = np.nan
    kept = np.isfinite(values).any(axis=0)
    return part[axis].values[kept].astype(float), values[:, kept]
