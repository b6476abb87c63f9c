"""Gradient stability: gradient norms in training, and how the gradient changes along the direction of descent."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, SERIES, band, figure
from cgro.plots.words import OBJECTIVE_WORDS, ball, lines, sign_verdict, with_noise

CLAIMED = ("adversarial", "trades", "standard")
"""Objectives in the order in which the paper reports that their gradients change, fastest first [R]."""

ACCURACIES = ("clean_train_accuracy", "robust_train_accuracy")
STYLES = ("-", "--")


def relative(result: xr.Dataset) -> xr.DataArray:
    """Distance of the gradients in units of the gradient at t = 0."""
    return result["distance"] / result["norm"]


def caption(result: xr.Dataset) -> str:
    """What was trained, and the accuracies, norms and mean cosines at the end."""
    a = result.attrs
    last = result.isel(at_epoch=-1)
    names, epoch = list(map(str, result["objective"].values)), int(last["at_epoch"])
    cosine = last["cosine"].mean(("seed", "t"))
    turned = [f"{_label(name)} {float(cosine.sel(objective=name)):.2f}" for name in names]
    norms = [f"{_label(name)} {_range(last['norm'].sel(objective=name).values)}" for name in names]
    clean, robust = (100 * result[kind].isel(epoch=-1).mean("seed") for kind in ACCURACIES)
    fitted = [
        f"{_label(name)} {float(clean.sel(objective=name)):.0f} and {float(robust.sel(objective=name)):.0f} %"
        for name in names
    ]
    return (
        f"{a['model']} (width {a['width']:g}) on {a['train_images']:,} images of {a['data']}"
        f"{with_noise(a)}, {ball(a)}. (a) Norm of the gradient of an update, mean over each "
        f"epoch. (b) Accuracy on clean (solid) and perturbed (dashed) training images; at the end {'; '.join(fitted)}. "
        f"(c-e) Change of the gradient g of the mean loss of {a['gradient_images']:,} training images when the "
        "weights move by t along the direction of descent, after some epochs; adversarial examples are crafted anew at "
        f"every point. (c) Distance of the gradients, in units of |g| at t = 0; (d) the same distance, absolute; (e) "
        f"their cosine. {lines(result.sizes['seed'])} (c) divides by |g|, which after {epoch} epochs is, median and "
        f"range over seeds: {'; '.join(norms)}. Cosine then, mean over distances and seeds: {', '.join(turned)}."
    )


def _range(values: np.ndarray) -> str:
    return f"{np.median(values):.2g} ({values.min():.2g} to {values.max():.2g})"


def _label(objective: Any) -> str:
    return OBJECTIVE_WORDS.get(str(objective), str(objective))


def draw(result: xr.Dataset) -> Drawing:
    """Norms and accuracies in the first column, then both distances and the cosine for each epoch."""
    epochs, t = result["at_epoch"].values, result["t"].values
    columns, ratios = 1 + len(epochs), (1.3, *[1.0] * len(epochs))
    fig, axes = figure(2.9 + 1.55 * len(epochs), 5.0, columns, 3, width_ratios=ratios, squeeze=False)
    left = axes[0, 0].get_gridspec()[:, 0].subgridspec(2, 1)
    for ax in axes[:, 0]:
        ax.remove()
    norms, fitted = fig.add_subplot(left[0]), fig.add_subplot(left[1])
    _draw_training(norms, fitted, result)
    rows = {"relative\ndistance": relative(result), "distance\n(nat / weight unit)": result["distance"]}
    for row, (label, values) in enumerate((rows | {"cosine": result["cosine"]}).items()):
        for column, epoch in enumerate(epochs, start=1):
            ax = axes[row, column]
            for name, color in _colors(result).items():
                at = values.sel(objective=name, at_epoch=epoch)
                band(ax, t, at.transpose("seed", "t").values, color)
            ax.set(xscale="log")
            ax.grid(axis="y", lw=0.4, color="#DDDDDD")
            ax.tick_params(labelleft=column == 1, labelbottom=row == 2)
            if label == "cosine":
                ax.set(ylim=(-1.05, 1.05), xlabel="distance $t$\nof the weights")
                ax.axhline(0, color="#999999", lw=0.6)
            else:
                shown = values.values[values.values > 0]
                low, high = np.nanmin(shown, initial=1.0), np.nanmax(shown, initial=1.0)
                ax.set(yscale="log", ylim=(0.7 * low, 1.4 * high))
        axes[row, 1].set_ylabel(label)
        axes[row, 1].set_title(rf"$\bf{{{'cde'[row]}}}$", loc="left")
    for column, epoch in enumerate(epochs, start=1):
        axes[0, column].set_title("1 epoch" if epoch == 1 else f"{epoch} epochs")
    handles = [Line2D([], [], color=color) for color in _colors(result).values()]
    handles += [Line2D([], [], color=COLORS["neutral"], ls=style) for style in STYLES]
    words = [*map(_label, _colors(result)), "(b) clean images", "(b) perturbed images"]
    fig.legend(handles, words, loc="outside lower center", ncols=len(handles))
    return fig


def _colors(result: xr.Dataset) -> dict[str, str]:
    return {str(name): SERIES[k % len(SERIES)] for k, name in enumerate(result["objective"].values)}


def _draw_training(norms: Axes, fitted: Axes, result: xr.Dataset) -> None:
    """Gradient norms, and accuracies on training images."""
    epoch = result["epoch"].values
    for name, color in _colors(result).items():
        at = result.sel(objective=name)
        band(norms, epoch, at["gradient_norm"].values, color)
        for kind, style in zip(ACCURACIES, STYLES, strict=True):
            band(fitted, epoch, at[kind].values, color, linestyle=style)
    norms.set(ylabel="gradient norm (nat / weight unit)", yscale="log")
    norms.tick_params(labelbottom=False)
    fitted.set(xlabel="training time (epochs)", ylabel="training accuracy (%)", ylim=(0, 1.03))
    fitted.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0))
    for letter, ax in zip("ab", (norms, fitted), strict=True):
        ax.set_title(rf"$\bf{{{letter}}}$", loc="left")
        ax.set_xlim(0, epoch[-1])
        ax.grid(axis="y", lw=0.4, color="#DDDDDD")


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each objective, seed, epoch of measurement and t, then one for each epoch of training, without t."""
    along = xr.Dataset(
        {"relative_distance": relative(result), "distance": result["distance"], "cosine": result["cosine"]}
    ).rename(at_epoch="epoch")
    curves = ["gradient_norm", *ACCURACIES]
    header = ["objective", "seed", "epoch", "t", *along, *curves]
    rows = [[*row, "", "", ""] for row in along.to_dataframe().reset_index()[header[:7]].values.tolist()]
    training = result[curves].to_dataframe().reset_index()[[*header[:3], *curves]].values.tolist()
    return header, rows + [[*row[:3], "", "", "", "", *row[3:]] for row in training]


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
        "objective seed epoch": "gradient_norm clean_train_accuracy robust_train_accuracy",
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
