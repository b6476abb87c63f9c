"""Figure: adversarial training causes memorization (errors against lambda)."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.output import summary_rows
from cgro.plots.style import COLORS, figure, legend, panel_label, point_range

_ERRORS = ("clean_train_error", "clean_test_error", "robust_train_error", "robust_test_error")
_PARTS = ("signal_margin", "noise_memorization_mean")


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    last = result.isel(step=-1)
    standard, most = last.isel(weight=0), last.isel(weight=-1)
    return (
        f"End of training against the weight lambda of the adversarial loss, {result.sizes['seed']} seeds (marker: "
        f"mean, bar: minimum to maximum). (a) At lambda = {float(standard.weight):g} the mean memorized noise is "
        f"{float(standard.noise_memorization_mean.mean()):.3f} nats; adversarial training memorizes the noise at every "
        "weight that is large enough for the number of steps. At "
        f"lambda = {float(most.weight):g} the signal's part of the margin is {float(most.signal_margin.mean()):.2f} "
        "nats: the network sees only adversarial points and hardly learns the signal. (b) Robust training error falls "
        "to zero with memorization; robust test error stays at one half."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Two panels against lambda: parts of the margin, and errors."""
    fig, (a, b) = figure(6.5, 2.7, ncols=2)
    last, x = result.isel(step=-1), np.arange(result.sizes["weight"])
    for name, color, label in zip(
        _PARTS, ("signal", "noise"), (r"signal $\alpha^q U$", r"noise, mean $V_i$"), strict=True
    ):
        point_range(a, x, last[name].values.T, COLORS[color], label)
    a.set_ylabel("part of the margin (nats)")
    a.axhline(0, color=COLORS["neutral"], lw=0.6)
    legend(a, "center left", (0.0, 0.6))
    panel_label(a, "a", "what is learned")
    for name, shift in zip(_ERRORS, (-0.12, 0.12, -0.04, 0.04), strict=True):
        kind, split, _ = name.split("_")
        style = {"marker": "o" if split == "test" else "s", "ls": "-" if split == "test" else "--"}
        fill = COLORS[kind] if split == "test" else "white"
        point_range(b, x + shift, last[name].values.T, COLORS[kind], f"{kind} {split}", markerfacecolor=fill, **style)
    b.set_ylim(-0.03, 0.75)
    b.set_ylabel("error (fraction)")
    legend(b, "upper center", (0.5, 1.0), ncols=2)
    panel_label(b, "b", "error")
    for ax in (a, b):
        ax.set_xticks(x, [f"{w:g}" for w in result["weight"].values])
        ax.set_xlabel(r"adversarial weight $\lambda$")
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """Mean, minimum and maximum over seeds at the end of training, by lambda."""
    return summary_rows(result.isel(step=-1), "weight", (*_PARTS, *_ERRORS))


FIGURE = Figure(
    "Standard against adversarial training: what is learned, and the errors, against lambda",
    experiment="training-objective",
    needs={
        "weight seed step": (
            "signal_margin noise_memorization_mean clean_train_error robust_train_error "
            "clean_test_error robust_test_error"
        ),
        "weight": "weight",
    },
    draw=draw,
    caption=caption,
    numbers=numbers,
)
