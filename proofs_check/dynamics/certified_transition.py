"""The main theorem for concrete training sets, proved by machine: exact gradient descent goes through the three stages.

Ball arithmetic encloses gradient descent in real numbers from the exact float64 values of a seed, step by step
(`cgro.dynamics.rigorous`). What is compared with a claimed number is an interval that contains the exact one, so that a
verdict is a proof: `holds` and `fails` are certain, and a bound that is not sharp enough for either is `undecided`.

Test errors are bounded, not sampled: from above by the exact second and fourth moment of the response Z to fresh noise,
from below by the length of the set on which a cubic polynomial is small (`cgro.dynamics.proved_errors`).

Two controls share data and initial filters and take as many steps: a small radius, where the network ends robust, and
standard training, where no noise is memorized. A float64 engine runs beside the proof. Its state must lie in the tube
of all implementations that round correctly at every recorded step, T_n and the end of the tube among them. Its distance
from the exact state is its error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import xarray as xr

from cgro.base.outward import at_least_words, at_most_words
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.outcomes import Outcome, at_least, at_most, exactly, together
from cgro.dynamics.runs import Engine, Runs
from cgro.dynamics.setting import PatchSetting


def ends_of(values: xr.DataArray) -> tuple[float, float]:
    """Both ends of an interval."""
    return float(values.sel(bound="low")), float(values.sel(bound="high"))


def never(proved: xr.Dataset, what: str) -> Outcome:
    """That something happens in no step: certain, certainly not, or open."""
    possible, certain = int(proved[what]), int(proved[f"certain_{what}"])
    return Outcome(True if possible == 0 else False if certain else None, math.inf if possible == 0 else 0.0)


def cgro_parts(
    proved: xr.Dataset, first_steps: tuple[int, ...], stall: float, clean: float, robust: float
) -> dict[str, Outcome]:
    """What the theorem says of one run, each part decided."""
    end = proved.isel(step=-1)
    reached = tuple(int(step) for step in proved["first_step"].values)
    stage = proved["stage_adversarial_loss"].sel(stage="stall")
    margin = ends_of(end["robust_margin"])
    return {
        f"the stages end at steps {reached}": exactly(reached == first_steps, 1.0 if reached == first_steps else 0.0),
        "no u_r falls": never(proved, "falls"),
        "the objective never rises": never(proved, "rises"),
        "the adversarial loss stalls": at_least(float(stage.min()), float(stage.sel(bound="low")), stall * math.log(2)),
        "the robust training error ends at 0": Outcome(
            True if margin[0] > 0 else False if margin[1] <= 0 else None, math.inf if margin[0] > 0 else 0.0
        ),
        "the clean test error": at_most(*ends_of(end["clean_test_error"]), clean),
        "the robust test error": at_least(*ends_of(end["robust_test_error"]), robust),
    }


def float64(runs: Runs) -> Engine:
    """The compiled engine on one core."""
    from cgro.dynamics.gram import GramEngine  # imports torch, as does all that trains

    return GramEngine(runs, threads=1)


def too_long(runs: Runs) -> Engine:
    """A faulty engine: eta times 1.001."""
    longer = tuple(replace(setting, learning_rate=1.001 * setting.learning_rate) for setting in runs.settings)
    return float64(Runs(longer, runs.seeds))


def wrong_sign(runs: Runs) -> Engine:
    """A faulty engine: the noise of the first sample pulls the wrong way."""
    engine: Any = float64(runs)
    engine.labels[:, 0] *= -1
    return cast(Engine, engine)


def late(runs: Runs) -> Engine:
    """A faulty engine: after step 180 the noise components are too large by a billionth."""
    from cgro.dynamics.gram import GramEngine

    class Late(GramEngine):
        def advance(self, steps: int) -> None:
            before = min(max(180 - self.taken, 0), steps)
            super().advance(before)
            if before < steps:
                super().advance(steps - before)
                self.v *= 1 + 1e-9

    return Late(runs, threads=1)


def check(
    *,
    samples: int = 12,
    patches: int = 3,
    dim: int = 60,
    filters: int = 8,
    rate: float = 0.3,
    steps: int = 600,
    tube_steps: int = 200,
    seed: int = 0,
    first_steps: tuple[int, ...] = (3, 194, 252),
    stall: float = 0.7,
    clean: float = 0.001,
    robust: float = 0.4,
    ratio: float = -1.0,
    robust_ratio: float = 0.7,
    unlearned: float = 0.1,
    weight: float = 0.5,
    engine: Callable[[Runs], Engine] = float64,
) -> Finding:
    """Prove one run and its two controls.

    Args:
        samples: training samples N.
        patches: patches P of a sample.
        dim: patch dimension d.
        filters: filters m.
        rate: step size eta.
        steps: gradient steps of the run and of both controls.
        tube_steps: steps for which the tube of correct float64 engines is followed.
        seed: seed of data and initial filters.
        first_steps: claimed first steps at which the levels of T_0, T_n and T_1 are reached.
        stall: share of log 2 above which the adversarial loss is claimed to stay until T_n.
        clean: claimed upper bound of the clean test error.
        robust: claimed lower bound of the robust test error.
        ratio: rho = delta / alpha; negative: the paper's.
        robust_ratio: rho of the control that ends robust.
        unlearned: claimed upper bound of every V_i in standard training.
        weight: weight lambda of the adversarial loss.
    """
    from cgro.dynamics.certificate import certificate

    base = PatchSetting(
        samples=samples, patches=patches, dim=dim, filters=filters, learning_rate=rate, steps=steps,
        radius_ratio=None if ratio < 0 else ratio, adversarial_weight=weight, sampling="vectors",
    )  # fmt: skip
    proved, smaller, standard = (
        certificate(
            setting, seed, records=count, also=(first_steps[1], tube_steps), tube_steps=tube_steps,
            engines={"float64": engine},
        )
        for setting, count in (
            (base, 12), (replace(base, radius_ratio=robust_ratio), 4), (replace(base, adversarial_weight=0.0), 4)
        )
    )  # fmt: skip
    parts = cgro_parts(proved, first_steps, stall, clean, robust)
    error = ends_of(smaller.isel(step=-1)["robust_test_error"])
    memorized = ends_of(standard["stage_memorized"].max("stage"))
    followed = proved["step"] <= tube_steps
    parts |= {
        f"at rho = {robust_ratio:g} the robust test error": at_most(*error, clean),
        f"in standard training every V_i stays below {unlearned:g}": at_most(*memorized, unlearned),
        "the float64 engine is in the tube": exactly(
            all(bool((run["in_tube"] != 0).all()) for run in (proved, smaller, standard))
            # The tube of the run itself must not have become too wide to say anything.
            and bool((proved["in_tube"].where(followed, drop=True) == 1).all()),
            math.inf,
        ),
    }
    return _finding(
        parts,
        proved,
        f"seed {seed}, N = {samples}, m = {filters}, d = {dim}; {steps:,} steps, float64 at {int(followed.sum())} "
        f"steps up to {tube_steps:,}, the controls' at {int((smaller['step'] <= tube_steps).sum())}",
        f"at rho = {robust_ratio:g} robust <= {at_most_words(error[1])}; at lambda = 0 V_i <= "
        f"{at_most_words(memorized[1])}",
    )


def _finding(parts: Mapping[str, Outcome], proved: xr.Dataset, tested: str, controls: str) -> Finding:
    found = together(*parts.values())
    end = proved.isel(step=-1)
    error = max(float(proved[name].sel(bound="high").max()) for name in ("deviation_u", "deviation_v"))
    steps = ", ".join(map(str, proved["first_step"].values.tolist()))
    undecided = [words for words, part in parts.items() if part.holds is None]
    return Finding(
        holds=found.holds,
        slack=found.slack,
        tested=tested,
        bound="stages, monotone signal, robust training error 0, test errors, controls",
        measured=f"T_0, T_n, T_1 = {steps}; clean test error <= {at_most_words(ends_of(end['clean_test_error'])[1])}, "
        f"robust >= {at_least_words(ends_of(end['robust_test_error'])[0], 3)}; {controls}; float64 is off by at most "
        f"{at_most_words(error)}" + (f"; not decided: {', '.join(undecided)}" if undecided else ""),
        counterexample="; ".join(words for words, part in parts.items() if part.holds is False),
    )


def _moved(factor: float) -> dict[str, tuple[int, ...]]:
    return {"first_steps": (3, round(194 * factor), round(252 * factor))}


CLAIM = Claim(
    statement="from the float64 values of one seed, exact gradient descent grows the signal, stalls with an "
    "adversarial loss above 0.7 log 2 until T_n, memorizes, and ends in CGRO: robust training error 0 on "
    "A(X, delta), clean test error <= 0.001, robust test error >= 0.4; after as many steps from the same "
    "values the latter is <= 0.001 at rho = 0.7, and no V_i has exceeded 0.1 at lambda = 0; float64 is "
    "within rounding at T_n and all recorded steps before",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Theorem 5.9, for concrete training sets; proof derived here",
    tag="[D]",
    evidence="interval",
    check=check,
    hypotheses={
        "samples >= 2": lambda samples: samples >= 2,
        "steps >= tube_steps": lambda steps, tube_steps: steps >= tube_steps,
        "first_steps has three steps": lambda first_steps: len(first_steps) == 3,
        "tube_steps >= T_n": lambda tube_steps, first_steps: tube_steps >= first_steps[1],
        "0 <= robust_ratio <= 1": lambda robust_ratio: 0 <= robust_ratio <= 1,
    },
    deep={
        "samples": 40, "patches": 4, "dim": 100, "filters": 20, "rate": 0.05, "steps": 8_000, "tube_steps": 2_700,
        "first_steps": (10, 1293, 2637),
    },
    constants={
        "the steps T_n and T_1": Constant(_moved),
        "0.7 log 2": Constant(
            lambda factor: {"stall": 0.7 * factor}, refuted=(1.05,), otherwise="a loss above less is a weaker claim"
        ),
        "0.001": Constant(
            lambda factor: {"clean": 0.001 * factor},
            refuted=(),
            otherwise="Chebyshev's inequality is not sharp: the proved bound is printed beside it",
        ),
        "0.4": Constant(
            lambda factor: {"robust": 0.4 * factor},
            refuted=(),
            otherwise="anti-concentration is not sharp, the truth is near 1/2: the proved bound is printed beside it",
        ),
        "rho = 0.7": Constant(
            lambda factor: {"robust_ratio": 0.7 * factor},
            refuted=(),
            otherwise="the radius of one control, well below the critical ratio, which is not claimed here",
        ),
        "0.1 at lambda = 0": Constant(
            lambda factor: {"unlearned": 0.1 * factor},
            refuted=(),
            otherwise="tells no memorization from V_i of order 1: the proved bound is printed beside it",
        ),
    },
    controls={
        "below the critical ratio": {"ratio": 0.7},
        "in standard training": {"weight": 0.0},
        "at a robust ratio of 0.97": {"robust_ratio": 0.97},
        "T_1 is 1 step later": {"first_steps": (3, 194, 253)},
        "for an engine whose step is 0.1 % too long": {"engine": too_long},
        "for an engine with one wrong sign": {"engine": wrong_sign},
        "for an engine that is wrong by a billionth after step 180": {"engine": late},
    },
)  # fmt: skip
