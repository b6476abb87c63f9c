"""The largest shares as bars."""

from __future__ import annotations

from typing import Any

import xarray as xr
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.style import figure


def caption(result: xr.Dataset) -> str:
    """What the figure shows."""
    return f"Largest share of heads, up to {float(result['largest'].max()):.2f}."


def draw(result: xr.Dataset) -> Drawing:
    """A bar for each seed."""
    fig, ax = figure(3.2, 2.4)
    ax.bar(result["seed"], result["largest"])
    ax.set_xlabel("seed")
    ax.set_ylabel("largest share of heads")
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """The bars."""
    return ["seed", "largest"], [[int(seed), float(result["largest"].sel(seed=seed))] for seed in result["seed"].values]


FIGURE = Figure(
    "The largest share of heads",
    experiment="coin-flips",
    needs={"seed": "largest seed"},
    draw=draw,
    caption=caption,
    numbers=numbers,
)
