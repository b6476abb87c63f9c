"""How large influences are by chance: the exact law of the largest one when no sample has any influence.

Every model trains on its own random subset and classifies a test point correctly with probability p, whatever the
subset. Given the number s of correct models, entries are independent, because memberships of different samples are;
the chance that the largest exceeds a threshold is the mean of 1 - (1 - h(s))^n over s
(`largest_of_random_subsets`).

That law is compared with the definition: all subsets and outcomes of up to four models or two samples are
enumerated with the library's `influence`; and at the stated size influences of random subsets are drawn, whose
share above the threshold must have the law's value in its exact confidence interval. The stated probability is the
law's, to half a unit of its last digit. Subsets of a fixed size, which the library's own studies draw, have another
law.

A closed form that takes entries to be independent, with h for the mean of h(s), is larger by Jensen's inequality. A
large influence may well be noise: even at 700 models the chance is 0.027.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from itertools import product

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cgro.base.errors import AccuracyWarning
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.confidence import proportion_interval
from cgro.memorization.chance import largest_of_random_subsets
from cgro.memorization.scores import influence
from cgro.plots.style import SERIES, figure

CONFIDENCE = 0.999
TIE = 1e-12
"""An influence may be the threshold exactly, up to rounding, and does not exceed it then."""


@lru_cache(maxsize=8)
def enumerated(models: int, candidates: int, threshold: float, probability: float, ratio: float) -> float:
    """P[the largest influence > threshold] over all subsets and outcomes, by the definition."""
    total = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        for bits in product((False, True), repeat=models * candidates):
            mask = np.reshape(bits, (models, candidates))
            chance = math.prod(ratio if b else 1 - ratio for b in bits)
            for outcome in product((False, True), repeat=models):
                entries = influence(mask, np.array(outcome)[:, None])
                if (entries > threshold + TIE).any():  # NaN, without models of either kind, is not
                    total += chance * math.prod(probability if o else 1 - probability for o in outcome)
    return total


@lru_cache(maxsize=32)
def hits(models: int, candidates: int, threshold: float, probability: float, ratio: float, draws: range) -> int:
    """Draws whose largest influence exceeds the threshold; of each seed, the first with the same random numbers."""
    found = 0
    for draw in draws:
        generator = np.random.default_rng(draw)
        mask = generator.random((models, candidates), dtype=np.float32) < ratio
        found += bool(influence(mask, generator.random((models, 1)) < probability).max() > threshold + TIE)
    return found


def check(
    *,
    stated: float = 0.453,
    models: int = 400,
    candidates: int = 200,
    threshold: float = 0.15,
    probability: float = 0.5,
    ratio: float = 0.7,
    trials: int = 100,
    seed: int = 0,
) -> Finding:
    """The law against enumeration and simulation, and the stated value.

    Args:
        stated: the stated probability, with three digits.
        models: t.
        candidates: samples whose influence is looked at.
        threshold: level of the largest influence.
        probability: accuracy p on the test point.
        ratio: r, the chance that a model's subset has a sample.
        trials: simulated sets of models.
        seed: seed of the simulation.
    """
    small = [(t, n, 0.15, 0.5, r) for t, n in ((2, 2), (3, 2), (4, 1)) for r in (0.7, 0.3)]
    off = max(abs(enumerated(t, n, *rest) - largest_of_random_subsets(rest[0], rest[1], t, rest[2], n))
              for t, n, *rest in small)  # fmt: skip
    law = largest_of_random_subsets(threshold, probability, models, ratio, candidates)
    count = hits(models, candidates, threshold, probability, ratio, range(10**6 * seed, 10**6 * seed + trials))
    low, high = proportion_interval(count, trials, CONFIDENCE)
    parts = {
        "enumeration": off <= 1e-9,
        "simulation": low <= law <= high,
        "stated value": abs(law - stated) <= 0.0005,
    }
    wrong = [name for name, right in parts.items() if not right]
    return Finding(
        holds=not wrong,
        slack=0.0 if wrong else 0.0005 / max(abs(law - stated), 1e-9),
        tested=f"t = {models}, {candidates} samples, r = {ratio:g}, p = {probability:g}: the law, and {trials} "
        "draws; up to 4 models or 2 samples: all subsets and outcomes",
        bound=f"{stated:g} +- 0.0005",
        measured=f"law {law:.5f}; draws {low:.3f} to {high:.3f}; enumeration off by {off:.1g}",
        counterexample=wrong[0] if wrong else "",
        data=_dataset(threshold, ratio, candidates),
    )


@lru_cache(maxsize=8)
def _dataset(threshold: float, ratio: float, candidates: int) -> xr.Dataset:
    models, accuracies = [50, 100, 150, 200, 300, 400], [0.9, 0.5]
    law = [[largest_of_random_subsets(threshold, p, t, ratio, candidates) for t in models] for p in accuracies]
    entries = [[largest_of_random_subsets(threshold, p, t, ratio, 1) for t in models] for p in accuracies]
    together = 1 - (1 - np.minimum(entries, 1.0)) ** candidates
    dims = ("probability", "models")
    return xr.Dataset(
        {"law": (dims, law), "independent": (dims, together)}, {"probability": accuracies, "models": models}
    )


def draw(result: xr.Dataset) -> Figure:
    """The chance of a false influence as a function of the number of models."""
    fig, ax = figure(4.2, 2.6)
    for color, p in zip(SERIES, result["probability"].values, strict=False):
        at = result.sel(probability=p)
        ax.plot(at["models"], at["law"], "o-", ms=3.5, color=color, label=f"accuracy {p:g}")
        ax.plot(at["models"], at["independent"], ":", color=color, lw=1.0)
    ax.plot([], [], ":", color="#666666", lw=1.0, label="independent entries")
    ax.set_xlabel("models t")
    ax.set_ylabel("chance that the largest of 200\ninfluences exceeds 0.15 without any")
    ax.legend(loc="upper right")
    return fig


CLAIM = Claim(
    statement="if each of 200 samples is in each of t = 400 subsets independently with probability r = 0.7 and every "
    "model is right with probability p = 1/2 whatever its subset, the largest of the 200 influences on a test point "
    "exceeds 0.15 with probability 0.453",
    source="null law derived here; estimator of Feldman & Zhang 2020, thresholds as used by Xu et al., "
    "arXiv:2106.04794",
    tag="[D]",
    evidence="numerical",
    check=check,
    draw=draw,
    hypotheses={
        "trials >= 100": lambda trials: trials >= 100,
        "0 < probability < 1": lambda probability: 0 < probability < 1,
        "0 < ratio < 1": lambda ratio: 0 < ratio < 1,
        "20 <= models <= 2000": lambda models: 20 <= models <= 2000,
    },
    deep={"trials": 20_000},
    constants={
        "the largest of 200": Constant(lambda f: {"candidates": round(200 * f)}),
        "above 0.15": Constant(lambda f: {"threshold": 0.15 * f}),
        "probability 0.453": Constant(lambda f: {"stated": 0.453 * f}),
        "t = 400": Constant(lambda f: {"models": round(400 * f)}),
        "r = 0.7": Constant(lambda f: {"ratio": 0.7 * f}),
        "p = 1/2": Constant(lambda f: {"probability": 0.5 * f}),
    },
    controls={
        "that of independent entries at t r models, 0.434": {"stated": 0.434},
        "0.455, with influences of exactly 0.15": {"stated": 0.455},
        "190 influences": {"candidates": 190},
    },
)
