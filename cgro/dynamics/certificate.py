"""The certificate of one run: phases, losses and test errors of exact gradient descent, proved step by step, and the
distance of the float64 engines from it.

Every step is examined, not only the recorded ones. What is stored are ends of intervals that contain the exact numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import xarray as xr
from flint import arb, ctx

from cgro.base.errors import UserError
from cgro.base.machine import limited_threads
from cgro.base.validate import integer
from cgro.base.work import Tick
from cgro.dynamics.gram import GramEngine
from cgro.dynamics.proved_errors import proved_errors
from cgro.dynamics.rigorous import TIMES, BallEngine, Ends, ends, median
from cgro.dynamics.runs import Engine, Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.trajectory import record_steps

STAGES = ("signal growth", "stall", "noise memorization", "memorized")
"""Signal growth ends at T_0, the stall at T_n and memorization at T_1. Whatever is reached last counts: where T_n comes
before T_0, there is no stall."""
FLOAT64 = 2.0**-53
"""Relative error of a float64 operation."""
EngineMaker = Callable[[Runs], Engine]
ENGINES: Mapping[str, EngineMaker] = MappingProxyType(
    {
        "compiled": lambda runs: GramEngine(runs, compiled=True, threads=1),
        "tensor": lambda runs: GramEngine(runs, compiled=False),
    }
)
QUANTITIES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "signal_margin": ("alpha^q U, signal's part of the clean margin", "nats"),
        "memorized_min": ("smallest V_i over training samples", "nats"),
        "memorized_median": ("median over training samples of V_i", "nats"),
        "memorized_max": ("largest V_i over training samples", "nats"),
        "clean_loss": ("mean logistic loss, clean training samples", "nats"),
        "adversarial_loss": ("mean logistic loss, attacked training samples", "nats"),
        "clean_margin": ("smallest clean margin of a training sample", "nats"),
        "robust_margin": ("smallest margin inside A of a training sample", "nats"),
        "clean_test_error": ("clean test error", "fraction"),
        "robust_test_error": ("robust test error, worst case inside A", "fraction"),
    }
)

RANGES: Mapping[str, str] = MappingProxyType(
    {
        "stage_clean_loss": "clean loss",
        "stage_adversarial_loss": "adversarial loss",
        "stage_signal_margin": "alpha^q U",
        "stage_memorized": "V_i over all samples",
    }
)


def certificate(
    setting: PatchSetting,
    seed: int,
    *,
    bits: int = 128,
    records: int = 40,
    also: Sequence[int] = (),
    tube_steps: int | None = None,
    engines: Mapping[str, EngineMaker] = ENGINES,
    tick: Tick = lambda _done: None,
) -> xr.Dataset:
    """Train one run in balls beside the engines, and prove what can be said of it.

    bits: precision of the balls. records: recorded steps, log-spaced. also: steps to record besides, up to the end.
    tube_steps: how long the tube of all correct
    float64 implementations is followed, None for as long as the run; it costs as much as the proof. tick: called with
    the number of steps just taken.

    Returns: Dataset with the variables of `QUANTITIES` over step and bound (low, high); first_step(time), T_0, T_n and
    T_1, -1 if not reached; ranges over all steps of a stage (stage, bound) of the variables of `RANGES`; falls and
    rises, the number of steps that were not shown to keep every u_r from falling and the objective from rising, and
    certain_falls and certain_rises, the number that certainly do; not_proved_correct(kind), training samples at the
    end; deviation_u and deviation_v (engine, step, bound), the largest distances of an engine from the exact state;
    in_tube(engine, step), 1 inside the tube, 0 outside, -1 where it was not followed or became too wide; and
    tube_width(step, part), its largest radius in u and in v.

    Raises: UserError for a setting outside the scope of `rigorous`, or where more bits are needed.
    """
    integer("records", records, low=2)
    follow = setting.steps if tube_steps is None else integer("tube_steps", tube_steps, low=0)
    exact = BallEngine(setting, seed, bits=bits)
    tube = BallEngine(setting, seed, bits=64, rounding=FLOAT64) if follow else None
    made = {name: make(Runs((setting,), (seed,))) for name, make in engines.items()}
    wanted = np.array([integer("also", step, low=0) for step in also], dtype=int)
    steps = np.union1d(record_steps(setting.steps, records), wanted[wanted <= setting.steps])
    stages = _Stages()
    rows: list[dict[str, Ends]] = []
    deviations = np.zeros((len(made), len(steps), 2, 2))
    widths = np.full((len(steps), 2), np.nan)
    in_tube = np.full((len(made), len(steps)), -1, dtype=np.int8)
    for k, step in enumerate(steps.tolist()):
        for _ in range(step - exact.taken):
            stages.see(exact)
            exact.advance(1)
            tick(1.0)
        with ctx.workprec(bits):
            rows.append(_row(exact))
        tube = _followed(tube, step) if step <= follow else None
        if tube is not None:
            widths[k] = tube.widest
        for e, engine in enumerate(made.values()):
            with limited_threads(1):  # operations are too small to gain from several threads
                if k:
                    engine.advance(step - int(steps[k - 1]))
                state = engine.state()
            u, v = state.u[0, 0].cpu().numpy(), state.v[0].cpu().numpy()
            deviations[e, k] = exact.deviation(u, v)
            if tube is not None:
                in_tube[e, k] = tube.contains(u, v)
    stages.see(exact)
    return (
        _dataset(exact, steps, rows, stages)
        .assign(
            deviation_u=(("engine", "step", "bound"), deviations[:, :, 0], {"long_name": "largest error of u"}),
            deviation_v=(("engine", "step", "bound"), deviations[:, :, 1], {"long_name": "largest error of v"}),
            in_tube=(("engine", "step"), in_tube, {"long_name": "inside the tube of correct float64 engines"}),
            tube_width=(("step", "part"), widths, {"long_name": "largest radius of the tube"}),
        )
        .assign_coords(engine=list(made), part=["u", "v"])
    )


def _followed(tube: BallEngine | None, step: int) -> BallEngine | None:
    """The tube after so many steps; None once it is too wide to say anything."""
    if tube is None:
        return None
    try:
        tube.advance(step - tube.taken)
    except UserError:  # the sign of U is not decided
        return None
    return tube if np.isfinite(tube.widest).all() else None


class _Stages:
    """Ranges of the losses, of the signal and of the memorized noise over all steps of each stage."""

    def __init__(self) -> None:
        self.ranges = np.full((len(STAGES), len(RANGES), 2), np.nan)

    def see(self, engine: BallEngine) -> None:
        """Take the current state into account."""
        stage = max((k + 1 for k, name in enumerate(TIMES) if name in engine.times), default=0)
        V = engine.state.memorized
        memorized = (_extreme(min, V)[0], _extreme(max, V)[1])
        now = np.array([*(ends(x) for x in (*engine.losses, _signal_margin(engine))), memorized])
        low, high = self.ranges[stage, :, 0], self.ranges[stage, :, 1]
        np.fmin(low, now[:, 0], out=low)
        np.fmax(high, now[:, 1], out=high)


def _signal_margin(engine: BallEngine) -> arb:
    return arb(engine.setting.signal) ** int(engine.setting.exponent) * engine.state.signal


def _row(engine: BallEngine) -> dict[str, Ends]:
    """The recorded intervals of a state."""
    at = engine.state
    clean, adversarial = engine.losses
    proved = proved_errors(engine)
    return {
        "signal_margin": ends(_signal_margin(engine)),
        "memorized_min": _extreme(min, at.memorized),
        "memorized_median": ends(median(at.memorized)),
        "memorized_max": _extreme(max, at.memorized),
        "clean_loss": ends(clean),
        "adversarial_loss": ends(adversarial),
        "clean_margin": _extreme(min, at.clean),
        "robust_margin": _extreme(min, at.robust),
        "clean_test_error": (0.0, proved.clean_at_most),
        "robust_test_error": (proved.robust_at_least, proved.robust_at_most),
    }


def _extreme(which: Callable[[Sequence[float]], float], balls: Sequence[arb]) -> Ends:
    each = [ends(x) for x in balls]
    return which([low for low, _ in each]), which([high for _, high in each])


def _dataset(engine: BallEngine, steps: np.ndarray, rows: list[dict[str, Ends]], stages: _Stages) -> xr.Dataset:
    data = {
        name: (("step", "bound"), np.array([row[name] for row in rows]), {"long_name": long_name, "units": units})
        for name, (long_name, units) in QUANTITIES.items()
    }
    for k, (name, words) in enumerate(RANGES.items()):
        attributes = {"long_name": f"{words}, over the stage", "units": "nats"}
        data[name] = (("stage", "bound"), stages.ranges[:, k], attributes)
    wrong = np.array([[not m > 0 for m in kind] for kind in (engine.state.clean, engine.state.robust)]).sum(1)
    return xr.Dataset(
        data
        | {
            "first_step": (
                "time", [engine.times.get(name, -1) for name in TIMES],
                {"long_name": "first step at which the level is reached", "units": "steps"},
            ),
            "falls": ((), engine.falls[1], {"long_name": "steps in which some u_r may fall"}),
            "certain_falls": ((), engine.falls[0], {"long_name": "steps in which some u_r falls"}),
            "rises": ((), engine.rises[1], {"long_name": "steps in which the objective may rise"}),
            "certain_rises": ((), engine.rises[0], {"long_name": "steps in which the objective rises"}),
            "not_proved_correct": (
                "kind", wrong, {"long_name": "training samples not proved correct at the end", "units": "samples"},
            ),
        },
        coords={
            "step": ("step", steps, {"long_name": "gradient step", "units": "steps"}),
            "bound": ["low", "high"],
            "time": list(TIMES),
            "stage": list(STAGES),
            "kind": ["clean", "robust"],
        },
    )  # fmt: skip
