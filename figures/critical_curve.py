"""Figure: the critical curve of a phase diagram with its interval, and its distance from the prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing

from cgro.claims.confidence import median_interval
from cgro.dynamics.axes import LABELS
from cgro.dynamics.critical_curve import LEVEL, sides
from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, SERIES, figure, legend, panel_label
from cgro.runs.store import stored_config

from .phase_diagram import (
    measured_boundary,
    predicted_boundary,
    scale_axes,
    trained_runs,
)

CONFIDENCE = 0.9
MEASURED, PREDICTED = SERIES[0], COLORS["neutral"]


def interval(result: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """For each row an interval that contains the median over all seeds with probability `CONFIDENCE`, for every law.

    Order statistics of both sides of the transition, so that the distance between cells is part of it. NaN for too few
    seeds, and for rows in which some seed has no transition.
    """
    low, high = (pick(np.stack(sides(result)), axis=0) for pick in (np.min, np.max))
    ends = [
        (median_interval(a, CONFIDENCE)[0], median_interval(b, CONFIDENCE)[1]) for a, b in zip(low, high, strict=True)
    ]
    found = np.array(ends, dtype=float)
    found[~np.isfinite(low).all(axis=1) | ~np.isfinite(found).all(axis=1)] = np.nan
    return found[:, 0], found[:, 1]


def _spread(result: xr.Dataset) -> float:
    """Typical standard deviation over seeds of the transition: root mean square over rows."""
    turns = np.mean(sides(result), axis=0)
    rows = turns[np.isfinite(turns).all(axis=1)]
    return float(np.sqrt(rows.var(axis=1, ddof=1).mean())) if len(rows) and rows.shape[1] > 1 else np.nan


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    low, high = interval(result)
    distance = measured_boundary(result) - predicted_boundary(result)
    both = np.abs(distance[np.isfinite(distance)])
    apart = (
        f"The median distance is {np.median(both):.4f}, the largest {both.max():.4f}, in {len(both)} rows."
        if len(both)
        else "No row has both curves."
    )
    seeds = result.sizes["seed"]
    band = (
        f"Band: {100 * CONFIDENCE:.0f} % interval of that median over all seeds, for every law (median width "
        f"{np.nanmedian(high - low):.4f})."
        if np.isfinite(low).any()
        else f"With {seeds} seeds there is no {100 * CONFIDENCE:.0f} % interval."
    )
    spread = _spread(result)
    across = "" if np.isnan(spread) else f" Between seeds the transition moves by {spread:.4f} (standard deviation)."
    x = result["x"].values
    dots = f" Dots: trained runs, {trained_runs(result)}." if stored_config(result).get("trace") else ""
    return (
        f"(a) Where runs of {stored_config(result)['setting']['steps']:,} steps begin to end in CGRO: the median over "
        f"{seeds} seeds, each enclosed between two neighbours of {len(x):,} values (at most "
        f"{np.diff(x).max():.2g} apart). {band} Dashed: the predicted critical ratio [D], without fitted constants."
        f"{dots} (b) Measured minus predicted; dots: single seeds. {apart}{across}"
    )


def draw(result: xr.Dataset) -> Drawing:
    """The curve in the plane, and its distance from the prediction."""
    fig, (plane, apart) = figure(7.0, 2.9, ncols=2, sharey=True, gridspec_kw={"width_ratios": [1.25, 1]})
    x, y = result["x"].values, result["y"].values
    error = result["robust_test_error"].transpose("y", "x", "seed").values
    row, column, _ = np.nonzero(np.isfinite(error))
    ends = error[np.isfinite(error)]
    if stored_config(result).get("trace"):  # in a full diagram every cell has dots
        for outcome, color, label in ((ends < LEVEL, SERIES[5], "robust"), (ends >= LEVEL, SERIES[1], "CGRO")):
            plane.scatter(x[column[outcome]], y[row[outcome]], s=7, color=color, alpha=0.5, lw=0, label=label)
    measured, predicted = measured_boundary(result), predicted_boundary(result)
    low, high = interval(result)
    plane.fill_betweenx(y, low, high, color=MEASURED, alpha=0.25, lw=0)
    plane.plot(measured, y, color=MEASURED, lw=1.4, label="measured")
    plane.plot(predicted, y, color=PREDICTED, lw=1.2, ls="--", label=r"predicted $\rho^*$")
    plane.set_xlabel(LABELS[result["x"].attrs["long_name"]])
    plane.set_ylabel(LABELS[result["y"].attrs["long_name"]])
    scale_axes(plane, result)
    both = np.concatenate([low, high, measured, predicted])
    if np.isfinite(both).any():  # the first runs of a search are far away
        left, right = np.nanmin(both), np.nanmax(both)
        plane.set_xlim(max(x[0], left - 0.4 * (right - left)), min(x[-1], right + 0.8 * (right - left)))
    panel_label(plane, "a", "critical curve")
    legend(plane, "upper right", (0.98, 0.98))
    turns = np.mean(sides(result), axis=0) - predicted[:, None]
    apart.scatter(turns, np.broadcast_to(y[:, None], turns.shape), s=4, color="0.5", lw=0)
    apart.fill_betweenx(y, low - predicted, high - predicted, color=MEASURED, alpha=0.25, lw=0)
    apart.plot(measured - predicted, y, color=MEASURED, lw=1.4)
    apart.axvline(0, color=PREDICTED, lw=1.2, ls="--")
    apart.set_xlabel("measured minus predicted")
    panel_label(apart, "b", "distance from the prediction")
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """By row: the measured median, its interval, the prediction, and both sides of the transition for every seed."""
    low, high = interval(result)
    seeds = [int(seed) for seed in result["seed"].values]
    header = ["y", "measured", "low", "high", "predicted"]
    header += [f"{side}_side_seed_{seed}" for side in ("robust", "cgro") for seed in seeds]
    columns = [result["y"].values, measured_boundary(result), low, high, predicted_boundary(result)]
    columns += [each[:, k] for each in sides(result) for k in range(len(seeds))]
    return header, [[float(value) for value in row] for row in zip(*columns, strict=True)]


FIGURE = Figure(
    "The critical curve, with intervals",
    experiment="phase-diagram",
    needs={"y x seed": "robust_test_error", "x": "x", "y": "y"},
    draw=draw,
    caption=caption,
    numbers=numbers,
)
