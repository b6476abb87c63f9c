"""The engines agree with each other, and the dynamics keep the symmetries of the problem."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cgro.base.errors import UserError
from cgro.dynamics.direct import DirectEngine
from cgro.dynamics.gram import GramEngine
from cgro.dynamics.kernel import bounded_exp
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.trajectory import STATUS, record_steps, train

BASE = PatchSetting(samples=12, patches=3, dim=40, filters=6, steps=2000, sampling="vectors", learning_rate=0.1)
FAST = replace(BASE, steps=120, learning_rate=1.0)
"""The same phases in a tenth of the steps: the direct engine takes most of the time."""
VARIANTS = {
    "base": {},
    "transfer": {"attack": "transfer"},
    "relu": {"activation": "relu"},
    "q=2": {"exponent": 2.0},
    "q=2.5": {"exponent": 2.5},
    "q=4 relu": {"exponent": 4.0, "activation": "relu", "init_scale": 0.2},
    "rho=1.4": {"radius_ratio": 1.4},
    "rho=1.4 transfer": {"radius_ratio": 1.4, "attack": "transfer"},
    "rho=1.4 relu": {"radius_ratio": 1.4, "activation": "relu"},
    "standard": {"adversarial_weight": 0.0},
    "adversarial only": {"adversarial_weight": 1.0},
    "robust": {"radius_ratio": 0.3},
    "blind": {"unlearnable": 0.3},
    "half blind": {"unlearnable": 0.3, "visibility": 0.5},
    "sees all, transfer": {"unlearnable": 0.3, "visibility": 1.0, "attack": "transfer", "radius_ratio": 1.4},
    "half blind relu": {"unlearnable": 0.5, "visibility": 0.7, "activation": "relu", "radius_ratio": 1.2},
    "unlearnable only": {"unlearnable": 1.0},
    "confident teacher": {"unlearnable": 0.3, "teacher_learnable": 4.0, "teacher_unlearnable": 3.0},
    "ignorant teacher": {"unlearnable": 0.5, "teacher_learnable": 6.0, "teacher_unlearnable": 0.0, "visibility": 0.3},
}
PHASES = {
    "standard": (True, False, False),
    "robust": (True, False, False),
    "adversarial only": (False, True, True),
    "unlearnable only": (False, True, True),
    "ignorant teacher": (True, True, False),
}
"""The phases that end where not all of them do: there is nothing to memorize, or no signal to learn."""


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("name", VARIANTS)
def test_engines_agree_through_all_phases(name: str) -> None:
    setting = replace(FAST, **VARIANTS[name])
    runs = Runs.product([setting, replace(setting, signal=1.5, noise_norm=1.3, learning_rate=0.5)], [0])
    engines = [DirectEngine(runs), GramEngine(runs), GramEngine(runs, compiled=False)]
    for engine in engines:
        engine.advance(setting.steps)
    reference, *others = (engine.state() for engine in engines)
    # Ends of the phases: signal learned, noise begins to be memorized, noise memorized.
    times = engines[0].times()
    assert (~np.isnan(times[:, :3]) == PHASES.get(name, (True, True, True))).all()
    for engine in engines[1:]:
        np.testing.assert_allclose(engine.times(), times, rtol=1e-8)
    for state in others:
        for quantity in ("u", "v", "K"):
            assert _difference(getattr(state, quantity), getattr(reference, quantity)) < 1e-10, quantity


def _engine(setting: PatchSetting = BASE, seeds: int = 1, **options: object) -> GramEngine:
    return GramEngine(Runs.product([setting], range(seeds)), **options)  # type: ignore[arg-type]


def _margins(engine: GramEngine) -> np.ndarray:
    state = engine.state()
    phi = state.v.abs() ** (engine.runs.common.exponent - 1) * state.v
    B, N = state.labels.shape
    return (state.labels * phi.sum(1).view(B, N, -1).sum(2)).numpy()


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 400))
def test_flipping_all_labels_and_noise_changes_nothing(seed: int, steps: int) -> None:
    """(y, xi) -> (-y, -xi) flips every sample, and the odd network flips with it: u and V stay, v changes sign."""
    runs = Runs((BASE,), (seed,))
    one, two = GramEngine(runs), GramEngine(runs)
    two.labels, two.v, two.v0 = -two.labels, -two.v, -two.v0
    one.advance(steps)
    two.advance(steps)
    np.testing.assert_allclose(two.state().u, one.state().u, rtol=1e-12)
    np.testing.assert_allclose(two.state().v, -one.state().v, rtol=1e-10, atol=1e-13)


@settings(max_examples=10)
@given(seed=st.integers(0, 1000), order=st.permutations(range(BASE.samples)))
def test_permuting_samples_permutes_their_margins(seed: int, order: list[int]) -> None:
    runs = Runs((BASE,), (seed,))
    one, two = GramEngine(runs), GramEngine(runs)
    patches = np.array([i * 2 + j for i in order for j in range(2)])
    two.labels = two.labels[:, list(order)]
    two.G = two.G[:, patches][:, :, patches].contiguous()
    two.v, two.v0 = two.v[:, :, patches].contiguous(), two.v0[:, :, patches].contiguous()
    one.advance(600)
    two.advance(600)
    np.testing.assert_allclose(_margins(two), _margins(one)[:, list(order)], rtol=1e-9, atol=1e-12)


@settings(max_examples=5)
@given(seed=st.integers(0, 1000))
def test_margins_do_not_change_under_rotation_of_the_noise_space(seed: int) -> None:
    runs = Runs((FAST,), (seed,))
    one, two = DirectEngine(runs), DirectEngine(runs)
    rotation = torch.eye(BASE.dim, dtype=torch.float64)
    random = torch.randn(39, 39, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    rotation[1:, 1:] = torch.linalg.qr(random)[0]
    two.samples, two.noise = replace(two.samples, X=two.samples.X @ rotation), two.noise @ rotation
    two.network.weights.data = two.network.weights.data @ rotation
    one.advance(80)
    two.advance(80)
    torch.testing.assert_close(two.network(two.samples.X), one.network(one.samples.X), rtol=1e-9, atol=1e-11)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 1000),
    ratio=st.floats(0, 1),
    weight=st.floats(0, 1),
    exponent=st.sampled_from([2.0, 2.5, 3.0]),
)
def test_signal_components_never_decrease(seed: int, ratio: float, weight: float, exponent: float) -> None:
    setting = replace(FAST, radius_ratio=ratio, adversarial_weight=weight, exponent=exponent)
    u = train(Runs((setting,), (seed,)), records=10, test_samples=2)["signal_component"].values[0]
    assert (np.diff(u, axis=0) >= 0).all()


def test_results_do_not_depend_on_threads_batch_or_interruption() -> None:
    alone, together, threaded = _engine(threads=1), _engine(seeds=9, threads=1), _engine(seeds=9, threads=2)
    for engine in (alone, together, threaded):
        engine.advance(500)
    pieces = _engine(threads=2)
    for steps in (1, 99, 150, 250):
        pieces.advance(steps)
    for name in ("u", "v", "A"):
        whole = getattr(together, name)
        assert torch.equal(getattr(threaded, name), whole)
        assert torch.equal(getattr(alone, name)[0], whole[0])
        assert torch.equal(getattr(pieces, name)[0], whole[0])


def test_a_run_that_meets_the_stopping_rule_leaves_without_changing_the_others() -> None:
    stopping = replace(BASE, stop_loss=0.3)
    both = train(Runs((stopping, BASE), (0, 1)), records=30, test_samples=16)
    alone = train(Runs((BASE,), (1,)), records=30, test_samples=16)
    assert [STATUS[k] for k in both["status"].values] == ["stopped", "finished"]
    assert int(both["last_step"][0]) < BASE.steps
    after = both.isel(run=0).where(both["step"] > both["last_step"][0], drop=True)
    assert after["clean_loss"].isnull().all()
    np.testing.assert_array_equal(both["noise_memorization"].values[1], alone["noise_memorization"].values[0])


@pytest.mark.parametrize("engine", ["gram", "direct"])
def test_overflow_ends_a_run_with_a_status_and_never_as_a_number(engine: str) -> None:
    wild = replace(BASE, learning_rate=1e120, steps=200)
    result = train(Runs((wild, replace(BASE, steps=200)), (0, 0)), engine=engine, records=20, test_samples=16)  # type: ignore[arg-type]
    assert [STATUS[k] for k in result["status"].values] == ["diverged", "finished"]
    last = result.isel(step=-1)
    for name in ("clean_loss", "robust_test_error", "signal_margin", "noise_memorization_median"):
        assert np.isnan(last[name].values[0])
        assert np.isfinite(last[name].values[1])
    assert np.isfinite(result["clean_loss"].values[0]).sum() < 20
    found = result.isel(run=0).sel(step=int(result["last_step"][0]))
    numbers = [name for name in found.data_vars if name not in ("status", "last_step")]
    assert [name for name in numbers if not found[name].isnull().all()] == []


def test_both_engines_record_the_same_trajectory() -> None:
    runs = Runs.product([FAST], range(2))
    gram, direct = (train(runs, engine=name, records=12, test_samples=64) for name in ("gram", "direct"))  # type: ignore[arg-type]
    for name in ("signal_margin", "noise_memorization", "clean_loss", "adversarial_loss", "noise_response_std"):
        np.testing.assert_allclose(gram[name], direct[name], rtol=1e-8, atol=1e-10)
    for name in ("clean_train_error", "robust_train_error", "robust_test_error"):
        np.testing.assert_array_equal(gram[name], direct[name])


def test_gram_engine_refuses_attacks_that_leave_the_set() -> None:
    with pytest.raises(UserError, match="attack must be transfer or worst with engine gram, got 'pgd-l2'"):
        _engine(replace(BASE, attack="pgd-l2"))


def test_direct_engine_refuses_draws_without_patches() -> None:
    with pytest.raises(UserError, match="sampling must be vectors or auto with engine direct"):
        DirectEngine(Runs((replace(BASE, sampling="gram"),), (0,)))


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=50))
def test_bounded_exponential(values: list[float]) -> None:
    x = np.array(values)
    e = np.empty_like(x)
    bounded_exp(x.copy(), e, e.view(np.int64))
    np.testing.assert_allclose(e, np.exp(np.clip(x, -700, 700)), rtol=1e-15)


@given(steps=st.integers(1, 10**6), count=st.integers(2, 300))
def test_recorded_steps_begin_and_end_the_run(steps: int, count: int) -> None:
    recorded = record_steps(steps, count)
    assert recorded[0] == 0
    assert recorded[-1] == steps
    assert len(recorded) <= count
    assert (np.diff(recorded) > 0).all()


@pytest.mark.parametrize("kind", ["odd", "relu"])
def test_engines_agree_while_the_signal_is_learned_backwards(kind: str) -> None:
    """With U < 0 the worst case inside A is alpha + delta, not the transfer attack."""
    runs = Runs((replace(BASE, activation=kind, radius_ratio=0.9),), (0,))  # type: ignore[arg-type]
    direct, compiled, tensor = DirectEngine(runs), GramEngine(runs), GramEngine(runs, compiled=False)
    start = compiled.u.abs() * -compiled.signs
    compiled.u, tensor.u = start.clone(), start.clone()
    with torch.no_grad():
        direct.network.weights[:, :, 0] = start[:, 0]
    for engine in (direct, compiled, tensor):
        engine.advance(20)
    for engine in (compiled, tensor):
        assert _difference(engine.state().u, direct.state().u) < 1e-8
        assert _difference(engine.state().v, direct.state().v) < 1e-8


@pytest.mark.parametrize("name", ["base", "half blind relu"])
def test_filters_of_the_reduced_dynamics_are_those_of_the_direct_engine(name: str) -> None:
    runs = Runs.product([replace(FAST, **VARIANTS[name])], [0, 3])
    direct, gram = DirectEngine(runs), GramEngine(runs)
    for engine in (direct, gram):
        engine.advance(100)
    assert _difference(gram.filters(1), direct.network.weights.detach()[1]) < 1e-10
    with pytest.raises(ValueError, match="only its Gram matrix"):
        _engine(replace(FAST, sampling="gram")).filters(0)
