"""Gradient stability: gradient norms in training, and how the gradient changes along the direction of descent."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure, Table
from cgro.plots.style import SERIES, band, figure
from cgro.plots.words import OBJECTIVE_WORDS, ball, lines, sign_verdict, with_noise

CLAIMED = ("adversarial", "trades", "standard")
"""Objectives in the order in which the paper reports that their gradients change, fastest first [R]."""


def relative(result: xr.Dataset) -> xr.DataArray:
    """Distance of the gradients in units of the gradient at t = 0."""
    return result["distance"] / result["norm"]


def caption(result: xr.Dataset) -> str:
    """What was trained, and the mean cosines at the end."""
    a = result.attrs
    last = result.isel(at_epoch=-1)
    cosine = last["cosine"].mean(("seed", "t"))
    ends = [f"{_label(name)} {float(cosine.sel(objective=name)):.2f}" for name in result["objective"].values]
    return (
        f"{a['model']} (width {a['width']:g}) on {a['train_images']:,} images of {a['data']}"
        f"{with_noise(a)}, {ball(a)}. Left: norm of the gradient of an update, mean over each "
        f"epoch. Right: change of the gradient of the mean loss of {a['gradient_images']:,} training images when the "
        "weights move by t along the direction of descent, after some epochs; adversarial examples are crafted anew at "
        f"every point. Top: distance, in units of the gradient at t = 0; bottom: cosine. {lines(result.sizes['seed'])} "
        f"Cosine after {int(last['at_epoch'])} epochs, mean over distances and seeds: {', '.join(ends)}."
    )


def _label(objective: Any) -> str:
    return OBJECTIVE_WORDS.get(str(objective), str(objective))


def draw(result: xr.Dataset) -> Drawing:
    """Norms in the first column, then distance and cosine for each epoch."""
    epochs, t = result["at_epoch"].values, result["t"].values
    fig, axes = figure(2.6 + 1.7 * len(epochs), 3.7, ncols=1 + len(epochs), nrows=2, squeeze=False)
    grid = axes[0, 0].get_gridspec()
    for ax in axes[:, 0]:
        ax.remove()
    left = fig.add_subplot(grid[:, 0])
    for k, name in enumerate(result["objective"].values):
        at, color = result.sel(objective=name), SERIES[k % len(SERIES)]
        band(left, result["epoch"].values, at["gradient_norm"].values, color, label=_label(name))
        for column, epoch in enumerate(epochs, start=1):
            here = at.sel(at_epoch=epoch)
            band(axes[0, column], t, relative(here).transpose("seed", "t").values, color)
            band(axes[1, column], t, here["cosine"].transpose("seed", "t").values, color)
    shown = relative(result).values
    low, high = np.nanmin(shown[shown > 0], initial=1.0), np.nanmax(shown, initial=1.0)
    left.set(xlabel="training time (epochs)", ylabel="gradient norm (nat / weight unit)", yscale="log")
    left.legend(loc="best")
    for column, epoch in enumerate(epochs, start=1):
        top, bottom = axes[:, column]
        top.set(xscale="log", yscale="log", title="1 epoch" if epoch == 1 else f"{epoch} epochs")
        bottom.set(xscale="log", ylim=(-1.05, 1.05), xlabel="distance $t$ of the weights")
        bottom.axhline(0, color="#999999", lw=0.6)
        top.tick_params(labelbottom=False)
        top.set_ylim(0.7 * low, 1.4 * high)
        for ax in (top, bottom):
            ax.grid(axis="y", lw=0.4, color="#DDDDDD")
            if column > 1:
                ax.tick_params(labelleft=False)
    axes[0, 1].set_ylabel("relative distance")
    axes[1, 1].set_ylabel("cosine")
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each objective, seed, epoch of measurement and t."""
    flat = xr.Dataset({"relative_distance": relative(result), "cosine": result["cosine"]}).to_dataframe().reset_index()
    header = ["objective", "seed", "at_epoch", "t", "relative_distance", "cosine"]
    return header, flat[header].values.tolist()


def table(result: xr.Dataset) -> Table:
    """Whether the gradient of one objective turns faster than that of the next, at each epoch and distance."""
    present = [name for name in CLAIMED if name in result["objective"].values]
    rows = []
    for epoch in result["at_epoch"].values:
        for fast, slow in pairwise(present):
            cosine = result["cosine"].sel(at_epoch=epoch).transpose("objective", "t", "seed")
            found = [_judged(values) for values in (cosine.sel(objective=slow) - cosine.sel(objective=fast)).values]
            rows.append((f"{epoch}", f"{_label(fast)} before {_label(slow)}", *found, _together(found)))
    return Table(
        "Does the gradient of the first objective turn faster than that of the second, as reported by Dong et al. [R]? "
        f"At each distance t: yes or no if the 95 % t interval of the difference of the cosines over "
        f"{result.sizes['seed']} seeds, paired by seed, lies on one side of 0.",
        header=("epochs", "claimed order", *(f"t = {t:g}" for t in result["t"].values), "verdict"),
        rows=rows,
    )


def _judged(values: np.ndarray) -> str:
    verdict = sign_verdict(values)
    return verdict if verdict in ("yes", "no") else "?"


def _together(found: list[str]) -> str:
    seen = set(found) - {"?"}
    return "depends on t" if len(seen) > 1 else seen.pop() if seen else "undecided"


FIGURE = Figure(
    "Gradient stability",
    experiment="gradient-stability",
    needs={
        "objective seed epoch": "gradient_norm",
        "objective seed at_epoch t": "distance cosine",
        "objective seed at_epoch": "norm",
        "objective": "objective",
        "seed": "seed",
        "epoch": "epoch",
        "at_epoch": "at_epoch",
        "t": "t",
    },
    attributes="data model width radius label_noise train_images gradient_images",
    draw=draw,
    caption=caption,
    numbers=numbers,
    table=table,
    order=4,
)
