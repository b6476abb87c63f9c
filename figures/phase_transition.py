"""Figure: the three phases of adversarial training, with predicted times.

Reference: Li & Li, ICML 2025, arXiv:2306.01271, section 5.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from cgro.dynamics import phases
from cgro.dynamics.setting import PatchSetting
from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, band, figure, legend, panel_label
from cgro.runs.store import stored_config

_PHASES = (
    ("I", "signal growth", "#009E73"),
    ("II", "signal stalls", "#999999"),
    ("III", "noise memorization", "#CC79A7"),
)


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    times = predictions(result)
    measured = {name: float(result[name].median()) for name in ("T_0", "T_1")}
    return (
        f"Adversarial training of the two-layer patch network, {result.sizes['seed']} seeds (line: mean, band: "
        "minimum to maximum). (a) The signal's part of the margin grows, then stalls; the training noise is memorized "
        "later. Shading: measured phases (median over seeds); dashed lines: predicted times. (b) The adversarial loss "
        "stays near log 2 throughout phase II and falls with memorization. (c) Final errors, mean over seeds: clean "
        f"test {_last(result, 'clean_test_error'):.3f}, robust training "
        f"{_last(result, 'robust_train_error'):.3f}, robust test "
        f"{_last(result, 'robust_test_error'):.3f}. Median measured T_0 = {measured['T_0']:.0f} (predicted "
        f"{times.signal:.0f}), T_1 = {measured['T_1']:.0f} (predicted {times.memorized:.0f})."
    )


def highlight(result: xr.Dataset) -> tuple[str, str]:
    """Final accuracies, for the top of the report."""
    value = " / ".join(
        f"{100 * (1 - _last(result, f'{name}_error')):.0f} %" for name in ("clean_test", "robust_train", "robust_test")
    )
    return value, "accuracy of the patch network: clean test / robust train / robust test"


def message(result: xr.Dataset) -> str:
    """The three stages."""
    times, t = predictions(result), {name: float(result[name].median()) for name in ("T_0", "T_n", "T_1")}
    if not all(np.isfinite(list(t.values()))):
        return "Not all three stages are reached in these runs."
    return (
        "Adversarial training of a two-layer network on patches goes through three stages. The signal is learned until "
        f"step {t['T_0']:,.0f} (predicted {times.signal:,.0f}). Then it stalls, because the attack hides it, until "
        f"step {t['T_n']:,.0f}. After that the noise of each training sample is memorized, by step {t['T_1']:,.0f} "
        f"(predicted {times.memorized:,.0f}). At the end the clean test error is "
        f"{_last(result, 'clean_test_error'):.2f}, the robust training error "
        f"{_last(result, 'robust_train_error'):.2f}, and the robust test error "
        f"{_last(result, 'robust_test_error'):.2f}; a coin toss would have 0.5."
    )


def _last(result: xr.Dataset, name: str) -> float:
    return float(result[name].isel(step=-1).mean())


def predictions(result: xr.Dataset) -> phases.PhaseTimes:
    """Predicted times of the result's setting."""
    return phases.predicted_times(PatchSetting(**stored_config(result)["setting"]))


def draw(result: xr.Dataset) -> Drawing:
    """Three panels over the gradient step: components, losses, errors."""
    fig, axes = figure(7.0, 2.75, ncols=3)
    step = result["step"].values
    kept = step > 0
    x = step[kept]

    def values(name: str) -> np.ndarray:
        return result[name].values[:, kept]

    a, b, c = axes
    band(a, x, values("signal_margin"), COLORS["signal"], r"signal $\alpha^q U$")
    band(a, x, values("noise_memorization_median"), COLORS["noise"], r"noise, median $V_i$")
    a.set_yscale("symlog", linthresh=0.1, linscale=0.5)
    a.set_ylabel("part of the margin (nats)")
    a.set_ylim(-0.05, 60)
    legend(a, "center left", (0.02, 0.3))
    panel_label(a, "a", "what is learned")

    band(b, x, values("clean_loss"), COLORS["clean"], "clean")
    band(b, x, values("adversarial_loss"), COLORS["robust"], "adversarial")
    b.axhline(math.log(2), color=COLORS["neutral"], lw=0.7, ls=":")
    b.text(x[0] * 1.5, 0.62, r"$\log 2$", va="top", color=COLORS["neutral"])
    b.set_yscale("log")
    b.set_ylim(1e-6, 3)
    b.set_ylabel("training loss (nats)")
    legend(b, "lower left", (0.0, 0.0))
    panel_label(b, "b", "loss")

    for kind in ("clean", "robust"):
        band(c, x, values(f"{kind}_train_error"), COLORS[kind], f"{kind} train", ls="--")
        band(c, x, values(f"{kind}_test_error"), COLORS[kind], f"{kind} test")
    c.set_ylim(-0.02, 1.02)
    c.set_ylabel("error (fraction)")
    legend(c, "upper right", (1.0, 0.93))
    panel_label(c, "c", "error")

    for ax in axes:
        ax.set_xscale("log")
        ax.set_xlim(x[0], x[-1])
        ax.set_xlabel("gradient step")
        _shade(ax, result, float(x[0]), float(x[-1]), label=ax is a)
    return fig


def _shade(ax: Axes, result: xr.Dataset, first: float, last: float, *, label: bool) -> None:
    bounds = [first, *(float(np.nanmedian(result[name])) for name in ("T_0", "T_n")), last]
    for (numeral, _, color), low, high in zip(_PHASES, bounds, bounds[1:], strict=False):
        if math.isfinite(low) and math.isfinite(high) and high > low:
            ax.axvspan(low, high, color=color, alpha=0.10, lw=0)
            middle = math.sqrt(low * high)
            ax.text(
                middle,
                0.985,
                numeral,
                transform=ax.get_xaxis_transform(),
                ha="center",
                va="top",
                weight="bold",
            )
    times = predictions(result)
    for name, time in (("$T_0$", times.signal), ("$T_1$", times.memorized)):
        if first < time < last:
            ax.axvline(time, color="black", lw=0.8, ls="--")
            if label:
                ax.text(time, 0.02, f" {name}", transform=ax.get_xaxis_transform(), ha="left", va="bottom")


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """Mean, minimum and maximum over seeds of every curve, by step."""
    names = ["signal_margin", "noise_memorization_median", "clean_loss", "adversarial_loss"]
    names += [f"{kind}_{split}_error" for kind in ("clean", "robust") for split in ("train", "test")]
    header = ["step", *(f"{name}_{statistic}" for name in names for statistic in ("mean", "min", "max"))]
    columns = [
        getattr(result[name], statistic)("seed").values for name in names for statistic in ("mean", "min", "max")
    ]
    return header, [
        [int(s), *map(float, row)] for s, row in zip(result["step"].values, np.array(columns).T, strict=True)
    ]


FIGURE = Figure(
    "Three phases of adversarial training, with predicted times",
    experiment="phase-transition",
    needs={
        "seed step": (
            "signal_margin noise_memorization_median clean_loss adversarial_loss clean_train_error robust_train_error "
            "clean_test_error robust_test_error"
        ),
        "seed": "T_0 T_n T_1",
        "step": "step",
    },
    draw=draw,
    caption=caption,
    numbers=numbers,
    highlight=highlight,
    message=message,
    order=1,
)
