"""Whether a quantity ranks models as another one does: Kendall's tau-b, a bootstrap interval over models, a verdict.

    tau_b = (concordant - discordant) / sqrt(pairs not tied in x * pairs not tied in y)

Source: Kendall, "The treatment of ties in ranking problems", Biometrika 1945, for tau-b; Efron & Tibshirani, "An
introduction to the bootstrap", 1993, for percentile intervals.
"""

from __future__ import annotations

import numpy as np
import scipy  # its parts are imported when first used
from jaxtyping import Float, Int

from cgro.base.errors import UserError
from cgro.base.validate import between, integer

FEWEST = 8
"""Models that a rank correlation needs; of fewer, every interval is about as wide as the range of tau."""
STRONG = 0.5
"""Size of tau from which a measure is said to rank models."""
VERDICTS = ("no", "value", "interval")
"""A measure ranks in both pools: no; by its tau; by its whole interval."""


def tau(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Kendall's tau-b of two quantities of n models; NaN if one of them is constant.

    Raises: UserError for fewer than `FEWEST` models, different lengths, and values that are NaN.
    """
    _require(x, y)
    return float(scipy.stats.kendalltau(x, y).statistic)


def tau_within(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], strata: Int[np.ndarray, " n"]) -> float:
    """Tau-b over the pairs of models of the same stratum: what is left of tau where the stratum explains nothing.

    NaN if one of the quantities is constant within every stratum.

    Raises: UserError as `tau`, and for strata that are not one for each model.
    """
    both, in_x, in_y = (pairs.sum() for pairs in _pairs(x, y, strata, within=True))
    return float(both / np.sqrt(in_x * in_y)) if in_x > 0 and in_y > 0 else np.nan


def interval(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    strata: Int[np.ndarray, " n"] | None = None,
    *,
    within: bool = False,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of tau-b over models; NaN where tau is.

    Models are drawn with replacement, as many as there are, within each of the strata: a resampled pool has as many
    models of each stratum. None: all in one. Draws depend on the strata and the seed alone, so that intervals of
    several measures are of the same pools. A model that was drawn twice is tied with itself; tau-b leaves such pairs
    out. Draws in which one of the quantities is constant do not count. within: of `tau_within` instead of `tau`.

    Raises: UserError as `tau`, and for strata, draws, a confidence or a seed out of range.
    """
    strata = np.zeros(len(x), int) if strata is None else np.asarray(strata)
    signs = _pairs(x, y, strata, within=within)
    integer("draws", draws, low=1)
    integer("seed", seed, low=0)
    between("confidence", confidence, 0, 1, open_low=True, open_high=True)
    drawn = counts(strata, draws, seed)
    both, in_x, in_y = (np.einsum("bi,bi->b", drawn @ pairs, drawn) for pairs in signs)
    defined = (in_x > 0) & (in_y > 0)
    if not defined.any():
        return np.nan, np.nan
    values = both[defined] / np.sqrt(in_x[defined] * in_y[defined])
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def counts(strata: Int[np.ndarray, " n"], draws: int, seed: int) -> Float[np.ndarray, "draws n"]:
    """How often each model is drawn, for each draw; the models of a stratum together as often as there are."""
    generator, found = np.random.default_rng(seed), np.zeros((draws, len(strata)))
    for stratum in np.unique(strata):
        (members,) = np.nonzero(strata == stratum)
        found[:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    return found


def verdict(taus: Float[np.ndarray, " p"], low: Float[np.ndarray, " p"], high: Float[np.ndarray, " p"]) -> str:
    """Whether a measure ranks the models of all p pools, with one sign and |tau| >= `STRONG` = 0.5.

    - interval: the whole interval of every pool does.
    - value: every tau does, but not every interval.
    - no: some tau does not, changes its sign, or is NaN.
    """
    for name, ends in (("interval", (low, high)), ("value", (taus,))):
        if any(all(bool((sign * end >= STRONG).all()) for end in ends) for sign in (-1, 1)):
            return name
    return "no"


def _pairs(x: np.ndarray, y: np.ndarray, strata: np.ndarray, *, within: bool) -> tuple[np.ndarray, ...]:
    """For each pair of models: 1 if concordant, -1 if discordant; whether it is not tied in x; and in y.

    within: 0 for pairs of different strata.
    """
    _require(x, y)
    if strata.shape != x.shape:
        raise UserError(f"strata must be one for each model, {x.shape}, got {strata.shape}")
    kept = strata[:, None] == strata[None, :] if within else np.ones((len(x), len(x)), bool)
    sx, sy = (np.sign(v[:, None] - v[None, :]) * kept for v in (x, y))
    return sx * sy, np.abs(sx), np.abs(sy)


def _require(x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim != 1 or x.shape != y.shape:
        raise UserError(f"values must be one for each model, got shapes {x.shape} and {y.shape}")
    if len(x) < FEWEST:
        raise UserError(f"models must be at least {FEWEST} for a rank correlation, got {len(x)}")
    if np.isnan(x).any() or np.isnan(y).any():
        raise UserError(f"values must be numbers, got {int(np.isnan(x).sum() + np.isnan(y).sum())} that are NaN")
