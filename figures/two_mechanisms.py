"""Figure: two causes of robust overfitting, by perturbation ratio and fraction of unlearnable samples."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from cgro.dynamics import phases, two_mechanisms
from cgro.dynamics.setting import PatchSetting
from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, SERIES, figure, panel_label, percent_axis, proportions
from cgro.runs.store import stored_config

LEVEL = 0.25
"""Error from which a run counts as collapsed: half the robust error of a coin toss."""
MAPS = {"inside A": "inside A", "l2 PGD": r"$\ell_2$ PGD", "l_inf PGD": r"$\ell_\infty$ PGD"}
PREDICTED: dict[str, Any] = {"color": "#D55E00", "lw": 1.6}


def collapsed(result: xr.Dataset) -> xr.DataArray:
    """1 for runs that ended with that error, 0 for others, NaN if diverged (fraction, ratio, seed, evaluation)."""
    last = result["error"].isel(step=-1)
    return (last >= LEVEL).where(last.notnull())


def setting(result: xr.Dataset, fraction: float, ratio: float) -> PatchSetting:
    """The setting of a cell."""
    stored = stored_config(result)["setting"] | {"unlearnable": fraction, "radius_ratio": ratio}
    return PatchSetting(**stored)


def boundaries(result: xr.Dataset) -> dict[str, float]:
    """Predicted ratios: rho* (NaN with a teacher of learnable samples), and those of an l_inf attack."""
    one = replace(setting(result, 0.0, 1.0), teacher_unlearnable=None)
    return {
        "rho*": phases.critical_ratio(one) if one.teacher_learnable is None else math.nan,
        "linf": two_mechanisms.linf_ratio(one),
        "shift": two_mechanisms.shift_ratio(one),
    }


def between(result: xr.Dataset) -> float | None:
    """The ratio whose runs are shown one by one: only unlearnable samples can be the cause of collapse there.

    The middle one on a logarithmic scale; None if no ratio lies between the predicted boundaries.
    """
    low, high = boundaries(result)["linf"], boundaries(result)["shift"]
    inside = [float(ratio) for ratio in result["ratio"].values if low < ratio < high]
    return min(inside, key=lambda ratio: abs(math.log(ratio / math.sqrt(low * high))), default=None)


def probability(result: xr.Dataset, fraction: float, time: float) -> float:
    """The predicted probability of collapse by that step; NaN where the law does not apply."""
    cell = setting(result, fraction, 1.0)
    return two_mechanisms.collapse_probability(cell, time) if two_mechanisms.has_law(cell) else math.nan


def onsets(result: xr.Dataset, ratio: float) -> np.ndarray:
    """When the l_inf error reaches the level, over T_u, for runs at a ratio that have both.

    Interpolated between evaluated steps, after one with less: an untrained network fails, too.
    """
    at = result.sel(ratio=ratio).sel(evaluation="l_inf PGD")
    step, found = at["step"].values.astype(float), []
    for p, k in itertools.product(range(result.sizes["fraction"]), range(result.sizes["seed"])):
        error, time = at["error"].isel(fraction=p, seed=k).values, float(at["T_u"].isel(fraction=p, seed=k))
        rises = np.flatnonzero((error[:-1] < LEVEL) & (error[1:] >= LEVEL))
        if len(rises) and time > 0:
            first = int(rises[0])
            share = (LEVEL - error[first]) / (error[first + 1] - error[first])
            found.append((step[first] + share * (step[first + 1] - step[first])) / time)
    return np.array(found)


def shares(result: xr.Dataset, ratio: float) -> list[tuple[float, int, int, float]]:
    """Fraction, collapsed runs, runs, and the predicted probability, under l_inf PGD."""
    found = collapsed(result).sel(ratio=ratio, evaluation="l_inf PGD")
    return [
        (
            float(p),
            int(found.sel(fraction=p).sum()),
            int(found.sel(fraction=p).notnull().sum()),
            probability(result, float(p), float(result["step"][-1])),
        )
        for p in result["fraction"].values
    ]


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    one, ratio, seeds, edges = setting(result, 0.0, 1.0), between(result), result.sizes["seed"], boundaries(result)
    lost = int(result["error"].isel(step=-1).isel(evaluation=0).isnull().sum())
    critical = f"rho* = {edges['rho*']:.2f}; " if np.isfinite(edges["rho*"]) else ""
    text = (
        f"Learnable fresh samples after {int(result['step'][-1]):,} steps of full-batch adversarial training, "
        f"N = {one.samples}, d = {one.dim}, {seeds} seeds in each cell"
        + (f", of which {lost} runs diverged and are left out" if lost else "")
        + ". (a-c) Share of runs whose error reaches 25 % inside A, and under PGD of radius delta on the whole input. "
        f"Lines: predicted boundaries without a fitted constant [D], {critical}in (c) {edges['linf']:.2f}, from about "
        f"which memorized filters fail, and {edges['shift']:.2f}, above which the attack moves every patch along w*."
    )
    if ratio is None:
        return text
    predicted = [f" (predicted {n * q:.1f})" if np.isfinite(q) else "" for _, _, n, q in shares(result, ratio)]
    counts = ", ".join(
        f"{count} of {n} at {p:g}{words}"
        for (p, count, n, _), words in zip(shares(result, ratio), predicted, strict=True)
    )
    late = onsets(result, ratio)
    interval = int(np.diff(result["step"].values).max())
    begins = (
        f" The error reaches 25 % at a median of {np.median(late):.1f} T_u, interpolated between records every "
        f"{interval} steps."
        if len(late)
        else ""
    )
    return (
        f"{text} (d) Collapsed runs at rho = {ratio:g} with exact 95 % intervals: {counts}. (e) T_u, when the first "
        f"unlearnable sample is memorized, at rho = {ratio:g}. (f) Error of the same runs under l_inf PGD.{begins}"
    )


def highlight(result: xr.Dataset) -> tuple[str, str]:
    """Measured over predicted T_u, for the top of the report."""
    ratio = between(result) or float(result["ratio"].values[0])
    found = []
    for p in result["fraction"].values:
        cell, measured = setting(result, float(p), ratio), result["T_u"].sel(fraction=p, ratio=ratio)
        if two_mechanisms.has_law(cell):
            median = float(measured.fillna(np.inf).median())
            found.append(median / two_mechanisms.collapse_time(cell))
    found = [each for each in found if np.isfinite(each) and each > 0]
    text = f"{min(found):.2f} to {max(found):.2f}" if found else "none"
    return text, "median time to memorize an unlearnable sample over the predicted one, by fraction"


def draw(result: xr.Dataset) -> Drawing:
    """Three maps above; the law of collapse, its time and its course below, if there is a ratio to show them at."""
    ratio = between(result)
    fig, axes = figure(7.2, 5.0 if ratio else 2.6, ncols=3, nrows=2 if ratio else 1, squeeze=False)
    for ax, (name, words), letter in zip(axes[0], MAPS.items(), "abc", strict=True):
        mesh = _draw_map(ax, result, name)
        panel_label(ax, letter, f"collapsed, {words}")
    axes[0, 0].set_ylabel("unlearnable fraction p_un")
    bar = fig.colorbar(mesh, ax=list(axes[0]), label="collapsed runs (%)", shrink=0.95)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    if ratio is None:
        return fig
    fractions = [float(p) for p in result["fraction"].values if p > 0]
    colors = dict(zip(fractions, mpl.colormaps["viridis"](np.linspace(0, 0.9, len(fractions))), strict=True))
    _draw_shares(axes[1, 0], result, ratio)
    _draw_times(axes[1, 1], result, ratio, colors)
    _draw_courses(axes[1, 2], result, ratio, colors)
    for ax, letter, title in zip(axes[1], "def", ("how often", "when", "collapse"), strict=True):
        panel_label(ax, letter, rf"{title}, $\rho$ = {ratio:g}")
    lines = [Line2D([], [], color=color, label=f"p_un = {p:g}") for p, color in colors.items()]
    grey = COLORS["neutral"]
    lines += [Line2D([], [], color=grey, label="runs"), Line2D([], [], color=grey, ls=":", label="predicted")]
    fig.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 8), columnspacing=1.0, handlelength=1.2,
               handletextpad=0.5)  # fmt: skip
    return fig


def _draw_map(ax: Axes, result: xr.Dataset, evaluation: str) -> Any:
    share = collapsed(result).sel(evaluation=evaluation).mean("seed")
    x, rows = result["ratio"].values, result["fraction"].values
    middle = np.sqrt(x[1:] * x[:-1])
    first, last = (x[0] ** 2 / middle[0], x[-1] ** 2 / middle[-1]) if len(middle) else (x[0] / 1.2, x[0] * 1.2)
    edges = np.concatenate([[first], middle, [last]])
    mesh = ax.pcolormesh(edges, np.arange(len(rows) + 1) - 0.5, share, cmap="cividis", vmin=0, vmax=1, rasterized=True)
    ax.set_xscale("log")
    ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if edges[0] <= t <= edges[-1]]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.set_xlim(edges[0], edges[-1])
    ax.set_yticks(range(len(rows)), [f"{p:g}" for p in rows])
    ax.set_ylim(-0.5, len(rows) - 0.5)
    ax.set_xlabel(r"perturbation ratio $\rho$")
    predicted = boundaries(result)
    if evaluation != "l_inf PGD":
        _line(ax, [predicted["rho*"]] * 2, [-0.5, len(rows) - 0.5])
        return mesh
    cell = setting(result, float(rows[-1]), 1.0)
    bottom = len(rows) - 0.5
    if two_mechanisms.has_law(cell):
        bottom = _height(rows, two_mechanisms.collapse_fraction(cell, float(result["step"][-1])))
    low, high = predicted["linf"], predicted["shift"]
    _line(ax, [low, low, high, high], [len(rows) - 0.5, bottom, bottom, -0.5])
    return mesh


def _height(rows: np.ndarray, fraction: float) -> float:
    """Where a fraction lies among rows of equal height: halfway to 0 below the smallest positive one."""
    positive = np.flatnonzero(rows > 0)
    if not np.isfinite(fraction) or not len(positive):
        return len(rows) - 0.5
    inside = float(np.interp(np.log(fraction), np.log(rows[positive]), positive))
    return inside if fraction >= rows[positive[0]] else positive[0] - 0.5


def _line(ax: Axes, x: list[float], y: list[float]) -> None:
    ax.plot(x, y, color="white", lw=3.0)
    ax.plot(x, y, **PREDICTED)


def _draw_shares(ax: Axes, result: xr.Dataset, ratio: float) -> None:
    rows = [row for row in shares(result, ratio) if row[2]]
    x = np.arange(len(rows))
    counts, runs = [count for _, count, *_ in rows], [n for _, _, n, _ in rows]
    proportions(ax, x, counts, runs, fmt="o", ms=4, lw=1.0, color=SERIES[0], label="runs")
    ax.plot(x, [q for *_, q in rows], "_", ms=13, mew=2, color=PREDICTED["color"], label="predicted")
    ax.set_xticks(x, [f"{p:g}" for p, *_ in rows], rotation=45)
    ax.set_xlabel("unlearnable fraction p_un")
    ax.legend(loc="lower right")
    percent_axis(ax, "collapsed runs (%)")


def _draw_times(ax: Axes, result: xr.Dataset, ratio: float, colors: dict[float, Any]) -> None:
    last = int(result["step"][-1])
    at, grid = result["T_u"].sel(ratio=ratio), np.linspace(1, last, 300)
    for p, color in colors.items():
        times = np.sort(at.sel(fraction=p).values)
        times = times[np.isfinite(times)]
        height = np.arange(len(times) + 1) / result.sizes["seed"]
        ax.step([0, *times, last], [*height, height[-1]], where="post", color=color, lw=1.2)
        ax.plot(grid, [probability(result, p, t) for t in grid], color=color, lw=1.0, ls=":")
    ax.set_xlim(0, last)
    ax.set_xlabel("training time (steps)")
    percent_axis(ax, r"runs with $T_u$ passed (%)")


def _draw_courses(ax: Axes, result: xr.Dataset, ratio: float, colors: dict[float, Any]) -> None:
    at = result.sel(ratio=ratio).sel(evaluation="l_inf PGD")
    for p, color in colors.items():
        own = at.sel(fraction=p)
        for seed in range(result.sizes["seed"]):
            time = float(own["T_u"][seed])
            if time > 0:
                ax.plot(own["step"][1:] / time, own["error"].isel(seed=seed)[1:], color=color, lw=0.7, alpha=0.7)
    ax.axvline(1, color=COLORS["neutral"], lw=0.7, ls="--")
    ax.set_xlim(0, 3)
    ax.set_xlabel(r"time / $T_u$")
    percent_axis(ax, "error (%)")


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """Collapsed runs under each evaluation and the median T_u, by cell, with the predicted T_u."""
    header = ["fraction", "ratio", "runs", *(f"collapsed_{name}" for name in ("inside_A", "l2", "linf"))]
    found, times = collapsed(result), result["T_u"].fillna(np.inf).median("seed")
    rows = []
    for p, ratio in itertools.product(result["fraction"].values, result["ratio"].values):
        own, cell = found.sel(fraction=p, ratio=ratio), setting(result, float(p), float(ratio))
        counts = [int(own.sel(evaluation=name).sum()) for name in MAPS]
        runs = int(own.isel(evaluation=0).notnull().sum())
        predicted = two_mechanisms.collapse_time(cell) if two_mechanisms.has_law(cell) else math.nan
        rows.append([float(p), float(ratio), runs, *counts, float(times.sel(fraction=p, ratio=ratio)), predicted])
    return [*header, "median_T_u", "predicted_T_u"], rows


FIGURE = Figure(
    "Two causes of robust overfitting, with predicted boundaries",
    experiment="two-mechanisms",
    needs={
        "fraction ratio seed step evaluation": "error",
        "fraction ratio seed": "T_u",
        "fraction": "fraction",
        "ratio": "ratio",
        "evaluation": "evaluation",
        "step": "step",
    },
    draw=draw,
    caption=caption,
    numbers=numbers,
    highlight=highlight,
)
