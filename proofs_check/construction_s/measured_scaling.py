"""Built networks on the data set of the lower bound: their sizes, and the law of their first layer.

Data: e_1, ..., e_{N-1} with label +1 and 0 with label -1, of Prop. 3.2 of Kim, Moon & Yun: as every e_j differs in
its label from 0, no robust network has fewer than rho^2 (N-1) neurons in its first layer, or fewer than
(D+1) rho^2 (N-1) parameters. `projected_ball_sum` takes the smallest first layer that 3 random projections allow. Its k
neurons have k (D+1) parameters, for D far above N nearly all of the network. The numbers of all parameters are
compared with `total_bound` and with the lower bound. A second family has balanced labels: e_1, ..., e_N with
alternating ones. The lower bound does not hold for it.

What k should be is a law of chance without a free parameter. The projected e_j have squared lengths with the law
Beta(k/2, (d-k)/2), d = N - 1, and all must exceed (1.05 rho)^2, where 1.05 is the library's slack. Were the lengths
independent, one of 3 projections would succeed with probability 1/2 at the k with P[B >= (1.05 rho)^2]^d = 1 -
2^(-1/3); for balanced labels the power is N^2 / 4, as many as there are pairs of other labels. The ratio of the k found
to this k is fitted as a power of N, D / N and rho, with intervals for the exponents and for the factor. For rho well
below 1 the law is about (1.05 rho sqrt(N) + sqrt(ln N))^2. At these sizes rho^2 N alone, without the logarithm, is
rejected, and so are N, rho^4 N, rho^6 N, sqrt(N) and N^2.

The law does not depend on D, only on the N - 1 dimensions of the points, which the fit confirms at D = N - 1 and D =
8 (N - 1). Where N <= sqrt(D) / rho, these data cannot tell the order from the published one with the projection onto
the span: they are the same there (`published-order`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy.stats import beta, ttest_1samp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.outcomes import Outcome, together, within
from cgro.measures.scaling import joint_power_law
from cgro.memorizers.bounds import lower_bound_total, published_scaling_total
from cgro.memorizers.constructions import memorize
from cgro.memorizers.projected import separating_projection
from cgro.memorizers.projection_bounds import total_bound
from cgro.memorizers.task import memorization_task
from cgro.plots.style import SERIES, figure

Law = Callable[[int, float, bool], float]
"""Neurons of the first layer as a function of N, rho and whether labels are balanced; D has no influence."""
SPREAD = np.sqrt(2)
CONFIDENCE = 0.99
TRIALS = 3
WIDE = 32
"""The networks far above N have D = 32 (N - 1)."""
SPANS = (1, 8)
"""D / (N - 1) in the fit."""


@lru_cache(maxsize=4096)
def beta_law(samples: int, ratio: float, balanced: bool = False, slack: float = 1.05) -> int:
    """The smallest k at which one of 3 random projections keeps N - 1 independent lengths, or N^2 / 4 for balanced
    labels, above slack rho with probability at least 1/2."""
    d, pairs = samples - 1, samples // 2 * ((samples + 1) // 2) if balanced else samples - 1

    def enough(k: int) -> bool:
        return float(beta.sf((slack * ratio) ** 2, k / 2, (d - k) / 2)) ** pairs >= 1 - 0.5 ** (1 / TRIALS)

    return next((k for k in range(1, d) if enough(k)), d)


def check(
    *,
    dims: tuple[int, ...] = (16, 32, 64, 128),
    wide: tuple[int, ...] = (9, 17, 33),
    ratios: tuple[float, ...] = (0.3, 0.6, 0.9),
    samples: tuple[int, ...] = (33, 65, 129, 257),
    fitted: tuple[float, ...] = (0.2, 0.3, 0.45, 0.6, 0.75),
    draws: int = 4,
    tolerance: float = 0.03,
    ratio_tolerance: float = 0.05,
    factor_tolerance: float = 0.04,
    law: Law = beta_law,
) -> Finding:
    """The sizes of built networks between their bounds, and the fit of the first layer to the law.

    Args:
        dims: dimensions D of the networks with N = D + 1 points.
        wide: numbers of points N of the networks with D = 32 (N - 1).
        ratios: robustness ratios rho of the networks.
        samples: numbers of points N of the fit.
        fitted: robustness ratios rho of the fit.
        draws: seeds of the projections of the fit.
        tolerance: accepted deviation of the exponents of N and D, interval included.
        ratio_tolerance: that of the exponent of rho.
        factor_tolerance: that of the logarithm of the factor.
    """
    square = [(d + 1, d, rho) for d in dims for rho in ratios]
    far = [(n, WIDE * (n - 1), rho) for n in wide for rho in ratios]
    totals = {case: built(*case) for case in (*square, *far)}
    above = scan(totals, lambda case: (totals[case], total_bound(*case, SPREAD)))
    below = scan(totals, lambda case: (lower_bound_total(*case, "2"), totals[case]))
    accepted = {"N": tolerance, "D": tolerance, "rho": ratio_tolerance, "factor": factor_tolerance}
    parts: dict[str, Outcome] = {}
    fits, plain = [], []
    for balanced in (False, True):
        cases = list(product(samples, SPANS[: 1 if balanced else 2], fitted, range(draws)))
        layers = np.array([first_layer(*case, balanced) for case in cases])
        excess = layers / [law(case[0], case[2], balanced) for case in cases]
        n, span, rho, _ = np.array(cases, dtype=float).T
        variables = {"N": n, "rho": rho} if balanced else {"N": n, "D": span, "rho": rho}
        found = {name: (fit.low, fit.high) for name, fit in joint_power_law(variables, excess, CONFIDENCE).items()}
        factor = ttest_1samp(np.log(excess), 0.0).confidence_interval(CONFIDENCE)
        found["factor"] = float(factor.low), float(factor.high)
        where = "balanced labels" if balanced else "the data of the lower bound"
        parts |= {f"{name}, {where}": within(*ends, 0.0, accepted[name]) for name, ends in found.items()}
        fits.append(f"{where}: " + ", ".join(f"{name} {low:.3f} to {high:.3f}" for name, (low, high) in found.items()))
        plain += [] if balanced else list(layers / (rho**2 * (n - 1)))
    verdict = together(above.outcome, below.outcome, *parts.values())
    seen = above.counterexample or below.counterexample
    wrong = next((f"first layer: {name}" for name, part in parts.items() if part.holds is False), "")
    return Finding(
        holds=verdict.holds,
        slack=verdict.slack,
        tested=f"{len(square)} networks with N = D + 1 = {dims[0] + 1} to {dims[-1] + 1}; {len(far)} with N = "
        f"{wide[0]} to {wide[-1]}, D = {WIDE} (N - 1); rho = {ratios[0]} to {ratios[-1]}; first layers for N = "
        f"{samples[0]} to {samples[-1]}, rho = {fitted[0]} to {fitted[-1]}, {draws} seeds",
        bound=f"lower bound and explicit count; k of the law up to {tolerance:g} in the exponent of N, "
        f"{ratio_tolerance:g} in that of rho, {factor_tolerance:g} in the logarithm of the factor",
        measured="exponents of k over the law, and logarithm of the factor, "
        + "; ".join(fits)
        + f"; count at least {above.slack:.3g} times the total, total at least {below.slack:.3g} times the lower bound",
        constant=f"k from {min(plain):.3g} to {max(plain):.3g} times rho^2 (N-1)",
        counterexample=f"(N, D, rho) = {seen}" if seen else wrong,
        confidence=CONFIDENCE,
        data=xr.Dataset(
            {
                "total": (("dim", "ratio"), [[totals[d + 1, d, rho] for rho in ratios] for d in dims]),
                "bound": (("dim", "ratio"), [[total_bound(d + 1, d, rho, SPREAD) for rho in ratios] for d in dims]),
                "lower": (("dim", "ratio"), [[lower_bound_total(d + 1, d, rho, "2") for rho in ratios] for d in dims]),
            },
            {"dim": list(dims), "ratio": list(ratios)},
        ),
    )


def data(samples: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """0 with label -1 and e_1, ..., e_{N-1} with label 1 in R^D, N <= D + 1."""
    return np.eye(samples, dim, k=-1), np.where(np.arange(samples) == 0, -1, 1)


@lru_cache(maxsize=4096)
def built(samples: int, dim: int, ratio: float) -> int:
    """The number of all parameters of the network for these data."""
    memorizer = memorize(*data(samples, dim), "2", ratio / 2, construction="projected_ball_sum", trials=TRIALS)
    return memorizer.network.size.total


@lru_cache(maxsize=4096)
def first_layer(samples: int, span: int, ratio: float, seed: int, balanced: bool = False) -> int:
    """The smallest first layer that 3 random projections from D = span (N - 1) dimensions, or N, allow."""
    points, labels = data(samples, span * (samples - 1))
    if balanced:
        points, labels = np.eye(samples), np.where(np.arange(samples) % 2, 1, -1)
    task = memorization_task(points, labels, "2", ratio / (np.sqrt(2) if balanced else 2))
    return len(separating_projection(task, trials=TRIALS, seed=seed))


def draw(result: xr.Dataset) -> Figure:
    """Totals as a function of D = N - 1, with the count, the lower bound and the published order."""
    fig, axes = figure(6.5, 2.5, ncols=result.sizes["ratio"], sharey=True)
    dims = result["dim"].values
    for ax, ratio in zip(axes, result["ratio"].values, strict=True):
        at = result.sel(ratio=ratio)
        published = [published_scaling_total(d + 1, d, float(ratio)) for d in dims]
        ax.loglog(dims, at["bound"], "--", color=SERIES[0], label="explicit count")
        ax.loglog(dims, at["total"], "o-", color=SERIES[0], ms=3.5, label="built")
        ax.loglog(dims, published, ":", color=SERIES[1], label="published order, no constant")
        ax.loglog(dims, at["lower"], "-", color=SERIES[6], lw=0.9, label="lower bound")
        ax.set_title(f"rho = {ratio:g}")
        ax.set_xlabel("dimension D")
        ax.set_xticks(dims[::2], [str(d) for d in dims[::2]])
        ax.minorticks_off()
    axes[0].set_ylabel("parameters in total, N = D + 1")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


def _tilted(samples: float = 0.0, ratio: float = 0.0) -> dict[str, Law]:
    """The law times N^samples rho^ratio, without a change of the factor at (92, .4), the middle of the fit."""
    return {"law": lambda n, rho, balanced: beta_law(n, rho, balanced) * (n / 92) ** samples * (rho / 0.4) ** ratio}


CLAIM = Claim(
    statement="on the data set of the lower bound, 0 and N - 1 unit vectors in R^D, built networks have parameters "
    "between the lower bound and the explicit count; there, and on N unit vectors with balanced labels, their first "
    "layer has as many neurons k as N - 1, or N^2 / 4, independent lengths with the law Beta(k/2, (N-1-k)/2) let one "
    "of 3 projections have with probability 1/2, all lengths above 1.05 rho, up to 0.03 in the exponents of N and D, "
    "0.05 in that of rho and 0.04 in the logarithm of the factor, at the sizes tested",
    source="construction S with projection",
    tag="[D]",
    evidence="asymptotic",
    check=check,
    draw=draw,
    hypotheses={
        "at least 2 dimensions, all >= 4": lambda dims: len(dims) >= 2 and min(dims) >= 4,
        "N >= 5 in networks and fit, two values in the fit": lambda wide, samples: (
            len(wide) >= 1 and min(*wide, *samples) >= 5 and len(set(samples)) >= 2
        ),
        "0 < rho < 1, two values in the fit": lambda ratios, fitted: (
            len(ratios) >= 1 and all(0 < rho < 1 for rho in (*ratios, *fitted)) and len(set(fitted)) >= 2
        ),
        "draws >= 1": lambda draws: draws >= 1,
        "tolerances > 0": lambda tolerance, ratio_tolerance, factor_tolerance: (
            min(tolerance, ratio_tolerance, factor_tolerance) > 0
        ),
    },
    deep={"dims": (16, 32, 64, 128, 256, 512), "wide": (9, 17, 33, 65), "samples": (33, 65, 129, 257, 513)},
    controls={
        "rho^2 N without the logarithm": {"law": lambda n, rho, _: rho**2 * n},
        "N without rho": {"law": lambda n, rho, _: n},
        "rho^4 N": {"law": lambda n, rho, _: rho**4 * n},
        "rho^6 N": {"law": lambda n, rho, _: rho**6 * n},
        "N^(1/2) in place of N": {"law": lambda n, rho, balanced: beta_law(n, rho, balanced) / n**0.5},
        "N^2 in place of N": {"law": lambda n, rho, balanced: beta_law(n, rho, balanced) * n},
        "N lengths for balanced labels, too": {"law": lambda n, rho, _: beta_law(n, rho)},
    },
    constants={
        "Beta(k/2, (N-1-k)/2)": Constant(
            None, refuted=(), otherwise="the law of a projected length; its exponents of N and rho are moved instead"
        ),
        "one of 3 projections": Constant(
            None, refuted=(), otherwise="a definition: how many the construction tries in this check"
        ),
        "N^2 / 4 lengths": Constant(None, refuted=(), otherwise="the pairs of other labels; N of them are a control"),
        "1.05 rho": Constant(lambda f: {"law": lambda n, rho, b: beta_law(n, rho, b, 1.05 * f)}),
        "the exponent of N": Constant(lambda f: _tilted(samples=f - 1), deep=True),
        "the exponent of rho, about 2": Constant(lambda f: _tilted(ratio=2 * (f - 1))),
        "up to 0.03, 0.05 and 0.04": Constant(
            None, refuted=(), otherwise="tolerances; the finding prints the intervals"
        ),
    },
)
