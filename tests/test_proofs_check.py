"""Every check holds, and every check refutes a perturbed claim: its negative control."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sympy as sp

from cgro.cli import main
from cgro.registry import find_all
from cgro.verdict import Verdict
from proofs_check import (
    critical_ratio,
    memorization_time_scaling,
    reduced_dynamics,
    response_variance,
    signal_monotone,
    stalled_signal,
)

CHECKS = find_all("check")
CONTROLS: dict[str, list[Callable[[], Verdict]]] = {
    "critical-ratio": [
        lambda: critical_ratio.check(factor=1.6, noise_norms=(1.0,), seeds=2),
        lambda: critical_ratio.check(factor=0.5, noise_norms=(1.0,), seeds=2),
    ],
    "memorization-time-scaling": [
        lambda: memorization_time_scaling.check({"samples": 0.5}, seeds=3),
        lambda: memorization_time_scaling.check({"adversarial_weight": -2.0}, seeds=3),
        lambda: memorization_time_scaling.check({"learning_rate": 1.0}, seeds=3),
    ],
    "reduced-dynamics": [
        lambda: reduced_dynamics.check(lambda psi, t: psi * t**2, dim=2, filters=1),
        lambda: reduced_dynamics.check(lambda psi, t: sp.Rational(6, 5) * psi * t**3, dim=2, filters=1),
    ],
    "response-variance": [
        lambda: response_variance.check(lambda s, t, c: 9 * s * t * c + 5 * c**3),
        lambda: response_variance.check(lambda s, t, c: 9 * s * t * c),
    ],
    "signal-monotone": [lambda: signal_monotone.check(largest_ratio=2.0, settings=10)],
    "stalled-signal": [
        lambda: stalled_signal.check(sp.Rational(3, 2)),
        lambda: stalled_signal.check(2 - 1 / sp.Symbol("q", positive=True)),
    ],
}


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_claim_holds(name: str) -> None:
    verdict = CHECKS[name].check()
    assert verdict.holds, verdict
    assert verdict.slack > 1, verdict
    assert CHECKS[name].TITLE


@pytest.mark.parametrize(
    ("name", "k"), [(name, k) for name, controls in CONTROLS.items() for k in range(len(controls))]
)
def test_perturbed_claim_is_refuted(name: str, k: int) -> None:
    verdict = CONTROLS[name][k]()
    assert not verdict.holds, verdict
    assert verdict.slack <= 1, verdict


def test_every_check_has_a_negative_control() -> None:
    assert set(CONTROLS) == set(CHECKS)


def test_table_shows_every_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "response-variance"]) == 0
    shown = "".join(capsys.readouterr().out.split())
    assert "E[g^3" in shown, "square brackets were taken for markup"
    assert "holds" in shown
