"""Figure: the phase transition of concrete training sets, proved: stages, losses, test errors, and rounding errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from cgro.base.outward import at_least_words, at_most_words
from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, SERIES, figure, legend, panel_label

LOOK = {
    "adversarial": ("adversarial training", SERIES[1]),
    "below the critical ratio": (r"below $\rho^*$", SERIES[0]),
    "standard": ("standard training", SERIES[2]),
}
_CURVES = {
    "signal_margin": (r"signal $\alpha^q U$", COLORS["signal"]),
    "memorized_median": (r"noise, median $V_i$", COLORS["noise"]),
}


def _ends(values: xr.DataArray) -> tuple[float, float]:
    return float(values.sel(bound="low")), float(values.sel(bound="high"))


def _first(result: xr.Dataset, instance: str) -> dict[str, int]:
    """The proved phase times that are reached."""
    reached = result["first_step"].sel(instance=instance)
    return {
        str(name): int(step) for name, step in zip(reached["time"].values, reached.values, strict=True) if step >= 0
    }


def _error(result: xr.Dataset, instance: str, kind: str) -> tuple[float, float]:
    return _ends(result[f"{kind}_test_error"].sel(instance=instance).isel(step=-1))


def largest_deviation(result: xr.Dataset) -> float:
    """The largest certain bound on the rounding error of any engine, in u or v, at any recorded step."""
    return max(float(result[f"deviation_{part}"].sel(bound="high").max()) for part in "uv")


def message(result: xr.Dataset) -> str:
    """What is proved of one training set."""
    first = _first(result, "adversarial")
    if len(first) < 3:
        return "Gradient descent in real numbers is enclosed step by step; these runs are too short for all stages."
    return (
        "For one training set this is a theorem: ball arithmetic encloses gradient descent in real numbers, and the "
        f"stages end at steps {first['T_0']:,}, {first['T_n']:,} and {first['T_1']:,} exactly. At the end the robust "
        f"test error is at least {at_least_words(_error(result, 'adversarial', 'robust')[0], 3)}, and the clean test "
        f"error at most {at_most_words(_error(result, 'adversarial', 'clean')[1])}."
    )


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    run = result.sel(instance="adversarial")
    times = ", ".join(f"{name} = {step:,}" for name, step in _first(result, "adversarial").items())
    low, high = _ends(run["stage_adversarial_loss"].sel(stage="stall"))
    stall = (
        f"From T_0 until T_n the adversarial loss is between {at_least_words(low, 3)} and {at_most_words(high, 3)}."
        if high == high
        else "No step lies between T_0 and T_n."
    )
    falls, broken = int(run["falls"]), int(run["not_proved_correct"].sel(kind="robust"))
    memorized = _ends(result["stage_memorized"].sel(instance="standard").max("stage"))[1]
    outside = int((result["in_tube"] == 0).sum())
    ratio = float(result["radius_ratio"].sel(instance="below the critical ratio"))
    errors = {
        (instance, kind): _error(result, instance, kind)
        for instance in ("adversarial", "below the critical ratio")
        for kind in ("clean", "robust")
    }
    return (
        "Gradient descent in real numbers, enclosed by ball arithmetic from the float64 values of one seed: every "
        f"number is proved. (a) Adversarial training: {times or 'no phase ends'}, the exact first steps at which the "
        f"levels of the phases are reached. Steps in which a component of the signal may fall: {falls}. (b) Its "
        f"training losses. {stall} (c) "
        "Bands that contain the robust test error of a fresh sample: from below by anti-concentration, from above by "
        "symmetry and the moments of Z. At the end of adversarial training it is at least "
        f"{at_least_words(errors['adversarial', 'robust'][0], 3)}, the clean test error at most "
        f"{at_most_words(errors['adversarial', 'clean'][1])}, and an attack inside A(X, delta) breaks at most {broken} "
        f"training samples. Below the critical ratio, at rho = {ratio:g}, the robust test error is at most "
        f"{at_most_words(errors['below the critical ratio', 'robust'][1])}. In standard training no V_i exceeds "
        f"{at_most_words(memorized)}. "
        "(d) Largest distance of the float64 engines from the exact state, at most "
        f"{at_most_words(largest_deviation(result))}. Dashed: the tube of all float64 implementations "
        f"that round correctly; states of the engines outside of it: {outside}."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Components, losses, proved test errors, and rounding errors."""
    fig, axes = figure(7.2, 5.4, ncols=2, nrows=2)
    (a, b), (c, d) = axes
    later = result.sel(step=result["step"] > 0)
    x = later["step"].values
    run = later.sel(instance="adversarial")
    for name, (label, color) in _CURVES.items():
        a.plot(x, run[name].mean("bound"), color=color, label=label)
    low, high = (run[f"memorized_{end}"].mean("bound") for end in ("min", "max"))
    a.fill_between(x, low, high, color=COLORS["noise"], alpha=0.18, lw=0, label="all $V_i$")
    a.set_yscale("symlog", linthresh=0.1, linscale=0.5)
    a.set_ylim(-0.15, 30)
    a.set_ylabel("part of the margin (nats)")
    b.plot(x, run["clean_loss"].mean("bound"), color=COLORS["clean"], label="clean")
    b.plot(x, run["adversarial_loss"].mean("bound"), color=COLORS["robust"], label="adversarial")
    b.axhline(math.log(2), color=COLORS["neutral"], lw=0.7, ls=":")
    b.text(x[0] * 1.3, math.log(2) * 1.15, r"$\log 2$", va="bottom", color=COLORS["neutral"])
    b.set_yscale("log")
    b.set_ylim(top=3)
    b.set_ylabel("training loss (nats)")
    for ax in (a, b):
        for name, step in _first(result, "adversarial").items():
            ax.axvline(step, color="black", lw=0.7, ls="--")
            side = "right" if name == "T_n" else "left"
            ax.text(step, 0.99, f" ${name}$ ", transform=ax.get_xaxis_transform(), ha=side, va="top")
    legend(a, "upper left", (0.24, 0.73))
    legend(b, "lower left", (0.0, 0.0))
    _draw_errors(c, later)
    _draw_rounding(d, later)
    for ax in axes.ravel():
        ax.set_xscale("log")
        ax.set_xlim(x[0], x[-1])
        ax.set_xlabel("gradient step")
    for ax, letter, title in zip(axes.ravel(), "abcd", ("what is learned", "loss", "robust test error", "rounding"),
                                 strict=True):  # fmt: skip
        panel_label(ax, letter, title)
    fig.legend(*c.get_legend_handles_labels(), loc="outside lower center", ncols=3, title="Panels c and d")
    return fig


