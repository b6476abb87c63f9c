"""The doors of the certifier: each public function refuses what it cannot read, by name, before it computes."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from cgro.base.errors import UserError
from cgro.certify.affine import affine_margins
from cgro.certify.attack import search, verified
from cgro.certify.ball import contains, extreme, inside, uniform
from cgro.certify.certify import certify
from cgro.certify.exact import exact_outputs
from cgro.certify.interval import interval_bounds
from cgro.certify.linear import linear_bounds
from cgro.certify.milp import minimize_row
from cgro.certify.necessary import closest_pair, falsify_by_first_layer, first_layer_radius
from cgro.certify.problem import Problem
from cgro.networks.exact import ExactNetwork
from cgro.networks.export import to_vnnlib, vnnlib_files
from cgro.networks.readout import margin_rows, margins
from cgro.networks.relu import ReluNetwork

NETWORK = ReluNetwork.of([(np.array([[1.0, 2], [3, 4]]), [0.5, 0.0]), (np.array([[1.0, -1.0]]), [0.1])])
EXACT = ExactNetwork(2, ((((((0, Fraction(1)),), Fraction(1)),)),))
POINTS, LABELS = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([1, -1])
PROBLEM = Problem.of(NETWORK, POINTS, LABELS, "2", 0.1, "sign")
RNG = np.random.default_rng(0)

Call = Callable[..., Any]
GIVEN: dict[str, tuple[Call, dict[str, Any]]] = {
    "certify": (certify, {"network": NETWORK, "points": POINTS, "labels": LABELS, "norm": "2", "radius": 0.1}),
    "affine_margins": (
        affine_margins,
        {"network": EXACT, "points": POINTS, "labels": LABELS, "norm": "2", "radius": 0.1, "readout": "sign"},
    ),
    "interval_bounds": (interval_bounds, {"network": NETWORK, "points": POINTS, "norm": "2", "radius": 0.1}),
    "falsify_by_first_layer": (
        falsify_by_first_layer,
        {"network": NETWORK, "points": POINTS, "labels": LABELS, "norm": "2", "radius": 0.1},
    ),
    "first_layer_radius": (
        first_layer_radius,
        {"weight": np.eye(2), "points": POINTS, "labels": LABELS, "norm": "2"},
    ),
    "closest_pair": (closest_pair, {"weight": np.eye(2), "points": POINTS, "labels": LABELS, "norm": "2"}),
    "vnnlib_files": (
        vnnlib_files,
        {"network": NETWORK, "points": POINTS, "labels": LABELS, "norm": "inf", "radius": 0.1, "readout": "sign"},
    ),
}
BAD: dict[str, list[tuple[Any, str]]] = {
    "points": [
        (POINTS[:, :1], "points must have shape (N, 2)"),
        (np.hstack([POINTS, POINTS]), "points must have shape (N, 2)"),
        (POINTS[0], "points must have shape (N, 2)"),
        (POINTS.astype(complex), "points must be real numbers, got type complex128"),
        (POINTS > 0, "points must be real numbers, got type bool"),
        (POINTS.astype(object), "points must be real numbers, got type object"),
        (POINTS.astype(str), "points must be real numbers, got type <U32"),
        ([[0.0, 0.0], [1.0]], "points must be an array of numbers"),
        (np.ma.masked_equal(POINTS, 1), "points must have no masked"),
        (np.array([[0.0, np.nan], [1.0, 1.0]]), "finite"),
        (np.array([[0.0, 0.0], [np.inf, 1.0]]), "finite"),
    ],
    "labels": [
        (LABELS[:1], "labels"),
        (LABELS[:, None], "labels"),
        (1, "labels"),
    ],
    "radius": [
        (-0.1, "radius must be finite and at least 0, in input units, got -0.1"),
        (np.nan, "radius must be finite and at least 0, in input units, got nan"),
        (np.inf, "radius must be finite and at least 0, in input units, got inf"),
        ("0.1", "radius must be a real number, got '0.1'"),
        (True, "radius must be a real number, got True"),
        (0.1j, "radius must be a real number"),
    ],
    "norm": [
        ("linf", "'linf'"),
        (2, "norm must be one of '1', '2', 'inf', got 2"),
        (None, "norm must be one of 1, 2, inf, got None"),
    ],
}
READ = [
    (np.array([1.5, -1.0]), "labels must be integers (N,), got type float64"),
    (np.array([np.nan, 1.0]), "labels must be integers (N,), got type float64"),
    (LABELS.astype(complex), "labels must be integers (N,), got type complex128"),
    (LABELS > 0, "labels must be integers (N,), got type bool"),
    (LABELS.astype(object), "labels must be integers (N,), got type object"),
    (LABELS.astype(str), "labels must be integers (N,)"),
    (
        np.array([2**64 - 1, 1], dtype=np.uint64),
        "labels must be at most 2^51 in size, to be exact, got 1 to 1844",
    ),
    (np.array([1e300, 1.0]), "labels must be at most 2^51"),
    (np.array([-(2**63), 1]), "labels must be at most 2^51"),
]
CASES = [
    (name, argument, value, words)
    for name, (_, arguments) in GIVEN.items()
    for argument, values in BAD.items()
    if argument in arguments
    for value, words in values
] + [(name, "labels", value, words) for name in ("certify", "affine_margins", "vnnlib_files") for value, words in READ]


def refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "argument", "value", "words"), CASES, ids=lambda x: x if isinstance(x, str) else None)
def test_unreadable_arguments_are_refused(name: str, argument: str, value: Any, words: str) -> None:
    call, arguments = GIVEN[name]
    refused(lambda: call(**(arguments | {argument: value})), words)


@pytest.mark.parametrize("name", GIVEN)
def test_lists_and_other_real_types_are_read(name: str) -> None:
    call, arguments = GIVEN[name]
    plain = call(**arguments)
    for points, labels in ((POINTS.tolist(), LABELS.tolist()), (POINTS.astype(np.float32), LABELS.astype(np.int8))):
        other = {"points": points, "labels": labels}
        again = call(**(arguments | {key: value for key, value in other.items() if key in arguments}))
        assert str(again) == str(plain)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: certify(NETWORK, POINTS, LABELS, "2", 0.1, seed=-1), "seed must be a non-negative integer"),
        (lambda: certify(NETWORK, POINTS, LABELS, "2", 0.1, seed=0.5), "seed must be a non-negative integer"),
        (lambda: certify(NETWORK, POINTS, LABELS, "2", 0.1, tiers="milp"), "tiers must be a tuple of "),
        (lambda: certify(NETWORK, POINTS, LABELS, "2", 0.1, tiers=None), "tiers must be a tuple of "),
        (lambda: certify(NETWORK, POINTS, LABELS, "2", 0.1, nodes=True), "nodes must be an integer"),
        (
            lambda: certify(NETWORK, POINTS, LABELS, "2", 0.1, structural=lambda: np.ones(2, complex)),
            "structural bounds must be real numbers, got type complex128",
        ),
        (lambda: linear_bounds(PROBLEM, ("paralel",)), "relaxation must be one of adaptive, parallel, got 'paralel'"),
        (lambda: minimize_row(PROBLEM, 0, [], nodes=1), "problem must have one point, got 2"),
        (lambda: minimize_row(PROBLEM.take(np.array([0])), 0, [], nodes=1), "hidden must hold bounds of 1 layers"),
        (lambda: minimize_row(PROBLEM.take(np.array([0])), 1, [], nodes=1), "row must be an integer from 0 to 0"),
        (lambda: minimize_row(PROBLEM.take(np.array([0])), 0, [], nodes=0), "nodes must be an integer of at least 1"),
        (lambda: search(PROBLEM, RNG, POINTS, steps=0), "steps must be an integer of at least 1"),
        (lambda: search(PROBLEM, RNG, POINTS[:1]), "suspects must have shape (2, 2), one for each centre, got (1, 2)"),
        (lambda: verified(PROBLEM, POINTS[:1]), "suspects must have shape (2, 2), one for each centre, got (1, 2)"),
        (
            lambda: exact_outputs(NETWORK, np.zeros(3)),
            "points must have shape (N, 2), one row of network inputs each, got (1, 3)",
        ),
        (
            lambda: exact_outputs(NETWORK, np.array([0.0, np.nan])),
            "NaN or infinite coordinate in point 0",
        ),
        (lambda: contains(POINTS[0], POINTS[1], "linf", 1.0), "norm must be one of 1, 2, inf, got 'linf'"),
        (lambda: inside(POINTS[0], POINTS[1], "linf", 1.0), "norm must be one of 1, 2, inf, got 'linf'"),
        (lambda: extreme(POINTS[1], "linf"), "norm must be one of 1, 2, inf, got 'linf'"),
        (lambda: uniform(RNG, (2, 2), "linf"), "norm must be one of 1, 2, inf, got 'linf'"),
        (lambda: closest_pair(np.ones(2), POINTS, LABELS, "2"), "weight must have shape (outputs, inputs), got (2,)"),
        (lambda: margin_rows("sign", 0, LABELS), "argmax for several, got 'sign' for 0"),
        (lambda: margin_rows("label", 1, np.array([2**51 + 1])), "labels must be at most 2^51"),
        (lambda: margin_rows("label", 1, 3), "labels must be integers (N,)"),
        (
            lambda: margins("sign", np.ones((3, 1)), LABELS),
            "outputs must be (N, outputs) and labels (N,), got shapes (3, 1) and (2,)",
        ),
        (lambda: margins("sign", np.ones((2, 1), complex), LABELS), "outputs must be real numbers"),
        (lambda: to_vnnlib(POINTS[0], 1.5, "inf", 0.1, readout="sign", outputs=1), "labels must be integers (N,)"),
        (lambda: to_vnnlib(POINTS[0], True, "inf", 0.1, readout="sign", outputs=1), "labels must be integers (N,)"),
        (lambda: vnnlib_files(NETWORK, POINTS, LABELS, "inf", 0.1, readout="sign", timeout=0), "timeout must be"),
    ],
)
def test_other_arguments_are_refused(call: Callable[[], Any], words: str) -> None:
    refused(call, words)
