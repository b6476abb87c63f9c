"""Figure: the transition for several activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.output import summary_rows
from cgro.plots.style import COLORS, SERIES, band, figure, legend, panel_label, point_range

_ERRORS = ("clean_test_error", "robust_train_error", "robust_test_error")


def _label(name: str) -> str:
    kind, q = str(name).split("-")
    return rf"$\mathrm{{sgn}}(z)|z|^{{{q}}}$" if kind == "odd" else rf"$\max(z,0)^{{{q}}}$"


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    last = result.isel(step=-1)
    worst = {name: float(last[name].mean("seed").max()) for name in _ERRORS[:2]}
    least = float(last["robust_test_error"].mean("seed").min())
    return (
        f"The same setting with other activations, {result.sizes['seed']} seeds. (a) Median memorized noise during "
        "training (line: mean, band: minimum to maximum). (b) Final errors (marker: mean, bar: minimum to maximum). "
        f"Over all activations, the largest mean clean test error is {worst['clean_test_error']:.3f}, the largest mean "
        f"robust training error {worst['robust_train_error']:.3f}, and the smallest mean robust test error {least:.3f}."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Two panels: memorization over steps, and final errors."""
    fig, (a, b) = figure(6.5, 2.9, ncols=2)
    step = result["step"].values
    names = list(result["activation"].values)
    for name, color in zip(names, SERIES * 3, strict=False):
        values = result["noise_memorization_median"].sel(activation=name).values[:, step > 0]
        band(a, step[step > 0], values, color, _label(name), ls="-" if str(name).startswith("odd") else "--")
    a.set_xscale("log")
    a.set_yscale("symlog", linthresh=0.1, linscale=0.5)
    a.set_ylim(-0.1, 30)
    a.set_xlabel("gradient step")
    a.set_ylabel("noise, median $V_i$ (nats)")
    legend(a, "upper left", (0.0, 1.0))
    panel_label(a, "a", "memorization")
    x = np.arange(len(names))
    last = result.isel(step=-1)
    for name, shift in zip(_ERRORS, (-0.15, 0.0, 0.15), strict=True):
        kind, split, _ = name.split("_")
        fill = COLORS[kind] if split == "test" else "white"
        marker = "o" if split == "test" else "s"
        look = {"ls": "", "marker": marker, "markerfacecolor": fill}
        point_range(b, x + shift, last[name].values.T, COLORS[kind], f"{kind} {split}", **look)
    b.set_xticks(x, [_label(name) for name in names], rotation=35, ha="right")
    b.set_ylim(-0.03, 0.75)
    b.set_ylabel("error (fraction)")
    legend(b, "upper center", (0.52, 0.99), ncols=3, columnspacing=0.8, handletextpad=0.2, borderpad=0.1)
    panel_label(b, "b", "final error")
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """Mean, minimum and maximum over seeds at the end of training, by activation."""
    return summary_rows(result.isel(step=-1), "activation", ("noise_memorization_median", *_ERRORS))


FIGURE = Figure(
    "Activations: exponents q and ReLU^q",
    experiment="activation",
    needs={
        "activation seed step": "noise_memorization_median robust_train_error clean_test_error robust_test_error",
        "step": "step",
        "activation": "activation",
    },
    draw=draw,
    caption=caption,
    numbers=numbers,
)
