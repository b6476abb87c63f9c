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
from cgro.dynamics import kernel
from cgro.dynamics.certificate import FLOAT64, certificate
from cgro.dynamics.direct import DirectEngine
from cgro.dynamics.gram import GramEngine
from cgro.dynamics.proved_errors import leading_coefficient, moments, proved_errors, require_cubic
from cgro.dynamics.rigorous import BallEngine, ends, median
from cgro.dynamics.runs import Runs, vector_draw
from cgro.dynamics.setting import PatchSetting

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


def test_an_attack_beyond_the_signal_makes_it_fall() -> None:
    """rho > 1 and adversarial points only: the push on the signal is negative, and the engine says so."""
    setting = replace(SMALL, radius_ratio=1.9, adversarial_weight=1.0, attack="transfer")
    assert int(certificate(setting, 0, records=2, tube_steps=0, engines={})["falls"]) == 60


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
