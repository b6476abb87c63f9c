"""Components of the margin and losses of real images over training, with the phases shaded."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, band, figure, legend, panel_label
from cgro.plots.words import ball, lines, method

COMPONENTS = {
    "clean_margin_unseen": ("signal $S$", "signal", "-"),
    "attacked_margin_unseen": ("attacked $\\hat S$", "signal", "--"),
    "memorized": ("memorized $M$", "noise", "-"),
}
LOSSES = {
    "clean_loss_unseen": ("clean, unseen", "clean", "-"),
    "attacked_loss_unseen": ("perturbed, unseen", "robust", "-"),
    "attacked_loss_train": ("perturbed, training", "robust", "--"),
}
SHADES = ("#f2f2f2", "#ffffff", "#f2f2f2")


def times(result: xr.Dataset) -> tuple[float, float]:
    """Geometric means over seeds of the ends of phases I and II; NaN if a seed does not reach them."""
    return tuple(float(np.exp(np.log(result[name].values).mean())) for name in ("T_0", "T_1"))  # type: ignore[return-value]


def caption(result: xr.Dataset) -> str:
    """What was trained and measured, and when the phases end."""
    a, (first, second) = result.attrs, times(result)
    last = result.isel(step=-1).mean("seed")
    phases = (
        f"Phase I ends at step T_0 = {first:.0f}, when the signal component reaches 1 (dotted), and phase II at step "
        f"T_1 = {second:.0f}, when the memorized component does."
        if np.isfinite(first + second)
        else "Not every seed reaches the end of phase II."
    )
    return (
        f"{method(a)} of {a['model']} (width {a['width']:g}) on {a['train_images']:,} images "
        f"({a['data']}), {ball(a)}, constant learning rate{_ramp(a)}. (a) Mean margin of {a['watched']:,} unseen "
        "images, clean (S) and perturbed, and how much larger the margin is on perturbed training images (M). (b) "
        f"Losses. {phases} At the end, the loss is {float(last['attacked_loss_train']):.2f} nat on perturbed training "
        f"images and {float(last['attacked_loss_unseen']):.2f} nat on perturbed unseen images. "
        f"{lines(result.sizes['seed'])}"
    )


def _ramp(attrs: dict) -> str:
    share = float(attrs.get("radius_warmup", attrs.get("ramp", 0.0)))
    return f", the radius rising over the first {100 * share:.0f} % of the training" if share else ""


def highlight(result: xr.Dataset) -> tuple[str, str]:
    """The ends of phases I and II, for the top of the report."""
    first, second = times(result)
    return f"{first:.0f} / {second:.0f} steps", f"signal learned / memorized on real images ({result.attrs['data']})"


def draw(result: xr.Dataset) -> Drawing:
    """Two panels over the number of updates: components of the margin, and losses."""
    fig, axes = figure(6.8, 3.1, ncols=2)
    step = np.maximum(result["step"].values.astype(float), 0.5)
    for ax, curves, label, title in (
        (axes[0], COMPONENTS, "margin (logits)", "components of the margin"),
        (axes[1], LOSSES, "loss (nats)", "losses"),
    ):
        for name, (text, color, style) in curves.items():
            band(ax, step, result[name].values, COLORS[color], text, linestyle=style)
        ax.set_xscale("log")
        ax.set(xlim=(step[0], step[-1]), xlabel="training time (updates)", ylabel=label)
        _phases(ax, result)
        panel_label(ax, "a" if ax is axes[0] else "b", title)
    axes[0].axhline(1.0, color=COLORS["neutral"], lw=0.7, ls=":")
    top = 1.6 * max(float(result["memorized"].max()), 2.0)
    axes[0].set_ylim(max(float(result["attacked_margin_unseen"].min()) * 1.05, -top), top)
    axes[1].set_ylim(0, None)
    legend(axes[0], "upper left", (0.0, 0.94), handlelength=1.5)
    legend(axes[1], "upper right", (1.0, 0.92))
    return fig


def _phases(ax: Axes, result: xr.Dataset) -> None:
    """Shade the phases and number them at the top."""
    first, second = times(result)
    if not np.isfinite(first + second):
        return
    low, high = ax.get_xlim()
    edges = (low, first, second, high)
    for k, name in enumerate(("I", "II", "III")):
        ax.axvspan(edges[k], edges[k + 1], color=SHADES[k], lw=0, zorder=0)
        middle = np.sqrt(edges[k] * edges[k + 1])
        ax.text(middle, 0.985, name, transform=ax.get_xaxis_transform(), ha="center", va="top", fontsize=8)


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[float | str]]]:
    """Header and rows of the plotted numbers: mean over seeds of each curve, by step."""
    names = [*COMPONENTS, *LOSSES]
    means = result[names].mean("seed")
    rows: list[list[float | str]] = [
        [float(s), *(float(means[name].sel(step=s)) for name in names)] for s in result["step"].values
    ]
    return ["step", *names], rows


FIGURE = Figure(
    "The three phases on real images",
    experiment="image-phases",
    needs={
        "seed step": (
            "attacked_loss_train clean_margin_unseen attacked_margin_unseen clean_loss_unseen attacked_loss_unseen "
            "memorized"
        ),
        "seed": "T_0 T_1",
        "step": "step",
    },
    attributes="data model width radius train_images watched",
    draw=draw,
    caption=caption,
    numbers=numbers,
    highlight=highlight,
    order=3,
)
