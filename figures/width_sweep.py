"""Accuracy against the number of parameters: small networks predict one class, larger ones memorize robustly."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import PercentFormatter

from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, figure
from cgro.plots.words import ball, method

CURVES = {
    "clean_test_accuracy": ("clean test", "clean", "-"),
    "robust_train_accuracy": ("robust training", "robust", "--"),
    "robust_test_accuracy": ("robust test", "robust", "-"),
}


def caption(result: xr.Dataset) -> str:
    """What was trained, the accuracy of a constant predictor, and the gap of the largest network."""
    a, seeds, last = result.attrs, result.sizes["seed"], result.isel(width=-1).mean("seed")
    train, test = (100 * float(last[f"robust_{part}_accuracy"]) for part in ("train", "test"))
    return (
        f"{method(a)} of {a['model']} at {ball(a)} on {a['train_images']:,} images "
        f"({a['data']}); only the width differs ({float(result['width'][0]):g} to "
        f"{float(result['width'][-1]):g}). Accuracy under PGD on training images (dashed) and on "
        f"{a['test_images']:,} test images (solid), and on clean test images. Dotted: a constant predictor "
        f"({100 * a['most_frequent']:.1f} %). The largest network reaches {train:.1f} % robust training accuracy, "
        f"{test:.1f} % robust test accuracy and {100 * float(last['clean_test_accuracy']):.1f} % clean test accuracy. "
        f"Dots: single runs; lines: means over {seeds} seed{'s' if seeds > 1 else ''}."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Three curves over the number of parameters, on a logarithmic axis."""
    fig, ax = figure(6.2, 3.3)
    parameters = result["parameters"].values
    for name, (label, color, style) in CURVES.items():
        values = result[name].transpose("seed", "width").values
        # Show single seeds: at some widths each either predicts a single class or learns, with nothing in between.
        ax.plot(parameters, values.mean(0), color=COLORS[color], label=label, linestyle=style)
        ax.plot(parameters, values.T, "o", color=COLORS[color], ms=3.2, mew=0, alpha=0.7)
    ax.axhline(result.attrs["most_frequent"], color=COLORS["neutral"], lw=0.8, ls=":")
    ax.text(parameters[-1], result.attrs["most_frequent"] + 0.015, "constant predictor", ha="right", fontsize=7.5)
    ax.set_xscale("log")
    ax.set(ylim=(0, 1.02), xlabel="parameters", ylabel="accuracy (% of images)")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 0.2))
    top = ax.secondary_xaxis("top")
    top.set_xticks(parameters, [f"{w:g}" for w in result["width"].values])
    top.minorticks_off()
    top.set_xlabel("width")
    top.spines["top"].set_visible(False)
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[float | str]]]:
    """Header and rows of the plotted numbers: parameters, and mean, minimum and maximum of each curve, by width."""
    header = ["width", "parameters", *(f"{name}_{s}" for name in CURVES for s in ("mean", "min", "max"))]
    rows: list[list[float | str]] = []
    for width in result["width"].values:
        at = result.sel(width=width)
        values = [f(at[name].values) for name in CURVES for f in (np.mean, np.min, np.max)]
        rows.append([float(width), float(at["parameters"]), *map(float, values)])
    return header, rows


FIGURE = Figure(
    "Accuracy against network size",
    experiment="width-sweep",
    needs={
        "width seed": "robust_train_accuracy clean_test_accuracy robust_test_accuracy",
        "width": "parameters width",
    },
    attributes="data model radius train_images test_images most_frequent",
    draw=draw,
    caption=caption,
    numbers=numbers,
    order=5,
)
