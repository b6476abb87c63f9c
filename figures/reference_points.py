"""Figure: measured reference points and their expected ranges [M]."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import xarray as xr
from matplotlib.figure import Figure as Drawing

from cgro.dynamics.reference import ACCURACIES, AMENDMENTS, Comparison, comparisons
from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, figure, legend, panel_label

_COLORS = {"agrees": COLORS["clean"], "within noise": COLORS["accent"], "differs": COLORS["robust"]}


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    rows = comparisons(result)
    counts = Counter(row.verdict for row in rows)
    return (
        f"All quantities of the reference table [M] except accuracies: mean over {result.sizes['seed']} seeds (bar: "
        "two standard errors) relative to the middle of the expected range (grey: expected range, light grey: widened "
        f"by 15 %). Of all {len(rows)} quantities, including accuracies, {counts['agrees']} agree, "
        f"{counts['within noise']} are within noise, and {counts['differs']} differ; the table in the report lists "
        "them."
    )


def _scaled(row: Comparison) -> list[float]:
    middle = (row.expected[0] + row.expected[1]) / 2 or 1.0
    return [x / middle for x in (row.mean, row.standard_error, *row.expected, *row.allowed)]


def draw(result: xr.Dataset) -> Drawing:
    """One row per quantity."""
    rows = [row for row in comparisons(result) if row.quantity not in ACCURACIES and row.expected[0] > 0]
    fig, ax = figure(6.5, 0.17 * len(rows) + 1.0)
    for k, row in enumerate(reversed(rows)):
        mean, error, low, high, allowed_low, allowed_high = _scaled(row)
        color = _COLORS[row.verdict]
        ax.barh(k, allowed_high - allowed_low, left=allowed_low, height=0.7, color="#E4E4E4")
        ax.barh(k, max(high - low, 0.006), left=low, height=0.7, color="#B0B0B0")
        ax.errorbar(mean, k, xerr=2 * error, color=color, marker="o", ms=3.5, lw=1)
    names = {
        "signal": r"$\alpha^q U$",
        "memorized": "mean $V_i$",
        "std_Z": "std $Z$",
        "T_0": "$T_0$",
        "T_1": "$T_1$",
    }
    ax.set_yticks(range(len(rows)), [f"{r.point}:  {names[r.quantity]}" for r in reversed(rows)])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlabel("measured / middle of the expected range")
    ax.axvline(1, color="white", lw=0.6)
    for label, color in _COLORS.items():
        ax.plot([], [], marker="o", ms=3.5, lw=1, color=color, label=label)
    legend(ax, "lower right", (1.0, 0.0))
    panel_label(ax, "", "reference points")
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """All comparisons of the table."""
    header = [
        "point",
        "quantity",
        "expected_low",
        "expected_high",
        "mean",
        "standard_error",
        "seeds",
        "verdict",
    ]
    return header, [
        [
            r.point,
            r.quantity,
            *r.expected,
            r.mean,
            r.standard_error if math.isfinite(r.standard_error) else "",
            r.seeds,
            r.verdict,
        ]
        for r in comparisons(result)
    ]


def table(result: xr.Dataset) -> Table:
    """All comparisons of the table, for the report."""
    return Table(
        "The reference table [M]: the range that an independent simulation found over three seeds, and our mean over "
        f"{result.sizes['seed']} seeds. A quantity agrees if its mean lies in the expected range, widened by 0.03 for "
        "accuracies and by 15 % for other quantities; it is within noise if it does so within two standard errors. "
        "Amended expectations are shown with the original value; the reasons are below the table.",
        header=("setting", "quantity", "expected", "measured", "standard error", "verdict"),
        rows=[
            (
                row.point,
                row.quantity,
                _range(row.expected) + (f" (was {_range(row.original)})" if row.expected != row.original else ""),
                f"{row.mean:.4g}",
                f"{row.standard_error:.2g}",
                row.verdict,
            )
            for row in comparisons(result)
        ],
        notes=AMENDMENTS,
    )


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g}" if ends[0] == ends[1] else f"{ends[0]:g} to {ends[1]:g}"


FIGURE = Figure(
    "Reference points: measured against expected",
    experiment="reference-points",
    needs={
        "point seed": "clean_test robust_test signal std_Z",
        "point": "point",
    },
    draw=draw,
    caption=caption,
    numbers=numbers,
    table=table,
    order=200,
)
