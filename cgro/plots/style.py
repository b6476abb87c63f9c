"""The house style of figures: fonts, a colour-blind-safe palette (Okabe & Ito), and figures without global state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cgro.claims.confidence import proportion_interval

COLORS: dict[str, str] = {
    "clean": "#0072B2",
    "robust": "#D55E00",
    "signal": "#009E73",
    "noise": "#CC79A7",
    "neutral": "#666666",
    "accent": "#E69F00",
}
"""One colour for one meaning, in every figure."""

CRITERION_COLORS = {"clean": COLORS["clean"], "perturbed": COLORS["robust"]}
"""Colours of what accuracy is measured on."""

CURE_COLORS = {
    "temporal-ensembling": "#0072B2",
    "self-adaptive": "#D55E00",
    "label-smoothing": "#009E73",
    "awp": "#CC79A7",
    "ema": "#E69F00",
    "swa": "#56B4E9",
    "weight-decay": "#882255",
    "cutout": "#999933",
    "bat": "#332288",
    "gairat": "#44AA99",
    "random-weights": "#AA4499",
    "reweighting": "#661100",
    "smoothing": "#117733",
    "dropping": "#888888",
}
"""A colour for each cure, the same in every figure; each panel and row is labelled, so that none depends on colour."""

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of series without a fixed meaning."""

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.4,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "cgro",
    "savefig.dpi": 200,
}


_USERS_OWN = ("backend", "interactive", "toolbar", "webagg")
"""Prefixes of settings about windows, which do not affect how a figure looks."""


@contextmanager
def house_style() -> Iterator[None]:
    """Make figures look the same everywhere: matplotlib's defaults and our settings, no user files or styles."""
    own = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith(_USERS_OWN)}
    with mpl.rc_context(own | RC):
        yield


def figure(
    width: float = 6.5, height: float = 3.6, ncols: int = 1, nrows: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """A figure of that size in inches and its axes (one, or an array), in the house style."""
    with house_style():
        fig = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(fig)
        return fig, fig.subplots(nrows, ncols, **options)


def panels_beside(
    titles: Sequence[Sequence[str]], xlabels: Sequence[str], *, height: float, beside: float
) -> tuple[Figure, np.ndarray, Axes]:
    """A grid of panels that share their axes, the first labelled "a", and a panel beside them.

    titles: of each row of panels. xlabels: below the last row; only the outer panels have tick labels. beside: width of
    the panel beside them over that of the others.
    """
    rows, columns = len(titles), len(titles[0])
    ratios = [1.0] * columns + [beside]
    fig, axes = figure(7.2, height, columns + 1, rows, width_ratios=ratios, squeeze=False)
    right = fig.add_subplot(axes[0, 0].get_gridspec()[:, -1])
    for ax in axes[:, -1]:
        ax.remove()
    panels = axes[:, :-1]
    for (r, c), ax in np.ndenumerate(panels):
        ax.sharex(panels[0, 0])
        ax.sharey(panels[0, 0])
        ax.set_title(titles[r][c], loc="left")
        ax.tick_params(labelbottom=r == rows - 1, labelleft=c == 0)
        if r == rows - 1:
            ax.set_xlabel(xlabels[c])
    panel_label(panels[0, 0], "a", titles[0][0])
    return fig, panels, right


def panel_label(ax: Axes, letter: str, title: str) -> None:
    """A bold letter and a title above the panel, flush left."""
    ax.set_title(rf"$\bf{{{letter}}}$  {title}", loc="left")


def percent_axis(ax: Axes, label: str) -> None:
    """A vertical axis from 0 to 100 % for fractions, with a light grid."""
    ax.set_ylim(-0.04, 1.04)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0))
    ax.set_ylabel(label)
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)


def proportions(ax: Axes, x: Any, counts: Sequence[int], trials: Sequence[int], **look: Any) -> None:
    """Markers at counts / trials with their exact 95 % intervals."""
    share = np.array(counts) / np.array(trials)
    ends = [proportion_interval(count, n, 0.95) for count, n in zip(counts, trials, strict=True)]
    ax.errorbar(x, share, yerr=np.abs(np.array(ends).T.reshape(2, -1) - share), **look)


def named_rows(ax: Axes, names: Sequence[str], xlabel: str) -> None:
    """Rows from top to bottom at the heights 0, 1, ..., with lines between them and a light grid."""
    for edge in range(1, len(names)):
        ax.axhline(edge - 0.5, color="#DDDDDD", lw=0.6)
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel=xlabel)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)


def legend(ax: Axes, location: str, anchor: tuple[float, float], **options: Any) -> None:
    """A legend with a white background, so that lines behind it do not cross the text."""
    ax.legend(loc=location, bbox_to_anchor=anchor, frameon=True, framealpha=0.85, edgecolor="none", **options)


def band(ax: Axes, x: np.ndarray, values: np.ndarray, color: str, label: str | None = None, **options: Any) -> None:
    """Mean over the first axis as a line, minimum to maximum as a band; NaN are ignored."""
    with np.errstate(invalid="ignore"):
        kept = ~np.all(np.isnan(values), axis=0)
    x, values = np.asarray(x)[kept], values[:, kept]
    ax.plot(x, np.nanmean(values, axis=0), color=color, label=label, **options)
    ax.fill_between(x, np.nanmin(values, axis=0), np.nanmax(values, axis=0), color=color, alpha=0.18, lw=0)


def point_range(
    ax: Axes, x: np.ndarray, values: np.ndarray, color: str, label: str | None = None, **options: Any
) -> None:
    """Mean over the first axis as markers joined by a line, minimum to maximum as bars."""
    mean = values.mean(axis=0)
    ends = np.clip([mean - values.min(axis=0), values.max(axis=0) - mean], 0, None)
    look: dict[str, Any] = {"marker": "o", "ms": 3.5, "lw": 1.0, "elinewidth": 0.8, "capsize": 0} | options
    ax.errorbar(x, mean, yerr=ends, color=color, label=label, **look)


SPACING = 0.055
"""Minimum distance between labels at the ends of curves, as a fraction of the axis."""


def spread(heights: dict[str, float]) -> dict[str, float]:
    """Heights moved downwards until labels at them do not overlap."""
    placed: dict[str, float] = {}
    top = np.inf
    for name in sorted(heights, key=lambda name: -heights[name]):
        top = min(heights[name], top - SPACING)
        placed[name] = top
    return placed
