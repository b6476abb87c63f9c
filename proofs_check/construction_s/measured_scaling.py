"""Built networks follow the order D + N + rho^2 N D and stay below the explicit count, on the data set of the lower
bound.

Data: e_1, ..., e_D and 0 with alternating labels, N = D + 1, for several D and rho; `projected_ball_sum` searches the
projection. Parameters in all are compared with `total_bound`, and fitted against the order on log-log axes: an
exponent a little above 1 is what logarithms may add; against the published order it would be 2/3.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats

from cgro.claim import Claim, Finding
from cgro.evidence.cases import scan
from cgro.measures.scaling import power_law
from cgro.networks.memorizers.bounds import (
    lower_bound_total,
    published_scaling_total,
    shared_square_scaling_total,
)
from cgro.networks.memorizers.constructions import memorize
from cgro.networks.memorizers.projection_bounds import total_bound
from cgro.plots.style import SERIES, figure

Law = Callable[[int, int, float], float]
SPREAD = np.sqrt(2)


def check(
    *,
    dims: tuple[int, ...] = (16, 32, 64, 128, 256),
    ratios: tuple[float, ...] = (0.3, 0.6, 0.9),
    tolerance: float = 0.2,
    seed: int = 0,
    order: Law = shared_square_scaling_total,
) -> Finding:
    """Sizes of built networks against the count and the order.

    Args:
        dims: dimensions D, with N = D + 1 points.
        ratios: robustness ratios rho.
        tolerance: accepted deviation of the exponent from 1, interval included.
        seed: of the projections.
    """
    cases = [(d + 1, d, rho) for d in dims for rho in ratios]
    totals = {case: built(*case, seed) for case in cases}
    found = scan(cases, lambda case: (totals[case], total_bound(*case, SPREAD)))
    # A constant of its own for each rho: what is claimed of rho, the explicit count says.
    shape = (len(dims), len(ratios))
    x, y = (np.reshape([value(c) for c in cases], shape) for value in (lambda c: order(*c), totals.__getitem__))
    fit = power_law((x / stats.gmean(x, axis=0)).ravel(), (y / stats.gmean(y, axis=0)).ravel(), 0.99)
    deviation = max(abs(fit.low - 1), abs(fit.high - 1))
    close = deviation <= tolerance
    data = xr.Dataset(
        {
            "total": (("dim", "ratio"), [[totals[d + 1, d, rho] for rho in ratios] for d in dims]),
            "bound": (("dim", "ratio"), [[total_bound(d + 1, d, rho, SPREAD) for rho in ratios] for d in dims]),
            "lower": (("dim", "ratio"), [[lower_bound_total(d + 1, d, rho, "2") for rho in ratios] for d in dims]),
        },
        {"dim": list(dims), "ratio": list(ratios)},
    )
    return Finding(
        holds=found.holds and close,
        slack=min(found.slack, tolerance / deviation),
        tested=f"{found.count} networks, D = {dims[0]} to {dims[-1]}, N = D + 1, rho = {ratios[0]} to {ratios[-1]}",
        bound=f"the explicit count; exponent 1 +- {tolerance:g}",
        measured=f"exponent {fit.exponent:.3f} ({fit.low:.3f} to {fit.high:.3f}, 99 %); count at least "
        f"{found.slack:.3g} times the built total",
        constant=f"built totals are {min(totals[c] / order(*c) for c in cases):.3g} to "
        f"{max(totals[c] / order(*c) for c in cases):.3g} times D + N + rho^2 N D",
        counterexample=f"(N, D, rho) = {found.counterexample}" if not found.holds else "",
        confidence=0.99,
        data=data,
    )


def built(samples: int, dim: int, ratio: float, seed: int) -> int:
    """Parameters in all of the network for e_1, ..., e_D and 0."""
    points = np.vstack([np.eye(dim), np.zeros(dim)])[:samples]
    labels = np.where(np.arange(samples) % 2, 1, -1)
    labels[-1] = -labels[0]  # 0 and e_1 are the closest pair
    memorizer = memorize(points, labels, "2", ratio / 2, construction="projected_ball_sum", seed=seed, trials=3)
    return memorizer.network.size.total


def draw(result: xr.Dataset) -> Figure:
    """Totals against D, with count, lower bound and the published order."""
    fig, axes = figure(6.5, 2.5, ncols=result.sizes["ratio"], sharey=True)
    dims = result["dim"].values
    for ax, ratio in zip(axes, result["ratio"].values, strict=True):
        at = result.sel(ratio=ratio)
        published = [published_scaling_total(d + 1, d, float(ratio)) + d for d in dims]
        ax.loglog(dims, at["bound"], "--", color=SERIES[0], label="explicit count")
        ax.loglog(dims, at["total"], "o-", color=SERIES[0], ms=3.5, label="built")
        ax.loglog(dims, published, ":", color=SERIES[1], label="published order, no constant")
        ax.loglog(dims, at["lower"], "-", color=SERIES[6], lw=0.9, label="lower bound")
        ax.set_title(f"rho = {ratio:g}")
        ax.set_xlabel("dimension D, N = D + 1")
        ax.set_xticks(dims, [str(d) for d in dims])
        ax.minorticks_off()
    axes[0].set_ylabel("parameters in all")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


CLAIM = Claim(
    statement="built networks have O~(D + N + rho^2 N D) parameters in all on the data set of the lower bound",
    source="construction S with projection",
    tag="[D]",
    evidence="asymptotic",
    check=check,
    hypotheses={
        "at least 3 dimensions, all >= 4": lambda dims: len(dims) >= 3 and min(dims) >= 4,
        "0 < rho < 1": lambda ratios: all(0 < rho < 1 for rho in ratios),
    },
    deep={"dims": (16, 32, 64, 128, 256, 512)},
    controls={
        "the published order N D^2 rho^4": {"order": published_scaling_total, "dims": (16, 32, 64)},
        "order N D^(1/2) rho": {"order": lambda n, d, rho: rho * n * d**0.5, "dims": (16, 32, 64)},
    },
)
