"""Enclosed trajectories against an independent program, moments against pairings, and engines with planted faults."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pytest
from flint import arb, arb_mat, ctx

from cgro.base.errors import UserError
from cgro.base.outward import at_least_words, at_most_words
from cgro.dynamics import kernel
from cgro.dynamics.certificate import FLOAT64, certificate
from cgro.dynamics.direct import DirectEngine
from cgro.dynamics.gram import GramEngine
from cgro.dynamics.proved_errors import leading_coefficient, moments, proved_errors, require_cubic
from cgro.dynamics.rigorous import BallEngine, ends, median
from cgro.dynamics.runs import Runs, vector_draw
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.trajectory import train
from cgro.proofs_check.dynamics.certified_transition import never

SMALL = PatchSetting(
    samples=5, patches=3, dim=12, filters=4, learning_rate=0.3, steps=60, noise_norm=1.5, sampling="vectors"
)
VARIANTS = {
    "reference": SMALL,
    "transfer": replace(SMALL, attack="transfer"),
    "rho > 1": replace(SMALL, radius_ratio=1.3),
    "q = 2": replace(SMALL, exponent=2.0),
    "q = 4": replace(SMALL, exponent=4.0, init_scale=0.3),
    "standard": replace(SMALL, adversarial_weight=0.0),
}


def weights_by_definition(setting: PatchSetting, seed: int, steps: int) -> Any:
    """Filters after gradient descent on the network itself, patch by patch, in 60 digits."""
    mp = mpmath.mp.clone()
    mp.dps = 60
    q, N, draw = int(setting.exponent), setting.samples, vector_draw(setting, seed)
    sigma, alpha, delta = mp.mpf(setting.noise), mp.mpf(setting.signal), mp.mpf(setting.radius)
    lam, eta = mp.mpf(setting.adversarial_weight), mp.mpf(setting.learning_rate)
    y = [int(label) for label in draw.labels]
    noise = [[sigma * mp.mpf(x) for x in row] for row in draw.noise.tolist()]
    W = [[mp.mpf(setting.init_scale) * mp.mpf(x) for x in row] for row in draw.filters.tolist()]
    dot = lambda a, b: mp.fsum(p * r for p, r in zip(a, b, strict=True))  # noqa: E731
    phi = lambda z: z * abs(z) ** (q - 1)  # noqa: E731

    def sample(i: int, t: Any) -> list[list[Any]]:
        first = [t * y[i], *[mp.mpf(0)] * (setting.dim - 1)]
        each = setting.patches - 1
        return [first, *noise[i * each : (i + 1) * each]]

    for _ in range(steps):
        total = [[mp.mpf(0)] * setting.dim for _ in W]
        U = mp.fsum(phi(w[0]) for w in W)
        attacked = alpha - delta if setting.attack == "transfer" or U >= 0 else alpha + delta
        for i in range(N):
            for weight, t in ((1 - lam, alpha), (lam, attacked)):
                X = sample(i, t)
                margin = y[i] * mp.fsum(phi(dot(w, x)) for w in W for x in X)
                pull = weight * y[i] / (1 + mp.exp(margin))
                for r, w in enumerate(W):
                    for x in X:
                        slope = pull * q * abs(dot(w, x)) ** (q - 1)
                        total[r] = [a + slope * b for a, b in zip(total[r], x, strict=True)]
        W = [
            [w + eta / N * g for w, g in zip(row, gradient, strict=True)]
            for row, gradient in zip(W, total, strict=True)
        ]
    return [row[0] for row in W], [[dot(row, x) for x in noise] for row in W]


@pytest.mark.parametrize("name", VARIANTS)
def test_balls_hold_gradient_descent_on_the_weights_themselves(name: str) -> None:
    """An independent program in 60 digits lies inside, to 1e-30."""
    setting = VARIANTS[name]
    engine = BallEngine(setting, 3, bits=160)
    engine.advance(6)
    u, v = weights_by_definition(setting, 3, 6)
    exact = [mpmath.nstr(x, 50) for x in (*u, *(value for row in v for value in row))]
    with ctx.workprec(160):
        for ball, value in zip([*engine.u, *engine.v.entries()], exact, strict=True):
            assert float((ball - arb(value)).abs_upper()) < 1e-30
            assert float(ball.rad()) < 1e-30


@pytest.mark.parametrize("name", VARIANTS)
def test_every_engine_stays_in_the_tube_of_float64(name: str) -> None:
    setting = VARIANTS[name]
    runs = Runs((setting,), (1,))
    exact, tube = BallEngine(setting, 1), BallEngine(setting, 1, rounding=FLOAT64)
    engines = [GramEngine(runs, compiled=True), GramEngine(runs, compiled=False), DirectEngine(runs)]
    for steps in (1, 9, 50):
        exact.advance(steps)
        tube.advance(steps)
        for engine in engines:
            engine.advance(steps)
            state = engine.state()
            u, v = state.u[0, 0].numpy(), state.v[0].numpy()
            assert tube.contains(u, v)
            for low, high in exact.deviation(u, v):
                assert 0 <= low <= high < 1e-13
    # The tube is no wider than it needs to be to expose small faults.
    assert max(tube.widest) < 1e-5


FAULTS = {
    "a sign": ("weight[i] = (clean + attacked) * y[i]", "weight[i] = (clean - attacked) * y[i]"),
    "a factor 1.001 on the signal": ("u[k, r] += rate * seen[k]", "u[k, r] += 1.001 * rate * seen[k]"),
    "a factor 1.001 on the noise": ("j] = rate * variance", "j] = 1.001 * rate * variance"),
    "a factor 1.000001 in a margin": ("margin[i] = V[i] + (", "margin[i] = 1.000001 * V[i] + ("),
    "a term of the exponential": ("p = p * r + 1 / 120.0", "p = p * r + 1 / 119.9"),
}  # fmt: skip


def interpreted(old: str = "", new: str = "") -> Any:
    """`advance` of the kernel without the compiler, with a text replaced."""
    source = re.sub(r"@nb\.njit\(.*\)\n", "", Path(kernel.__file__).read_text())
    assert not old or source.count(old) == 1
    module: dict[str, Any] = {"__name__": "interpreted"}
    exec(source.replace(old, new) if old else source, module)
    return module["advance"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # faults may overflow
@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_a_fault_planted_in_the_kernel_leaves_the_tube(fault: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = interpreted(*FAULTS[fault]) if fault else interpreted()
    changed = SimpleNamespace(**{name: getattr(kernel, name) for name in ("SIGNAL", "NOISE")}, advance=replaced)
    monkeypatch.setattr("cgro.dynamics.gram.kernel", changed)
    proved = certificate(
        SMALL, 0, records=4, engines={"interpreted": lambda runs: GramEngine(runs, compiled=True, threads=1)}
    )
    assert bool((proved["in_tube"] == 1).all()) is (fault is None)


def test_phases_end_where_the_engine_says_that_they_do() -> None:
    setting = replace(SMALL, steps=400)
    proved = certificate(setting, 0, records=3, tube_steps=0)
    engine = GramEngine(Runs((setting,), (0,)))
    engine.advance(400)
    assert proved["first_step"].values.tolist() == [math.ceil(t) for t in engine.times()[0, :3]]
    assert (proved["in_tube"] == -1).all()
    assert int(proved["falls"]) == int(proved["rises"]) == 0


def test_steps_that_are_asked_for_are_recorded_besides() -> None:
    """Beside the log-spaced ones; what lies beyond the end is left out."""
    steps = certificate(SMALL, 0, records=2, also=(7, 33, SMALL.steps + 1), tube_steps=0, engines={})["step"]
    assert steps.values.tolist() == [0, 7, 33, SMALL.steps]


def test_an_attack_beyond_the_signal_makes_it_fall() -> None:
    """rho > 1 and adversarial points only: the push on the signal is negative, and the engine says so."""
    setting = replace(SMALL, radius_ratio=1.9, adversarial_weight=1.0, attack="transfer")
    proved = certificate(setting, 0, records=2, tube_steps=0, engines={})
    assert int(proved["falls"]) == int(proved["certain_falls"]) == 60


FLIPPED = replace(SMALL, dim=40, steps=600, noise_norm=0.3, radius_ratio=1.9, adversarial_weight=1.0, attack="transfer")


@pytest.mark.parametrize("change", [{}, {"noise_norm": 1.5}, {"radius_ratio": None, "init_scale": 0.3, "dim": 20}])
def test_robust_errors_are_those_of_the_worse_end_of_the_segment(change: dict[str, Any]) -> None:
    """Against a fixed transfer attack the signal may be learned with the wrong sign: then alpha + delta is worse."""
    setting = replace(FLIPPED, **change)
    proved = certificate(setting, 0, records=2, tube_steps=0, engines={}).isel(step=-1)
    trained = train(Runs((setting,), (0,)), records=2, test_samples=4000).isel(run=0, step=-1)
    low, high = proved["robust_test_error"].values
    assert low - 0.03 <= float(trained["robust_test_error"]) <= high + 0.03
    low, high = proved["robust_margin"].values
    assert low - 1e-9 <= float(trained["robust_margin"].min()) <= high + 1e-9
    wrong = int(proved["not_proved_correct"].sel(kind="robust"))
    assert wrong == round(5 * float(trained["robust_train_error"]))


@pytest.mark.parametrize("rate", [1.0, 10.0])
def test_a_push_that_cancels_leaves_correct_engines_in_the_tube(rate: float) -> None:
    """For rho > 1 clean and attacked samples pull in opposite ways: the rounding error is that of the terms."""
    setting = PatchSetting(
        samples=40, patches=2, dim=6, filters=2, learning_rate=rate, signal=10.0, noise_norm=0.01, init_scale=0.03,
        radius_ratio=2.0, attack="transfer", sampling="vectors", steps=1,
    )  # fmt: skip
    runs = Runs((setting,), (1073,))
    tube = BallEngine(setting, 1073, bits=64, rounding=FLOAT64)
    engines = [GramEngine(runs, compiled=True), GramEngine(runs, compiled=False), DirectEngine(runs)]
    for engine in (tube, *engines):
        engine.advance(1)
    for engine in engines:
        state = engine.state()
        assert tube.contains(state.u[0, 0].numpy(), state.v[0].numpy())


def test_engines_agree_where_the_attack_moves_a_margin_from_one_extreme_to_the_other() -> None:
    """Clean margins of 10^6 and attacked ones of -10^6, as in a run that diverges."""
    setting = PatchSetting(
        samples=40, patches=2, dim=6, filters=2, learning_rate=1.0, signal=10.0, noise_norm=0.01, init_scale=0.03,
        radius_ratio=2.0, attack="worst", sampling="vectors", steps=2,
    )  # fmt: skip
    runs, found = Runs((setting,), (1073,)), []
    for engine in (GramEngine(runs, compiled=True), GramEngine(runs, compiled=False), DirectEngine(runs)):
        engine.advance(2)
        found.append(engine.state().u.numpy())
    assert abs(found[0]).max() > 1e4
    np.testing.assert_allclose(found[0], found[1], rtol=1e-8)
    np.testing.assert_allclose(found[0], found[2], rtol=1e-8)


def test_a_tube_that_became_too_wide_says_nothing() -> None:
    """Neither balls without an end nor an undecided sign count as containing an engine."""
    wide = replace(SMALL, attack="transfer", steps=3_000)
    proved = certificate(wide, 0, records=30, engines={"float64": lambda runs: GramEngine(runs, threads=1)})
    assert proved["in_tube"].values[0, 0] == 1
    assert proved["in_tube"].values[0, -1] == -1
    assert np.isnan(proved["tube_width"].values[-1]).all()
    lost = replace(SMALL, radius_ratio=1.2, steps=300)
    assert certificate(lost, 0, records=6, engines={})["tube_width"].isnull().values[-1].all()
    tube = BallEngine(SMALL, 0, bits=64, rounding=FLOAT64)
    assert not tube.contains(np.full(4, np.nan), np.zeros((4, 10)))


def test_there_is_no_stall_where_memorization_comes_first() -> None:
    setting = replace(SMALL, signal=0.5, noise_norm=2.0, steps=60)
    proved = certificate(setting, 0, records=2, tube_steps=0, engines={})
    first = dict(zip(proved["time"].values, proved["first_step"].values, strict=True))
    assert first["T_0"] == -1
    assert first["T_n"] >= 0
    assert proved["stage_adversarial_loss"].sel(stage="stall").isnull().all()
    assert proved["stage_adversarial_loss"].sel(stage="noise memorization").notnull().all()


def test_what_the_precision_does_not_resolve_is_no_rise() -> None:
    """Losses of e^-1000 are equal to all bits: the objective may rise, but nothing shows that it does."""
    setting = PatchSetting(
        samples=12, patches=3, dim=60, filters=8, learning_rate=0.2, steps=5, init_scale=3.0, radius_ratio=0.5,
        sampling="vectors",
    )  # fmt: skip
    proved = certificate(setting, 0, records=2, tube_steps=0, engines={})
    assert int(proved["certain_rises"]) == 0
    assert int(proved["rises"]) > 0
    assert never(proved, "rises").holds is None
    assert never(proved.assign(certain_rises=1), "rises").holds is False
    assert never(proved.assign(rises=0), "rises").holds is True


def test_bounds_in_words_are_bounds() -> None:
    assert at_most_words(0.00044045) == "0.00045"
    assert at_least_words(0.433881, 3) == "0.433"
    assert at_most_words(2.14973e-10) == "2.2e-10"
    assert at_least_words(-0.04375) == "-0.044"
    assert at_most_words(0.692187, 3) == "0.693"


def moment_by_pairings(C: list[list[Fraction]], power: int) -> Fraction:
    """E (sum_r g_r^3)^power by summing over all pairings of every product."""

    def pairings(indices: list[int]) -> Fraction:
        if not indices:
            return Fraction(1)
        first, rest = indices[0], indices[1:]
        return sum((C[first][rest[k]] * pairings(rest[:k] + rest[k + 1 :]) for k in range(len(rest))), Fraction(0))

    filters = range(len(C))
    choices: list[list[int]] = [[]]
    for _ in range(power):
        choices = [[*chosen, r] for chosen in choices for r in filters]
    return sum((pairings([r for r in chosen for _ in range(3)]) for chosen in choices), Fraction(0))


def test_moments_are_sums_over_pairings() -> None:
    """Two correlated filters, one patch and two: exact rationals inside the balls."""
    C = [[Fraction(3, 4), Fraction(-1, 3)], [Fraction(-1, 3), Fraction(5, 8)]]
    second, fourth = moment_by_pairings(C, 2), moment_by_pairings(C, 4)
    balls = arb_mat([[arb(x.numerator) / x.denominator for x in row] for row in C])
    for patches, expected in ((1, (second, fourth)), (2, (2 * second, 2 * fourth + 6 * second**2))):
        for ball, value in zip(moments(balls, patches), expected, strict=True):
            assert ball.contains(arb(value.numerator) / value.denominator)
            assert float(ball.rad()) < 1e-10


def test_a_single_filter_has_the_leading_coefficient_of_its_length() -> None:
    assert leading_coefficient(arb_mat([[4]])).contains(8)
    # Two orthogonal filters: the longer one, not a mixture.
    assert leading_coefficient(arb_mat([[4, 0], [0, 1]])).contains(8)


@pytest.mark.parametrize("ratio", [None, 0.5])
def test_sampled_test_errors_lie_within_the_proved_bounds(ratio: float | None) -> None:
    setting = replace(SMALL, steps=600, radius_ratio=ratio, dim=40)
    engine = BallEngine(setting, 0)
    engine.advance(600)
    proved = proved_errors(engine)
    C = np.array([float(x) for x in engine.filter_gram().entries()]).reshape(4, 4) * setting.noise**2
    rng = np.random.default_rng(0)
    Z = sum((rng.multivariate_normal(np.zeros(4), C, 200_000) ** 3).sum(1) for _ in range(2))
    U = float(engine.state.signal)
    clean, robust = (
        float((h * U + Z <= 0).mean()) for h in (setting.signal**3, (setting.signal - setting.radius) ** 3)
    )
    assert clean <= proved.clean_at_most + 1e-3
    assert proved.robust_at_least - 5e-3 <= robust <= proved.robust_at_most + 5e-3
    assert proved.robust_at_least > 0.3 if ratio is None else proved.robust_at_most < 0.01
    assert float(proved.variance) == pytest.approx(Z.var(), rel=0.1)


def test_a_median_of_balls_holds_the_median_of_their_points() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 4, 7):
        middles, radii = rng.normal(size=count), rng.uniform(0, 0.3, count)
        ball = median([arb(m, r) for m, r in zip(middles, radii, strict=True)])
        low, high = ends(ball)
        for _ in range(20):
            assert low <= np.median(middles + radii * rng.uniform(-1, 1, count)) <= high
        assert high - low <= 2 * radii.max() + 1e-9


def test_wide_balls_refuse_to_decide() -> None:
    """At 53 bits with wide steps the sign of U is lost; without a decision there is no theorem."""
    with pytest.raises(UserError, match="must be decided at step"):
        BallEngine(SMALL, 0, bits=53, rounding=1e-3).advance(60)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "relu"}, "activation must be odd for a proved trajectory, got 'relu'"),
        ({"exponent": 2.5}, "exponent must be an integer for a proved trajectory, got 2.5"),
        ({"attack": "pgd-l2"}, "attack must be transfer or worst for a proved trajectory, got 'pgd-l2'"),
        ({"sampling": "gram"}, "sampling must be vectors for a proved trajectory"),
        ({"unlearnable": 0.4}, "unlearnable must be left out"),
    ],
)
def test_settings_outside_the_scope_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        BallEngine(replace(SMALL, **change), 0)


def test_test_errors_need_the_cubic_network() -> None:
    with pytest.raises(UserError, match="exponent must be 3 for bounds on test errors, got 2"):
        require_cubic(replace(SMALL, exponent=2.0))
    assert np.finfo(float).eps / 2 == FLOAT64
