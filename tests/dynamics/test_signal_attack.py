"""The worst case inside A in closed form equals a search, for both activations and any radius."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cgro.dynamics.activations import activation
from cgro.dynamics.direct import DirectEngine
from cgro.dynamics.patch_cnn import output_signs
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.signal_attack import attacked_margin, signal_learning, signal_margin


@given(
    seed=st.integers(0, 10**6),
    signal=st.floats(0.1, 3),
    ratio=st.floats(0, 2.5),
    exponent=st.sampled_from([2.0, 2.5, 3.0]),
    kind=st.sampled_from(["odd", "relu"]),
)
def test_worst_case_equals_a_grid_search(seed: int, signal: float, ratio: float, exponent: float, kind: str) -> None:
    signs = output_signs(5, kind)  # type: ignore[arg-type]
    u = torch.randn(1, len(signs), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    U = signal_learning(u, signs, exponent, kind)  # type: ignore[arg-type]
    radius = ratio * signal
    grid = torch.linspace(signal - radius, signal + radius, 2001, dtype=torch.float64)
    alpha, delta = torch.tensor([[signal], [radius]], dtype=torch.float64)
    exact, t = attacked_margin("worst", alpha, delta, U, exponent)
    for column, y in enumerate((-1.0, 1.0)):
        outputs = (y * (activation(grid[:, None] * y * u, exponent, kind) @ signs)).tolist()  # type: ignore[arg-type]
        assert float(exact[0, column]) <= min(outputs) + 1e-9
        assert min(outputs) - float(exact[0, column]) < 0.02 * (max(outputs) - min(outputs)) + 1e-9
        attained = float(y * (activation(float(t[0, column]) * y * u, exponent, kind) @ signs))  # type: ignore[arg-type]
        np.testing.assert_allclose(attained, float(exact[0, column]), atol=1e-9)
        assert abs(float(t[0, column]) - signal) <= radius + 1e-12


def test_transfer_attack_reduces_the_signal() -> None:
    U = torch.tensor([[-2.0, 2.0]], dtype=torch.float64)
    alpha, delta = torch.tensor([2.0]).double(), torch.tensor([1.5]).double()
    margin, t = attacked_margin("transfer", alpha, delta, U, 3.0)
    assert float(t[0, 0]) == 0.5
    np.testing.assert_allclose(margin.numpy(), [[2 * 0.5**3] * 2])
    np.testing.assert_allclose(signal_margin(alpha, U, 3.0).numpy(), [[16.0, 16.0]])


def test_attacked_samples_stay_inside_the_set() -> None:
    for attack in ("transfer", "worst"):
        setting = PatchSetting(samples=8, dim=20, filters=4, radius_ratio=0.7, attack=attack)  # type: ignore[arg-type]
        engine = DirectEngine(Runs.product([setting], range(2)))
        shift = engine.attack(attack) - engine.samples.X  # type: ignore[arg-type]
        assert not shift[..., 1:].any()
        moved = shift[..., 0].abs()
        assert float(moved.max()) <= setting.radius * (1 + 1e-12)
        assert bool(((moved > 0).sum(2) <= 1).all())


def test_full_attacks_stay_inside_their_ball() -> None:
    for attack, order in (("pgd-l2", 2.0), ("pgd-linf", float("inf"))):
        setting = PatchSetting(samples=8, dim=20, filters=4, radius_ratio=0.5, attack=attack)  # type: ignore[arg-type]
        engine = DirectEngine(Runs.product([setting], range(2)))
        shift = (engine.attack(attack) - engine.samples.X).flatten(2)  # type: ignore[arg-type]
        radius = setting.radius if order == 2.0 else setting.radius / (4 * 20) ** 0.5
        assert float(torch.linalg.vector_norm(shift, order, dim=2).max()) <= radius * (1 + 1e-9)
        # Margins above 700 leave the logistic loss no gradient; the attack must not depend on it.
        for scale in (1.0, 100.0):
            with torch.no_grad():
                engine.network.weights.mul_(scale)
                clean = engine.samples.labels * engine.network(engine.samples.X)
                attacked = engine.samples.labels * engine.network(engine.attack(attack))  # type: ignore[arg-type]
            assert bool((attacked < clean).all())
        assert float(clean.max()) > 1000


@pytest.mark.parametrize("attack", ["pgd-l2", "pgd-linf"])
def test_a_blind_network_is_not_attacked_along_what_it_does_not_see(attack: str) -> None:
    """Training with PGD on the whole input: no weight ever grows along v, and with sight it does."""
    blind = PatchSetting(samples=8, dim=20, filters=4, radius_ratio=0.5, attack=attack, unlearnable=0.5)  # type: ignore[arg-type]
    for visibility in (0.0, 0.5):
        engine = DirectEngine(Runs.product([replace(blind, visibility=visibility)], range(2)))
        assert engine.samples.unlearnable.any()
        before = engine.network.weights.detach().clone()
        engine.advance(5)
        shift = engine.attack(attack) - engine.samples.X  # type: ignore[arg-type]
        moved = (engine.network.weights.detach() - before)[:, :, 1]
        seen = visibility > 0
        assert (bool(moved.any()), bool(shift[..., 1].any()), bool(before[:, :, 1].any())) == (seen, seen, seen)
