"""Figure: does the transition from robust to CGRO sharpen, with which exponent, and what moves it between seeds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy  # its parts are imported when first used
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from cgro.measures.scaling import PowerLaw, power_law
from cgro.plots.figure import Figure
from cgro.plots.style import SERIES, figure, legend, panel_label
from cgro.runs.store import stored_config

CONFIDENCE = 0.95


class Widths(NamedTuple):
    """The transition along one axis, by value."""

    value: np.ndarray
    middle: np.ndarray
    """Median ratio over seeds."""
    width: np.ndarray
    """Standard deviation over seeds."""
    low: np.ndarray
    high: np.ndarray
    """low, high: bootstrap interval of the width."""
    predicted: np.ndarray


def turns(result: xr.Dataset) -> np.ndarray:
    """The ratio at which each seed turns, (line, seed)."""
    return np.mean([result["robust_side"].values, result["cgro_side"].values], axis=0)


def widths(result: xr.Dataset, axis: str) -> Widths:
    """The lines of one axis in which every seed turns, by increasing value."""
    ratio = turns(result)
    whole = np.isfinite(ratio).all(axis=1) & (result["axis"].values == axis)
    lines = sorted(np.flatnonzero(whole), key=lambda k: float(result["value"][k]))
    ends = [_interval(ratio[k]) for k in lines]
    return Widths(
        result["value"].values[lines].astype(float),
        np.median(ratio[lines], axis=1),
        ratio[lines].std(axis=1, ddof=1),
        np.array([low for low, _ in ends]),
        np.array([high for _, high in ends]),
        result["predicted"].values[lines],
    )


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Bias-corrected bootstrap interval of the standard deviation."""
    if np.ptp(values) == 0:
        return 0.0, 0.0
    found = scipy.stats.bootstrap(
        (values,), np.std, confidence_level=CONFIDENCE, n_resamples=2000, rng=np.random.default_rng(0)
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def exponent(x: np.ndarray, y: np.ndarray) -> PowerLaw | None:
    """The power law through points, if there are enough positive ones."""
    return power_law(x, y) if len(x) >= 3 and (y > 0).all() else None


def explained(result: xr.Dataset) -> np.ndarray:
    """Shares of the variance over seeds at each N that a linear fit explains: by the signal, and by both draws."""
    ratio, found = turns(result), []
    for k in np.flatnonzero((result["axis"].values == "samples") & np.isfinite(ratio).all(axis=1)):
        signal, noise = result["second_signal"].values[k], result["noise_start"].values[k]
        found.append([_share(ratio[k], signal), _share(ratio[k], signal, noise)])
    return np.array(found).reshape(-1, 2)


def _share(y: np.ndarray, *draws: np.ndarray) -> float:
    """Adjusted coefficient of determination of the linear regression of y on the draws."""
    design = np.column_stack([np.ones(len(y)), *draws])
    freedom = len(y) - design.shape[1]
    if freedom < 1 or np.ptp(y) == 0:
        return np.nan
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(1 - (residual @ residual / freedom) / y.var(ddof=1))


def _law(found: PowerLaw | None) -> str:
    return "no fit" if found is None else f"{found.exponent:.2f} ({found.low:.2f} to {found.high:.2f})"


def _apart(found: Widths, k: int) -> str:
    distance = found.middle[k] - found.predicted[k]
    return f"{abs(distance):.4f} {'above' if distance > 0 else 'below'}"


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    config = stored_config(result)
    by_samples, by_dim = widths(result, "samples"), widths(result, "dim")
    room = 1 - by_samples.middle
    shares = explained(result)
    beyond = int((~np.isfinite(turns(result))).sum())
    missing = f" {beyond} seeds turn outside of the ratios tried; lines with such seeds are left out." if beyond else ""
    signal, both = np.nanmedian(shares, axis=0) if np.isfinite(shares).any() else (np.nan, np.nan)
    moved = (
        f" (d) What moves the ratio of a seed: the second-largest signal component at T_0 explains "
        f"{100 * signal:.0f} % of the variance at the median N, with the noise that samples start with "
        f"{100 * both:.0f} % [D, measured]."
        if np.isfinite(signal)
        else ""
    )
    return (
        f"The perturbation ratio at which each of {result.sizes['seed']} seeds turns from robust to CGRO, enclosed to "
        f"{config['resolution']:g}; {config['setting']['patches'] - 1} noise patch, "
        f"d = {config['setting']['dim']:,} in (a, b, d), N = {config['setting']['samples']} in (c); training lasts in "
        f"proportion to N. (a) Share of seeds that end in CGRO, against the distance from their median. (b) The width "
        f"(standard deviation over seeds, {100 * CONFIDENCE:.0f} % bootstrap intervals) goes as N to the power "
        f"{_law(exponent(by_samples.value, by_samples.width))}, and relative to 1 - rho as N to the power "
        f"{_law(exponent(by_samples.value, by_samples.width / room))}: a description of this range, not a limit. "
        f"The median ratio is {_apart(by_samples, 0)} the prediction [D] at N = {by_samples.value[0]:.0f} and "
        f"{_apart(by_samples, -1)} it at N = {by_samples.value[-1]:.0f}. "
        f"(c) With d the width falls from {by_dim.width[0]:.4f} at d = {by_dim.value[0]:,.0f} to "
        f"{by_dim.width[-1]:.4f} at d = {by_dim.value[-1]:,.0f}.{moved}{missing}"
        if len(by_samples.value) and len(by_dim.value)
        else f"No line in which every seed turns.{missing}"
    )


def draw(result: xr.Dataset) -> Drawing:
    """Sharpening, widths against N and d, and what moves the transition."""
    fig, axes = figure(7.0, 5.0, nrows=2, ncols=2)
    (steps, by_samples), (by_dim, moved) = axes
    ratio, axis = turns(result), result["axis"].values
    lines = [k for k in np.flatnonzero(axis == "samples") if np.isfinite(ratio[k]).all()]
    shown = lines if len(lines) <= 4 else [lines[round(k)] for k in np.linspace(0, len(lines) - 1, 4)]
    for color, k in zip(SERIES, shown, strict=False):
        label = f"N = {int(result['value'][k])}"
        apart = np.sort(ratio[k]) - np.median(ratio[k])
        steps.step(apart, np.arange(1, len(apart) + 1) / len(apart), where="post", color=color, label=label)
        room = 1 - np.median(ratio[k])
        moved.scatter(
            result["second_signal"].values[k], (ratio[k] - np.median(ratio[k])) / room, s=7, color=color, lw=0
        )
    steps.xaxis.set_major_locator(MaxNLocator(5))
    steps.set_xlabel(r"$\rho$ minus its median over seeds")
    steps.set_ylabel("seeds in CGRO (fraction)")
    panel_label(steps, "a", "the transition")
    legend(steps, "upper left", (0.02, 0.98))
    _against(by_samples, widths(result, "samples"), "training samples $N$", relative=True)
    panel_label(by_samples, "b", "width against $N$")
    _against(by_dim, widths(result, "dim"), "patch dimension $d$", relative=False)
    panel_label(by_dim, "c", "width against $d$")
    moved.axhline(0, color="0.8", lw=0.7, zorder=0)
    moved.set_xlabel("second-largest signal component at $T_0$\n(fraction of the largest)")
    moved.set_ylabel(r"($\rho$ - median) / (1 - median)")
    panel_label(moved, "d", "what moves it")
    return fig


def _against(ax: Axes, found: Widths, label: str, *, relative: bool) -> None:
    """Widths with intervals on log axes, and if `relative` also over 1 - rho, with fitted power laws."""
    if not len(found.value):
        return
    errors = np.maximum([found.width - found.low, found.high - found.width], 0)
    series = [("width", np.ones_like(found.middle), SERIES[0], "o")]
    if relative:
        series.append((r"width / (1 - $\rho$)", 1 - found.middle, SERIES[1], "s"))
    for name, room, color, marker in series:
        y = found.width / room
        ax.errorbar(found.value, y, errors / room, fmt=marker, ms=3.5, lw=1, color=color, label=name)
        if relative and (law := exponent(found.value, y)) is not None:
            ends = found.value[[0, -1]]
            ax.plot(ends, law.factor * ends**law.exponent, color=color, lw=0.9, ls="--")
            ax.annotate(
                f"$\\propto N^{{{law.exponent:.2f}}}$",
                (ends[0], law.factor * ends[0] ** law.exponent),
                color=color,
                xytext=(4, -14),
                textcoords="offset points",
            )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else ""))
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.3)  # room for the legend
    ax.set_xlabel(label)
    ax.set_ylabel("perturbation ratio")
    if relative:
        legend(ax, "upper right", (0.98, 0.98))


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """By line: median, width with its interval, and prediction; then the ratio of every seed."""
    header = ["axis", "value", "median", "width", "low", "high", "predicted"]
    header += [f"seed_{int(seed)}" for seed in result["seed"].values]
    ratio = turns(result)
    rows: list[list[Any]] = []
    for k, axis in enumerate(result["axis"].values):
        whole = np.isfinite(ratio[k]).all()
        low, high = _interval(ratio[k]) if whole else (np.nan, np.nan)
        middle, width = (float(np.median(ratio[k])), float(ratio[k].std(ddof=1))) if whole else (np.nan, np.nan)
        row = [middle, width, low, high, float(result["predicted"][k]), *map(float, ratio[k])]
        rows.append([str(axis), int(result["value"][k]), *row])
    return header, rows


FIGURE = Figure(
    "Finite size: how sharp the transition is",
    experiment="finite-size",
    needs={
        "line": "axis value predicted",
        "line seed": "robust_side cgro_side second_signal noise_start",
        "seed": "seed",
    },
    draw=draw,
    caption=caption,
    numbers=numbers,
    along="samples dim",
)
