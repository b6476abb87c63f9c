"""Figure: measured reference points beside their expected ranges [M]."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from cgro.plots.style import COLORS, figure, legend, panel_label
from simulations.reference_points import comparisons
from simulations.reference_table import ACCURACIES, Comparison

EXPERIMENT = "reference-points"
TITLE = "Reference points: measured beside expected"
NEEDS = {
    "point seed": "clean_test robust_test signal std_Z",
    "point": "point",
}
"""Variables that the figure draws, by their dimensions."""

_COLORS = {"agrees": COLORS["clean"], "within noise": COLORS["accent"], "differs": COLORS["robust"]}


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    rows = comparisons(result)
    counts = Counter(row.verdict for row in rows)
    return (
        f"Every quantity of the reference table [M] that is not an accuracy: mean over {result.sizes['seed']} seeds "
        "(bar: twice its "
        "standard error) relative to the middle of the expected range (grey: expected range, light grey: widened "
        "by 15 %). Of all "
        f"{len(rows)} quantities, accuracies included, {counts['agrees']} agree, {counts['within noise']} are "
        "within noise, "
        f"{counts['differs']} differ; the table in the report lists each."
    )


def _scaled(row: Comparison) -> list[float]:
    middle = (row.expected[0] + row.expected[1]) / 2 or 1.0
    return [x / middle for x in (row.mean, row.standard_error, *row.expected, *row.allowed)]


def draw(result: xr.Dataset) -> Figure:
    """One row for each quantity."""
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
    """Every comparison of the table."""
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
