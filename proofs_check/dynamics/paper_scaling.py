"""Training in the scaling of Theorem 5.9 of Li & Li (ICML 2025, arXiv:2306.01271), shared by the checks of the theorem.

    alpha = d^0.249,  sigma = d^-0.509,  delta = alpha (1 - 1 / (sqrt(d) log d)),
    N = ceil(log d),  m = ceil(2 log d),  P = 3,  sigma_0 = 1 / sqrt(d),  lambda = 1/2

sigma_0 and the powers of log d are choices within what notes about the paper allow [N, R]. The step size is c /
alpha^2, and there are three times as many steps as the predicted T_1: poly(d). The cost of a step grows with d
through N and m alone.

A statement that holds with high probability is one about trials, see `trials`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from cgro.claims.claim import Constant, Finding
from cgro.dynamics.phases import memorization_time
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting

from .trials import judged

SCALING = (
    "alpha = d^0.249, sigma = d^-0.509, sigma_0 = d^(-1/2), delta = alpha (1 - 1/(sqrt(d) log d)), N = ceil(log d), "
    "m = ceil(2 log d), P = 3, q = 3"
)
"""The scaling in words, but for the step size and lambda."""
CHOICES = {
    "sigma_0 = d^(-1/2), lambda = 1/2, eta alpha^2 = 1/2 or 0.03": Constant(
        None, refuted=(), otherwise="the scaling: other choices that the paper allows have other constants"
    )
}
TEST_DRAWS = 1000
"""Draws of a fresh sample for the test errors of a run."""


def setting(d: int, *, pace: float = 0.5, weight: float = 0.5, ratio: float | None = None) -> PatchSetting:
    """The setting at dimension d. pace: eta alpha^2; ratio: rho, None for the paper's."""
    logarithm, alpha = math.log(d), d**0.249
    found = PatchSetting(
        samples=math.ceil(logarithm), patches=3, dim=d, filters=math.ceil(2 * logarithm), signal=alpha,
        noise_norm=d**-0.009, init_scale=d**-0.5, learning_rate=pace / alpha**2, radius_ratio=ratio,
    )  # fmt: skip
    return replace(found, steps=math.ceil(3 * memorization_time(found)), adversarial_weight=weight)


@dataclass(frozen=True)
class History:
    """Trajectories of all runs, at log-spaced steps."""

    setting: PatchSetting
    step: np.ndarray
    """(T,)"""
    signal: np.ndarray
    """alpha^q U, (runs, T)."""
    memorized: np.ndarray
    """V_i, (runs, T, N)."""
    crossed: np.ndarray
    """Largest part of a noise component that other noise patches contributed, (runs, T)."""
    times: np.ndarray
    """T_0, T_n and T_1, (runs, 3); infinite if not reached."""
    clean_test: np.ndarray
    robust_test: np.ndarray
    robust_train: np.ndarray
    """Errors at the end, (runs,)."""


@lru_cache(maxsize=64)
def trained(chosen: PatchSetting, seeds: range, records: int = 40) -> History:
    """Train one run for each seed."""
    from cgro.base.machine import limited_threads
    from cgro.dynamics.gram import GramEngine
    from cgro.dynamics.trajectory import observe, record_steps

    runs = Runs.product([chosen], seeds)
    engine, steps = GramEngine(runs), record_steps(chosen.steps, records)
    own = engine.G.diagonal(dim1=1, dim2=2)[engine.draw][:, None]
    signal, memorized, crossed = [], [], []
    for before, step in zip([0, *steps[:-1]], steps, strict=True):
        engine.advance(int(step - before))
        signal.append(
            chosen.signal**chosen.exponent * (engine.u[:, 0].abs() ** (chosen.exponent - 1) * engine.u[:, 0]).sum(1)
        )
        memorized.append(engine.memorized())
        crossed.append((engine.v - engine.v0 - engine.A * own).abs().amax((1, 2)))
    with limited_threads(1):
        end = observe(runs, engine.state(), test_samples=TEST_DRAWS, detail=False)
    series = [np.stack([x.numpy() for x in each], axis=1) for each in (signal, memorized, crossed)]
    return History(
        setting=chosen,
        step=steps,
        signal=series[0],
        memorized=series[1],
        crossed=series[2],
        times=np.nan_to_num(engine.times()[:, :3], nan=np.inf),
        clean_test=end["clean_test_error"],
        robust_test=end["robust_test_error"],
        robust_train=end["robust_train_error"],
    )


RANGE = "the sampled dimensions: the finding prints how the failures fall with d; the bound says nothing below d = 49"
"""Why the dimensions of these claims are no constants to be moved."""


def at_each(
    successes: Mapping[int, np.ndarray], least: Callable[[int], float], *, tested: str, bound: str, constant: str
) -> Finding:
    """Whether the probability of success is at least `least` at every d.

    successes: for each d, which trials succeeded; tested, bound: what there is to say besides d, seeds and probability.
    """
    runs = len(next(iter(successes.values())))
    found = judged({f"d = {d}": (int(s.sum()), least(d)) for d, s in successes.items()}, runs)
    intervals = ", ".join(f"{low:.2f} to {high:.2f} at {name}" for name, (low, high) in found.intervals.items())
    failures = ", ".join(f"{int((~s).sum())} of {runs} at d = {d}" for d, s in successes.items())
    return found.finding(
        tested=f"{SCALING}; d = {', '.join(map(str, successes))}, {runs} seeds each, {tested}",
        bound=f"probability >= {bound} at every d",
        measured=f"probability {intervals}; failures {failures}",
        constant=constant,
    )


def rarely(successes: Mapping[int, np.ndarray], failures: float, *, tested: str, constant: str) -> Finding:
    """Whether a trial fails with probability at most failures / sqrt(d), at every d; see `at_each`."""

    def least(d: int) -> float:
        return 1 - failures / math.sqrt(d)

    return at_each(successes, least, tested=tested, bound=f"1 - {failures:g} / sqrt(d)", constant=constant)