def _draw_errors(ax: Axes, later: xr.Dataset) -> None:
    for instance, (label, color) in LOOK.items():
        band = later["robust_test_error"].sel(instance=instance)
        low, high = (band.sel(bound=end) for end in ("low", "high"))
        ax.fill_between(later["step"], low, high, color=color, alpha=0.16, lw=0)
        ax.plot(later["step"], low, color=color, lw=1.2, label=label)
        ax.plot(later["step"], high, color=color, lw=1.2)
    ax.set_ylim(-0.02, 0.54)
    ax.set_ylabel("robust test error (fraction)")


def _draw_rounding(ax: Axes, later: xr.Dataset) -> None:
    for instance, (label, color) in LOOK.items():
        here = later.sel(instance=instance)
        error = here["deviation_v"].sel(bound="high").max("engine")
        ax.plot(here["step"], error, color=color, label=label)
        ax.plot(here["step"], here["tube_width"].sel(part="v"), color=color, lw=0.9, ls="--")
    ax.set_yscale("log")
    ax.set_ylabel("error of a noise component")


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each instance and step: both ends of every interval, and the rounding errors."""
    names = [*_CURVES, "memorized_min", "memorized_max", "clean_loss", "adversarial_loss"]
    names += ["clean_test_error", "robust_test_error"]
    header = ["instance", "step", *(f"{name}_{end}" for name in names for end in ("low", "high"))]
    header += ["error_u", "error_v", "tube_v"]
    rows = []
    for instance in map(str, result["instance"].values):
        for step in result["step"].values:
            at = result.sel(instance=instance, step=step)
            ends = [float(at[name].sel(bound=end)) for name in names for end in ("low", "high")]
            errors = [float(at[f"deviation_{part}"].sel(bound="high").max()) for part in "uv"]
            width = float(at["tube_width"].sel(part="v"))
            rows.append([instance, int(step), *ends, *errors, width if np.isfinite(width) else ""])
    return header, rows


def table(result: xr.Dataset) -> Table:
    """What is proved of each instance."""
    rows = []
    for instance in map(str, result["instance"].values):
        times = _first(result, instance)
        wrong = int(result["not_proved_correct"].sel(instance=instance, kind="robust"))
        margin = _ends(result["robust_margin"].sel(instance=instance).isel(step=-1))
        low, high = _error(result, instance, "robust")
        rows.append(
            (
                LOOK[instance][0].replace(r"$\rho^*$", "rho*"),
                *(f"{times[name]:,}" if name in times else "not reached" for name in ("T_0", "T_n", "T_1")),
                f"{wrong}, smallest margin {at_least_words(margin[0], 3)}",
                f"at most {at_most_words(_error(result, instance, 'clean')[1])}",
                f"at least {at_least_words(low, 3)}" if low > 1e-3 else f"at most {at_most_words(high)}",
                at_most_words(largest_deviation(result.sel(instance=[instance]))),
            )
        )
    return Table(
        "What is proved of exact gradient descent from one seed: the first steps at which the phases end, training "
        "samples that an attack inside A(X, delta) breaks at the end, and test errors of a fresh sample.",
        (
            "instance", "T_0", "T_n", "T_1", "broken training samples", "clean test error", "robust test error",
            "error of float64",
        ),
        rows,
    )  # fmt: skip


FIGURE = Figure(
    "The phase transition, proved",
    "certified-transition",
    {
        "instance step bound": "signal_margin memorized_min memorized_median memorized_max clean_loss adversarial_loss "
        "clean_test_error robust_test_error robust_margin",
        "instance stage bound": "stage_adversarial_loss stage_memorized",
        "instance engine step bound": "deviation_u deviation_v",
        "instance engine step": "in_tube",
        "instance step part": "tube_width",
        "instance time": "first_step",
        "instance": "instance radius_ratio falls",
        "instance kind": "not_proved_correct",
        "step": "step",
        "bound": "bound",
        "stage": "stage",
        "time": "time",
        "kind": "kind",
        "engine": "engine",
        "part": "part",
    },
    draw,
    caption,
    numbers,
    table=table,
    message=message,
    order=11,
)
