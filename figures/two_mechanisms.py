"""Figure: two causes of robust overfitting, by perturbation ratio and fraction of unlearnable samples."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from cgro.claims.confidence import proportion_interval
from cgro.dynamics import phases, two_mechanisms
from cgro.dynamics.setting import PatchSetting
from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, SERIES, figure, panel_label
from cgro.runs.store import stored_config

LEVEL = 0.25
"""Error from which a run counts as collapsed: half of the least that CGRO ends with."""
MAPS = {"inside A": "inside A", "l2 PGD": r"$\ell_2$ PGD", "l_inf PGD": r"$\ell_\infty$ PGD"}
PREDICTED: dict[str, Any] = {"color": "#D55E00", "lw": 1.6}


def collapsed(result: xr.Dataset) -> xr.DataArray:
    """Which runs ended with that error (fraction, ratio, seed, evaluation)."""
    return result["error"].isel(step=-1) >= LEVEL


def setting(result: xr.Dataset, fraction: float, ratio: float) -> PatchSetting:
    """The setting of a cell."""
    stored = stored_config(result)["setting"] | {"unlearnable": fraction, "radius_ratio": ratio}
    return PatchSetting(**stored)


def between(result: xr.Dataset) -> float:
    """The ratio whose runs are shown one by one: the middle of those where only unlearnable samples can be the cause.

    In the middle on a logarithmic scale, or of all ratios if none lies between the predicted boundaries.
    """
    one = setting(result, 0.0, 1.0)
    low, high = two_mechanisms.linf_ratio(one), two_mechanisms.shift_ratio(one)
    ratios = result["ratio"].values
    inside = ratios[(ratios > low) & (ratios < high)]
    middle = np.sqrt(low * high) if len(inside) else np.sqrt(ratios[0] * ratios[-1])
    chosen = inside if len(inside) else ratios
    return float(chosen[np.argmin(np.abs(np.log(chosen / middle)))])


def onsets(result: xr.Dataset) -> np.ndarray:
    """First evaluated step with a collapsed l_inf error over T_u, for runs at `between` that have both.

    After a step without: an untrained network fails, too.
    """
    at = result.sel(ratio=between(result)).sel(evaluation="l_inf PGD")
    low = at["error"] < LEVEL
    high = ~low & (low.cumsum("step") > 0)
    first = at["step"].where(high).min("step")
    return (first / at["T_u"]).values[np.isfinite((first / at["T_u"]).values)]


def shares(result: xr.Dataset) -> list[tuple[float, int, int, float]]:
    """Fraction, collapsed runs, runs, and the predicted probability, at `between` under l_inf PGD."""
    ratio, steps = between(result), int(result["step"][-1])
    found = collapsed(result).sel(ratio=ratio, evaluation="l_inf PGD")
    return [
        (
            float(p),
            int(found.sel(fraction=p).sum()),
            result.sizes["seed"],
            two_mechanisms.collapse_probability(setting(result, float(p), ratio), steps),
        )
        for p in result["fraction"].values
    ]


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    one, ratio, seeds = setting(result, 0.0, 1.0), between(result), result.sizes["seed"]
    counts = ", ".join(f"{count} at {p:g} (predicted {seeds * q:.1f})" for p, count, _, q in shares(result))
    late = onsets(result)
    onset = f", the middle one {np.median(late):.2f} times T_u" if len(late) else ""
    return (
        f"Learnable fresh samples after {int(result['step'][-1]):,} steps of full-batch adversarial training, "
        f"N = {one.samples}, d = {one.dim}, {seeds} seeds in each cell. (a-c) Share of runs whose error reaches 25 % "
        "inside A, and under PGD with radius delta on the whole input. Lines: predicted boundaries without a fitted "
        f"constant [D], rho* = {phases.critical_ratio(one):.2f}; in (c) {two_mechanisms.linf_ratio(one):.2f}, above "
        f"which memorized filters fail, and {two_mechanisms.shift_ratio(one):.2f}, above which the attack moves every "
        f"patch along w*. (d) Collapsed runs of {seeds} at rho = {ratio:g} with exact 95 % intervals: {counts}. "
        f"(e) T_u of each run at rho = {ratio:g}, and its predicted law. (f) Error under l_inf PGD "
        f"of the same runs, in units of T_u: collapse begins when the first unlearnable sample is memorized{onset}."
    )


def highlight(result: xr.Dataset) -> tuple[str, str]:
    """Measured over predicted T_u, for the top of the report."""
    ratio = between(result)
    measured = result["T_u"].sel(ratio=ratio).fillna(np.inf).median("seed").values
    predicted = [two_mechanisms.collapse_time(setting(result, float(p), ratio)) for p in result["fraction"].values]
    found = [m / p for m, p in zip(measured, predicted, strict=True) if np.isfinite([m, p]).all()]
    text = f"{min(found):.2f} to {max(found):.2f}" if found else "none"
    return text, "median time to memorize an unlearnable sample over the predicted one, by fraction"


def draw(result: xr.Dataset) -> Drawing:
    """Three maps above; the law of collapse, its time and its course below."""
    fig, axes = figure(7.2, 4.9, ncols=3, nrows=2)
    for ax, (name, words), letter in zip(axes[0], MAPS.items(), "abc", strict=True):
        mesh = _draw_map(ax, result, name)
        panel_label(ax, letter, f"collapsed, {words}")
    axes[0, 0].set_ylabel("unlearnable fraction p_un")
    bar = fig.colorbar(mesh, ax=list(axes[0]), label="collapsed runs (%)", shrink=0.95)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    fractions = [float(p) for p in result["fraction"].values if p > 0]
    colors = dict(zip(fractions, mpl.colormaps["viridis"](np.linspace(0, 0.9, len(fractions))), strict=True))
    _draw_shares(axes[1, 0], result)
    _draw_times(axes[1, 1], result, colors)
    _draw_courses(axes[1, 2], result, colors)
    at = rf"$\rho$ = {between(result):g}"
    for ax, letter, title in zip(axes[1], "def", ("how often", "when", "collapse"), strict=True):
        panel_label(ax, letter, f"{title}, {at}")
    lines = [Line2D([], [], color=color, label=f"p_un = {p:g}") for p, color in colors.items()]
    grey = COLORS["neutral"]
    lines += [Line2D([], [], color=grey, label="runs"), Line2D([], [], color=grey, ls=":", label="predicted")]
    fig.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 8), columnspacing=1.2, handlelength=1.5)
    return fig


def _draw_map(ax: Axes, result: xr.Dataset, evaluation: str) -> Any:
    share = collapsed(result).sel(evaluation=evaluation).mean("seed")
    x, rows = result["ratio"].values, result["fraction"].values
    middle = np.sqrt(x[1:] * x[:-1])
    edges = np.concatenate([[x[0] ** 2 / middle[0]], middle, [x[-1] ** 2 / middle[-1]]])
    mesh = ax.pcolormesh(edges, np.arange(len(rows) + 1) - 0.5, share, cmap="cividis", vmin=0, vmax=1, rasterized=True)
    ax.set_xscale("log")
    ax.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1.0], ["0.02", "0.05", "0.1", "0.2", "0.5", "1"])
    ax.minorticks_off()
    ax.set_xlim(edges[0], edges[-1])
    ax.set_yticks(range(len(rows)), [f"{p:g}" for p in rows])
    ax.set_xlabel(r"perturbation ratio $\rho$")
    one = setting(result, 0.0, 1.0)
    if evaluation != "l_inf PGD":
        _line(ax, [phases.critical_ratio(one)] * 2, [-0.5, len(rows) - 0.5])
        return mesh
    low, high = two_mechanisms.linf_ratio(one), two_mechanisms.shift_ratio(one)
    half = two_mechanisms.collapse_fraction(setting(result, float(rows[-1]), 0.1), int(result["step"][-1]))
    bottom = _height(rows, half)
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


def _percent(ax: Axes, words: str) -> None:
    ax.set_ylim(-0.04, 1.04)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0))
    ax.set_ylabel(words)
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)


def _draw_shares(ax: Axes, result: xr.Dataset) -> None:
    rows = shares(result)
    x = np.arange(len(rows))
    ends = np.array([proportion_interval(count, runs, 0.95) for _, count, runs, _ in rows]).T
    share = np.array([count / runs for _, count, runs, _ in rows])
    ax.errorbar(x, share, yerr=np.abs(ends - share), fmt="o", ms=4, lw=1.0, color=SERIES[0], label="runs")
    ax.plot(x, [q for *_, q in rows], "_", ms=13, mew=2, color=PREDICTED["color"], label="predicted")
    ax.set_xticks(x, [f"{p:g}" for p, *_ in rows], rotation=45)
    ax.set_xlabel("unlearnable fraction p_un")
    ax.legend(loc="lower right")
    _percent(ax, "collapsed runs (%)")


def _draw_times(ax: Axes, result: xr.Dataset, colors: dict[float, Any]) -> None:
    ratio, last = between(result), int(result["step"][-1])
    at, grid = result["T_u"].sel(ratio=ratio), np.linspace(1, last, 300)
    for p, color in colors.items():
        times = np.sort(at.sel(fraction=p).values)
        times = times[np.isfinite(times)]
        height = np.arange(len(times) + 1) / result.sizes["seed"]
        ax.step([0, *times, last], [*height, height[-1]], where="post", color=color, lw=1.2)
        law = [two_mechanisms.collapse_probability(setting(result, p, ratio), t) for t in grid]
        ax.plot(grid, law, color=color, lw=1.0, ls=":")
    ax.set_xlim(0, last)
    ax.set_xlabel("training time (steps)")
    _percent(ax, r"runs with $T_u$ passed (%)")


def _draw_courses(ax: Axes, result: xr.Dataset, colors: dict[float, Any]) -> None:
    at = result.sel(ratio=between(result)).sel(evaluation="l_inf PGD")
    for p, color in colors.items():
        own = at.sel(fraction=p)
        for seed in range(result.sizes["seed"]):
            time = float(own["T_u"][seed])
            if np.isfinite(time) and time > 0:
                ax.plot(own["step"][1:] / time, own["error"].isel(seed=seed)[1:], color=color, lw=0.7, alpha=0.7)
    ax.axvline(1, color=COLORS["neutral"], lw=0.7, ls="--")
    ax.set_xlim(0, 3)
    ax.set_xlabel(r"time / $T_u$")
    _percent(ax, "error (%)")


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """Collapsed runs under each evaluation and the median T_u, by cell, with the predicted T_u."""
    header = ["fraction", "ratio", "seeds", *(f"collapsed_{name}" for name in ("inside_A", "l2", "linf"))]
    found, times = collapsed(result).sum("seed"), result["T_u"].fillna(np.inf).median("seed")
    rows = []
    for p in result["fraction"].values:
        for ratio in result["ratio"].values:
            counts = [int(found.sel(fraction=p, ratio=ratio, evaluation=name)) for name in MAPS]
            predicted = two_mechanisms.collapse_time(setting(result, float(p), float(ratio)))
            rows.append([float(p), float(ratio), result.sizes["seed"], *counts,
                         float(times.sel(fraction=p, ratio=ratio)), predicted])  # fmt: skip
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
