"""Exponents of phase times in a field of the setting, fitted within seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import scipy  # its parts are imported when first used
import xarray as xr
from matplotlib.figure import Figure

from cgro.claims.claim import Finding, undecided
from cgro.claims.outcomes import together, within
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.measures.scaling import PowerLaw, power_law
from cgro.plots.style import SERIES, figure

CONFIDENCE = 0.99
LABELS = {
    "samples": "samples N",
    "adversarial_weight": "adversarial weight lambda",
    "learning_rate": "step size eta",
    "init_scale": "initial scale sigma_0",
    "noise_norm": "norm of a noise patch",
    "dim": "dimension d of a patch",
    "signal": "signal strength alpha",
}


def phase_times(time: str, settings: Sequence[PatchSetting], seeds: range) -> np.ndarray:
    """A phase time (T_0, T_n or T_1) of every setting and seed, of shape (settings, seeds); NaN if not reached."""
    from cgro.dynamics.trajectory import train

    found = np.empty((len(settings), len(seeds)))
    # Settings of one shape train in one batch.
    for shape in {setting.shape for setting in settings}:
        chosen = [k for k, setting in enumerate(settings) if setting.shape == shape]
        batch = Runs.product([settings[k] for k in chosen], seeds)
        result = train(batch, records=2, test_samples=2, detail=False)
        found[chosen] = result[time].values.reshape(len(chosen), len(seeds))
    return found


def within_seeds(x: Sequence[float], y: np.ndarray, confidence: float) -> PowerLaw:
    """Power law of y (values, seeds) in x, with a separate factor for each seed: seeds differ in their largest weights.

    Every value uses the same seeds. The interval counts the degrees of freedom that the factors take.
    """
    values, seeds = y.shape
    logs = np.log(y) - np.log(y).mean(axis=0)
    fit = power_law(np.repeat(x, seeds), np.exp(logs).ravel(), confidence)
    freedom = values * seeds - seeds - 1
    wider = np.sqrt((values * seeds - 2) / freedom) * scipy.stats.t.ppf((1 + confidence) / 2, freedom)
    wider /= scipy.stats.t.ppf((1 + confidence) / 2, values * seeds - 2)
    reach = (fit.high - fit.low) / 2 * wider
    return PowerLaw(fit.exponent, fit.exponent - reach, fit.exponent + reach, fit.factor)


@lru_cache(maxsize=64)
def _measured(time: str, settings: tuple[PatchSetting, ...], seeds: range) -> np.ndarray:
    return phase_times(time, settings, seeds)


def exponents(
    time: str,
    values: Mapping[str, tuple[PatchSetting, Sequence[float]]],
    claimed: Mapping[str, float],
    seeds: range,
    tolerance: float,
    *,
    expected: Callable[[PatchSetting], float],
    start: Callable[[PatchSetting, int], float],
) -> Finding:
    """Whether the exponent of a phase time in every field lies, with its interval, within the tolerance of the
    claimed one.

    values: for every field a base setting and the field's values. Each setting takes twice the `expected` time. A run's
    time is multiplied by `start`, its own largest component at the start in units of its typical size: that is the
    logarithm that Theta~ hides, and the only part of the time that depends on the seed to leading order.

    All intervals hold together with the stated confidence (Bonferroni). Undecided where an interval contains accepted
    and excluded values and none lies outside.
    """
    confidence = 1 - (1 - CONFIDENCE) / len(claimed)
    outcomes, found, measured, fits = {}, [], [], []
    for name, exponent in claimed.items():
        base, points = values[name]
        settings = [replace(base, **{name: value}) for value in points]  # type: ignore[arg-type]
        settings = [replace(s, steps=math.ceil(2 * expected(s)) + 10) for s in settings]
        times = _measured(time, tuple(settings), seeds)
        if not np.isfinite(times).all():
            return undecided(f"{time} is not reached in twice the expected time for some {name}")
        measured.append(times * [[start(s, seed) for seed in seeds] for s in settings])
        fit = within_seeds(points, measured[-1], confidence)
        fits.append([fit.exponent, exponent])
        outcomes[name] = within(fit.low, fit.high, exponent, tolerance)
        found.append(f"{name} {fit.exponent:.3f} ({fit.low:.3f} to {fit.high:.3f}, claimed {exponent:+g})")
    verdict = together(*outcomes.values())
    return Finding(
        holds=verdict.holds,
        slack=verdict.slack,
        tested=f"{time}, {len(seeds)} seeds, "
        + ", ".join(f"{n} {values[n][1][0]:g} to {values[n][1][-1]:g}" for n in claimed),
        bound=f"exponent within {tolerance:g} of the claimed one, interval included",
        measured="; ".join(found),
        counterexample=next((name for name, outcome in outcomes.items() if outcome.holds is False), ""),
        confidence=CONFIDENCE,
        data=xr.Dataset(
            {
                "time": (("field", "value", "seed"), np.array(measured), {"long_name": f"{time} times its start"}),
                "setting": (("field", "value"), np.array([values[name][1] for name in claimed], dtype=float)),
                "exponent": (("field", "kind"), np.array(fits)),
            },
            {"field": list(claimed), "kind": ["fitted", "claimed"]},
        ),
    )


def draw_exponents(result: xr.Dataset) -> Figure:
    """A panel for each field: times of all seeds, and the claimed slope through their geometric mean."""
    count = result.sizes["field"]
    columns = min(count, 3)
    fig, axes = figure(
        6.5, 2.1 * -(-count // columns), ncols=columns, nrows=-(-count // columns), squeeze=False, sharey=True
    )
    for ax, name in zip(axes.ravel(), result["field"].values, strict=False):
        at = result.sel(field=name)
        x, y = at["setting"].values, at["time"].values
        middle = np.exp(np.log(y).mean() + float(at["exponent"].sel(kind="claimed")) * (np.log(x) - np.log(x).mean()))
        ax.loglog(np.repeat(x, y.shape[1]), y.ravel(), "o", ms=2.5, alpha=0.6, color=SERIES[0], mew=0)
        ax.loglog(x, middle, color=SERIES[1], lw=1.2)
        fitted, claimed = (float(at["exponent"].sel(kind=kind)) for kind in ("fitted", "claimed"))
        ax.set_title(f"exponent {fitted:.2f}, claimed {claimed:+g}")
        ax.set_xlabel(LABELS.get(str(name), str(name)))
        ax.set_xticks(x, [f"{v:g}" for v in x])
        ax.minorticks_off()
    low, high = axes[0, 0].get_ylim()
    ticks = [m * 10.0**k for k in range(1, 7) for m in (1, 2, 5) if low <= m * 10.0**k <= high]
    axes[0, 0].set_yticks(ticks, [f"{v:,.0f}" for v in ticks])
    for ax in axes[:, 0]:
        ax.set_ylabel(f"{result['time'].attrs['long_name']} (steps)")
    for ax in axes.ravel()[count:]:
        ax.remove()
    return fig
