"""Influence above 0.15 means little below a thousand models: the law of the largest of 200 entries when there is no
influence at all.

Every model trains on a random 70 % of 200 candidates and classifies a test point correctly with probability p,
whatever its subset. The chance that the largest influence exceeds 0.15 is simulated, and compared with a quoted table
by simultaneous exact binomial intervals: the table is refuted where an interval lies outside the quoted value's
tolerance, and holds where all lie inside. The table has 0.52 for p = 0.5 and t = 400, where 0.457 is right, and 0.02
for p = 0.9, where 0.002 is right. A closed form, two binomials per entry and independent entries, is plotted beside
the simulation: it overstates large chances, since entries share a point's outcomes. The conclusion stands: with fewer
than about 1,000 models a large influence may be noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cgro.claims.claim import Claim, Finding
from cgro.claims.confidence import proportion_interval
from cgro.memorization.chance import largest_by_chance
from cgro.memorization.scores import influence
from cgro.plots.style import SERIES, figure

QUOTED: dict[tuple[float, int], float] = {
    (0.9, 100): 0.87,
    (0.9, 200): 0.22,
    (0.9, 400): 0.02,
    (0.9, 1000): 0.0,
    (0.5, 100): 1.0,
    (0.5, 200): 0.98,
    (0.5, 400): 0.52,
    (0.5, 1000): 0.0,
}
CORRECTED = QUOTED | {(0.9, 100): 0.882, (0.9, 200): 0.226, (0.9, 400): 0.002, (0.5, 200): 0.996, (0.5, 400): 0.457}
"""From 20,000 simulations each: standard errors up to 0.004."""
CONFIDENCE, THRESHOLD, RATIO, CANDIDATES = 0.99, 0.15, 0.7, 200


def check(
    *, trials: int = 3000, tolerance: float = 0.02, seed: int = 0, table: Mapping[tuple[float, int], float] = QUOTED
) -> Finding:
    """Chances by simulation, and whether each interval lies within the tolerance of the quoted value.

    Args:
        trials: simulated sets of models for each t (an eighth of them at t = 1,000, where the chance is close to 0).
        tolerance: accepted deviation, interval included.
        seed: seed of the simulation.
    """
    level = 1 - (1 - CONFIDENCE) / len(table)
    shares: dict[tuple[float, int], tuple[float, float, float]] = {}
    for models in sorted({t for _, t in table}):
        repetitions = trials if models < 1000 else max(trials // 8, 60)
        probabilities = tuple(p for p, t in table if t == models)
        for p, count in zip(probabilities, _hits(models, probabilities, repetitions, seed), strict=True):
            shares[p, models] = (count / repetitions, *proportion_interval(count, repetitions, level))
    # Largest and smallest distance of each interval from the quoted value.
    most = {key: max(abs(low - table[key]), abs(high - table[key])) for key, (_, low, high) in shares.items()}
    least = {key: max(low - table[key], table[key] - high, 0.0) for key, (_, low, high) in shares.items()}
    key = max(least, key=lambda k: (least[k], most[k]))
    holds = True if max(most.values()) <= tolerance else False if least[key] > tolerance else None
    rows = [", ".join(f"{shares[p, t][0]:.3f} at t = {t}" for q, t in sorted(shares) if q == p) for p in (0.9, 0.5)]
    return Finding(
        holds=holds,
        slack=tolerance / (least[key] if holds is False else max(most.values())),
        tested=f"200 candidates, ratio 0.7, threshold 0.15, {trials} simulations for each t",
        bound=f"within {tolerance:g} of the quoted values, intervals included",
        measured=f"p = 0.9: {rows[0]}; p = 0.5: {rows[1]}",
        counterexample=f"p = {key[0]:g}, t = {key[1]}: {shares[key][0]:.3f}, not {table[key]:g}"
        if holds is False
        else "",
        confidence=CONFIDENCE,
        data=_dataset(shares),
    )


@lru_cache(maxsize=64)
def _hits(models: int, probabilities: tuple[float, ...], repetitions: int, seed: int) -> tuple[int, ...]:
    """The number of repetitions in which the largest influence exceeds the threshold, for each accuracy p."""
    hits = dict.fromkeys(probabilities, 0)
    generator = np.random.default_rng([seed, models])
    for _ in range(repetitions):
        mask = generator.random((models, CANDIDATES), dtype=np.float32) < RATIO
        for p in hits:
            correct = generator.random((models, 1)) < p
            hits[p] += bool(influence(mask, correct).max() > THRESHOLD)
    return tuple(hits.values())


def _dataset(shares: Mapping[tuple[float, int], tuple[float, float, float]]) -> xr.Dataset:
    models = sorted({t for _, t in shares})
    missing = (np.nan, np.nan, np.nan)
    values = np.array([[shares.get((p, t), missing) for t in models] for p in (0.9, 0.5)])
    formula = [[largest_by_chance(THRESHOLD, p, t, RATIO, CANDIDATES) for t in models] for p in (0.9, 0.5)]
    dims = ("probability", "models")
    return xr.Dataset(
        {
            "share": (dims, values[..., 0]),
            "low": (dims, values[..., 1]),
            "high": (dims, values[..., 2]),
            "formula": (dims, formula),
        },
        {"probability": [0.9, 0.5], "models": models},
    )


def draw(result: xr.Dataset) -> Figure:
    """The chance of a false influence as a function of the number of models."""
    fig, ax = figure(4.2, 2.6)
    for color, p in zip(SERIES, result["probability"].values, strict=False):
        at = result.sel(probability=p)
        ends = np.clip([at["share"] - at["low"], at["high"] - at["share"]], 0, None)
        ax.errorbar(at["models"], at["share"], yerr=ends, fmt="o-", ms=3.5, color=color, label=f"accuracy {p:g}")
        ax.plot(at["models"], at["formula"], ":", color=color, lw=1.0)
    ax.plot([], [], ":", color="#666666", lw=1.0, label="independent entries")
    ax.set_xscale("log")
    ax.set_xticks(result["models"].values, [f"{t:,}" for t in result["models"].values])
    ax.minorticks_off()
    ax.set_xlabel("models t")
    ax.set_ylabel("chance that the largest of 200\ninfluences exceeds 0.15 without any")
    ax.legend(loc="upper right")
    return fig


CLAIM = Claim(
    statement="quoted chances that the largest of 200 influences exceeds 0.15 by chance: 0.52 at p = 0.5, t = 400",
    source="null law in notes on Xu et al. 2021, arXiv:2106.04794",
    tag="[D]",
    evidence="statistical",
    check=check,
    draw=draw,
    known_wrong="0.457 at p = 0.5 and 0.002 at p = 0.9 for t = 400; 0.882 and 0.226 at p = 0.9 for t = 100 and 200",
    hypotheses={"trials >= 200": lambda trials: trials >= 200},
    deep={"trials": 40_000},
    controls={"the simulated chances, within 0.05": {"table": CORRECTED, "tolerance": 0.05, "trials": 2000}},
)
