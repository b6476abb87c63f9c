"""Every check finds what it should, and refutes every perturbed version of its claim."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from cgro.claims.claim import Claim, Finding
from cgro.memorizers.bounds import lower_bound_total, shattered_points
from cgro.memorizers.constructions import memorize
from cgro.networks.gadgets import maximum_step
from cgro.networks.relu import ReluNetwork
from cgro.runs.registry import find_all

CLAIMS: dict[str, Claim] = find_all("check")
CASES = [(name, words) for name, claim in CLAIMS.items() for words in ("", *claim.controls)]
"""Each claim before its controls: one process, which remembers what they have in common, is likely to get both."""
SMALLER: dict[str, dict[str, Any]] = {
    "end-state": {"runs": 8},
    "signal-monotone": {"settings": 3},
}
"""Sizes that decide a claim in less time than those of its quick preset."""


def consistent(found: Finding) -> bool:
    """Slack and verdict say the same; what a reader needs is there."""
    return bool(found.holds == (found.slack >= 1) and found.tested and found.bound and found.measured)


@pytest.mark.parametrize(("name", "words"), CASES, ids=[": ".join(filter(None, case)) for case in CASES])
def test_a_claim_holds_or_is_refuted_as_known_and_perturbed_the_other_way_round(name: str, words: str) -> None:
    """A statistical verdict states its confidence, and a picture shows the numbers of the check.

    The control of a claim that is known to be wrong is its correction, which holds.
    """
    claim = CLAIMS[name]
    claim.require(claim.parameters)
    parameters = claim.parameters | SMALLER.get(name, {})
    claim.require(parameters)
    if words:
        found = claim.check(**parameters | dict(claim.controls[words]))
        assert found.holds is bool(claim.known_wrong), found
        assert consistent(found), found
        return
    found = claim.check(**parameters)
    assert found.holds is (not claim.known_wrong), found
    assert consistent(found), found
    if claim.known_wrong:
        assert found.counterexample
    if claim.evidence == "statistical":
        assert found.confidence is not None
        assert 0.99 <= found.confidence < 1
    if claim.draw is not None:
        axes = claim.draw(found.data).get_axes()
        assert axes
        assert all(ax.get_xlabel() for ax in axes)
        assert any(ax.lines or ax.collections or ax.patches or ax.images for ax in axes)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_complete(name: str) -> None:
    claim = CLAIMS[name]
    assert claim.controls, "no negative control"
    assert claim.statement, "no statement"
    assert not claim.statement.endswith("."), claim.statement
    assert claim.source, "no source"
    assert claim.about, "no docstring"
    claim.require(claim.preset("deep"))
    assert set(claim.deep) <= set(claim.parameters), "deep sets what is no parameter"
    undocumented = [key for key in claim.parameters if f"{key}:" not in (claim.check.__doc__ or "")]
    assert undocumented == []
    if claim.evidence == "statistical":
        assert "seed" in claim.parameters, "a statistical check draws from a seed"


def test_there_are_enough_claims_of_every_kind() -> None:
    kinds = [claim.evidence for claim in CLAIMS.values()]
    assert len(kinds) >= 40
    assert kinds.count("symbolic") >= 12
    assert kinds.count("exact") >= 10


def test_slack_of_an_identity_is_infinite() -> None:
    assert consistent(Finding(True, math.inf, "all", "0", "0"))
    assert not consistent(Finding(True, 0.5, "all", "1", "2"))
    assert not consistent(Finding(None, math.nan, "all", "1", "2"))


def test_shattering_holds_at_every_ratio_and_never_exceeds_what_half_spaces_shatter() -> None:
    for dim in (1, 2, 7):
        for ratio in (0.1, 0.7, 0.9, 0.9999):
            assert 2 <= shattered_points(2, dim, ratio) <= dim + 1


UNDECIDED: list[tuple[str, dict[str, Any]]] = [
    # At sizes of the tests above wherever one will do: what they trained and counted is remembered.
    ("end-state", {"runs": 8, "tolerance": 0.002}),
    ("standard-training", {"probability": 0.95}),
    ("main-theorem", {"dims": (100,), "failures": 2.0}),
    ("phase-one", {"dims": (100,), "probability": 0.95}),
    ("phase-two", {"dims": (100,), "failures": 3.0}),
    ("phase-three", {"dims": (100,), "failures": 3.0}),
    ("signal-time-scaling", {"tolerance": 0.0035}),
    ("collapse-law", {"tolerance": 0.12}),
    ("gram-law", {"draws": 1000, "tolerance": 0.05}),
    ("measured-scaling", {"tolerance": 0.01}),
    ("critical-ratio", {"settings": 1, "below": 1.04}),
    ("critical-visibility", {"settings": 1, "factor": 1.5}),
    ("unlearnable-onset", {"factor": 1.1}),
]


@pytest.mark.parametrize(("name", "changes"), UNDECIDED, ids=[f"{name}: {[*made]}" for name, made in UNDECIDED])
def test_an_interval_that_contains_claim_and_negation_is_undecided(name: str, changes: dict[str, Any]) -> None:
    """The other outcomes are those of the defaults, which hold, and of the controls, which fail."""
    found = CLAIMS[name].check(**changes)
    assert found.holds is None, found
    assert found.slack < 1
    assert found.counterexample == ""


def test_every_check_of_an_interval_can_be_undecided() -> None:
    """Asymptotic and statistical checks share their code for fitted exponents, or are in the list above."""
    kinds = {name for name, claim in CLAIMS.items() if claim.evidence in ("statistical", "asymptotic")}
    shared = {"memorization-time-scaling"}  # that of signal-time-scaling
    assert kinds - shared - {name for name, _ in UNDECIDED} == set()


def test_the_lower_bound_of_measured_scaling_is_below_every_robust_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """1/2 - max_j relu(x_j), over the e_j whose label is not that of 0, is robust at every ratio below 1 on these."""
    module, seen = sys.modules[CLAIMS["measured-scaling"].check.__module__], []

    def watched(points: Any, labels: Any, *arguments: Any, **options: Any) -> Any:
        seen.append((np.asarray(points), np.asarray(labels)))
        return memorize(points, labels, *arguments, **options)

    monkeypatch.setattr(module, "memorize", watched)
    data = (
        CLAIMS["measured-scaling"]
        .check(dims=(4, 8, 16), wide=(5, 9), samples=(5, 9), ratios=(0.3, 0.6, 0.9), draws=1)
        .data
    )
    assert (data["lower"] <= data["total"]).all()
    assert seen
    for points, labels in seen:
        origin = labels[(points == 0).all(axis=1)]
        first = np.eye(points.shape[1])[points[labels != origin].argmax(axis=1)]
        values: Any = sparse.eye_array(len(first), format="csr")
        layers, length = [(first, np.zeros(len(first)))], len(first)
        while length > 1:
            weight, values, length = maximum_step(values, length)
            layers.append((weight, np.zeros(weight.shape[0])))
        network = ReluNetwork.of([*layers, (-values, np.array([0.5]))])
        assert (np.sign(network(points)[:, 0]) == np.where(labels == origin, 1, -1)).all()
        # The worst points of balls of radius 0.99 / 2: x_j as small, or as large, as it gets.
        assert (network((1 - 0.495) * first) < 0).all()
        assert (network(0.495 * first) > 0).all()
        samples, dim = points.shape
        assert network.size.total >= lower_bound_total(samples, dim, 0.99, "2")
