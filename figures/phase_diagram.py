"""Figure: where CGRO begins, over two fields of the setting, with the predicted critical curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from cgro.dynamics import phases
from cgro.dynamics.axes import LABELS, vary
from cgro.dynamics.critical_curve import sides
from cgro.dynamics.setting import PatchSetting
from cgro.plots.figure import Figure
from cgro.plots.interactive import Map, Path, Scale
from cgro.plots.style import COLORS, figure, legend, panel_label
from cgro.plots.words import without_tex
from cgro.runs.store import stored_config

_PANELS = (
    ("robust_test_error", "robust test error"),
    ("robust_train_error", "robust training error"),
    ("clean_test_error", "clean test error"),
)
_PATHS = (
    ("signal_margin", "signal", COLORS["signal"], 0),
    ("noise_memorization_mean", "memorized noise", COLORS["noise"], 0),
    ("clean_test_error", "clean test", COLORS["clean"], 1),
    ("robust_train_error", "robust training", COLORS["accent"], 1),
    ("robust_test_error", "robust test", COLORS["robust"], 1),
)
"""Quantities of a trajectory: label, colour and chart."""


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    config = stored_config(result)
    blank = f" Grey: not trained; the boundary took {trained_runs(result)}." if config.get("trace") else ""
    return (
        f"Errors after {config['setting']['steps']:,} training steps in {result.sizes['y']} x {result.sizes['x']} "
        f"cells, mean over {result.sizes['seed']} seeds. Dark in all three maps: robust. Bright in (a), dark in (b) "
        "and (c): clean generalization and robust overfitting. Bright in (c): not even clean generalization. Line: "
        "the predicted critical ratio [D], without fitted constants. Median distance of the measured boundary from it: "
        f"{_boundary_text(result)}.{blank}"
    )


def trained_runs(result: xr.Dataset) -> str:
    """How many runs of the diagram were trained."""
    error = result["robust_test_error"]
    return f"{int(np.isfinite(error).sum()):,} of {error.size:,} runs"


def highlight(result: xr.Dataset) -> tuple[str, str]:
    """Distance of measured and predicted transition, for the top of the report."""
    return (
        f"{np.median(np.abs(boundary(result))):.3f}",
        "median distance of the measured transition from the predicted ratio",
    )


def message(result: xr.Dataset) -> str:
    """Where the transition lies."""
    distances = np.abs(boundary(result))
    found = f"it is off by {np.median(distances):.3f} in the median" if len(distances) else "no row has both"
    return (
        "What decides is the radius of the attack divided by the strength of the signal. Below a critical ratio, the "
        "signal outgrows the attack and training ends robust; above it, noise is memorized. A formula without fitted "
        f"constants predicts this ratio: {found}."
    )


def _setting(result: xr.Dataset) -> PatchSetting:
    return PatchSetting(**stored_config(result)["setting"])


def predicted_gap(result: xr.Dataset) -> np.ndarray:
    """rho - rho* in every cell, shape (y, x): positive where CGRO is predicted."""
    base, x_name, y_name = _setting(result), result["x"].attrs["long_name"], result["y"].attrs["long_name"]
    cells = [
        [vary(vary(base, x_name, float(x)), y_name, float(y)) for x in result["x"].values] for y in result["y"].values
    ]
    return np.array([[cell.ratio - phases.critical_ratio(cell) for cell in row] for row in cells])


def measured_boundary(result: xr.Dataset) -> np.ndarray:
    """x at which half of the seeds end in CGRO, the median over seeds, by row; NaN without a transition."""
    turns = np.mean(sides(result), axis=0)
    return np.array([np.median(row) if np.isfinite(row).all() else np.nan for row in turns])


def predicted_boundary(result: xr.Dataset) -> np.ndarray:
    """x at which rho reaches the predicted critical ratio, by row; NaN where it does not between two values of x."""
    return np.array([_crossing(result["x"].values, gap) for gap in predicted_gap(result)])


def boundary(result: xr.Dataset) -> np.ndarray:
    """Measured minus predicted boundary, for each row that has both."""
    distances = measured_boundary(result) - predicted_boundary(result)
    return np.array(distances[np.isfinite(distances)])


def _crossing(x: np.ndarray, gap: np.ndarray) -> float:
    turns = np.flatnonzero((gap[:-1] < 0) != (gap[1:] < 0))
    if not len(turns):
        return np.nan
    k = turns[0]
    return float(x[k] - (x[k + 1] - x[k]) * gap[k] / (gap[k + 1] - gap[k]))


def _boundary_text(result: xr.Dataset) -> str:
    distances = boundary(result)
    if not len(distances):
        return "no row has both boundaries"
    return f"{np.median(np.abs(distances)):.3f} (largest {np.abs(distances).max():.3f}, {len(distances)} rows)"


def draw(result: xr.Dataset) -> Drawing:
    """Three maps: robust test, robust training and clean test error."""
    fig, axes = figure(7.0, 2.6, ncols=3, sharex=True, sharey=True)
    x, y = result["x"].values, result["y"].values
    gap = predicted_gap(result)
    for ax, (name, title), letter in zip(axes, _PANELS, "abc", strict=True):
        error = result[name].mean("seed").values
        ax.set_facecolor("0.88")
        mesh = ax.pcolormesh(x, y, error, cmap="cividis", vmin=0, vmax=0.5, shading="nearest", rasterized=True)
        ax.contour(x, y, gap, levels=[0.0], colors="white", linewidths=3.0)
        ax.contour(x, y, gap, levels=[0.0], colors="#D55E00", linewidths=1.6)
        ax.set_xlabel(LABELS[result["x"].attrs["long_name"]])
        panel_label(ax, letter, title)
    axes[0].set_ylabel(LABELS[result["y"].attrs["long_name"]])
    scale_axes(axes[0], result)
    axes[2].plot([], [], color="#D55E00", lw=1.6, label=r"predicted $\rho^*$")
    legend(axes[2], "upper right", (0.98, 0.98))
    fig.colorbar(mesh, ax=list(axes), label="error (fraction)", extend="max", shrink=0.95)
    return fig


def scale_axes(ax: Axes, result: xr.Dataset) -> None:
    """Linear or logarithmic, as the axes of the diagram are."""
    config, y = stored_config(result), result["y"].values
    if config["x"]["log"]:
        ax.set_xscale("log")
    if config["y"]["log"]:
        ax.set_yscale("log")
        ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if y.min() <= t <= y.max()]
        ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """Mean over seeds of each error, by cell, and the predicted distance from the critical ratio."""
    header = ["x", "y", *(name for name, _ in _PANELS), "predicted_rho_minus_critical"]
    errors = [result[name].mean("seed").values for name, _ in _PANELS]
    gap = predicted_gap(result)
    return header, [
        [float(x), float(y), *(float(e[i, j]) for e in errors), float(gap[i, j])]
        for i, y in enumerate(result["y"].values)
        for j, x in enumerate(result["x"].values)
    ]


def interactive(result: xr.Dataset) -> Map | None:
    """The map with the mean trajectory of every cell, if the result has trajectories."""
    if "signal_margin_path" not in result:
        return None
    config, predicted = stored_config(result), predicted_boundary(result)
    x, y = (
        Scale(without_tex(LABELS[result[axis].attrs["long_name"]]), result[axis].values.tolist(), config[axis]["log"])
        for axis in ("x", "y")
    )
    row = result.sizes["y"] // 2
    # A cell beyond the transition, where all three stages can be seen.
    beyond = np.searchsorted(result["x"].values, predicted[row]) if np.isfinite(predicted[row]) else 0
    return Map(
        "Phase diagram",
        x,
        y,
        {title: result[name].mean("seed").transpose("y", "x").values for name, title in _PANELS},
        predicted,
        "predicted critical ratio",
        result["step"].values.tolist(),
        [
            Path(label, color, result[f"{name}_path"].transpose("y", "x", "step").values, chart)
            for name, label, color, chart in _PATHS
        ],
        (row, min(int(beyond) + 1, result.sizes["x"] - 1)),
    )


FIGURE = Figure(
    "Phase diagram with the predicted critical curve",
    experiment="phase-diagram",
    needs={
        "y x seed": "robust_train_error clean_test_error robust_test_error",
        "x": "x",
        "y": "y",
    },
    draw=draw,
    caption=caption,
    numbers=numbers,
    highlight=highlight,
    message=message,
    interactive=interactive,
)
