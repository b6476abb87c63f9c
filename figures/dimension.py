"""Figure: the transition across dimensions."""

from __future__ import annotations

from typing import Any

import xarray as xr
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.output import summary_rows
from cgro.plots.style import COLORS, figure, legend, panel_label, point_range

_ERRORS = ("clean_test_error", "robust_train_error", "robust_test_error")
_PARTS = ("signal_margin", "noise_memorization_median", "noise_response_std")


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    last = result.isel(step=-1).mean("seed")
    return (
        "The noise norm is fixed while d grows; radius delta = alpha (1 - 1/(sqrt(d) log d)); "
        f"{result.sizes['seed']} seeds (marker: mean, bar: minimum to maximum). (a) Signal and memorized noise do not "
        "change with d. The network's response to fresh noise falls to that of the random initial filters (dotted), "
        "so memorization no longer affects fresh samples. (b) Robust test error is between "
        f"{float(last['robust_test_error'].min()):.3f} and {float(last['robust_test_error'].max()):.3f}; clean test "
        f"error is at most {float(last['clean_test_error'].max()):.3f}."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Two panels against d: parts of the margin, errors."""
    fig, (a, b) = figure(6.5, 2.7, ncols=2)
    last, d = result.isel(step=-1), result["dim"].values.astype(float)
    looks = (
        ("signal", r"signal $\alpha^q U$"),
        ("noise", "memorized noise, median $V_i$"),
        ("accent", "fresh noise, std $Z$"),
    )
    for name, (color, label) in zip(_PARTS, looks, strict=True):
        point_range(a, d, last[name].values.T, COLORS[color], label)
    start = result["noise_response_std"].isel(step=0).mean("seed")
    a.plot(d, start, color=COLORS["accent"], lw=1.0, ls=":", label="fresh noise at initialization")
    a.set_yscale("log")
    a.set_ylabel("part of the margin (nats)")
    legend(a, "center right", (1.0, 0.52))
    panel_label(a, "a", "end of training")
    for name in _ERRORS:
        kind, split, _ = name.split("_")
        fill = COLORS[kind] if split == "test" else "white"
        look = {
            "markerfacecolor": fill,
            "marker": "o" if split == "test" else "s",
            "ls": "-" if split == "test" else "--",
        }
        point_range(b, d, last[name].values.T, COLORS[kind], f"{kind} {split}", **look)
    b.set_ylim(-0.03, 0.75)
    b.set_ylabel("error (fraction)")
    legend(b, "upper right", (1.0, 1.0), ncols=1)
    panel_label(b, "b", "error")
    for ax in (a, b):
        ax.set_xscale("log")
        ax.set_xlabel("patch dimension $d$")
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """Mean, minimum and maximum over seeds at the end of training, by dimension."""
    return summary_rows(result.isel(step=-1), "dim", (*_PARTS, *_ERRORS))


FIGURE = Figure(
    "Patch dimension from 50 to a million",
    experiment="dimension",
    needs={
        "dim seed step": (
            "signal_margin noise_memorization_median robust_train_error clean_test_error robust_test_error "
            "noise_response_std"
        ),
        "dim": "dim",
    },
    draw=draw,
    caption=caption,
    numbers=numbers,
)
