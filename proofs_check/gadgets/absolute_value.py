"""|t| = relu(t) + relu(-t), max(a, b) = relu(a - b) + relu(b) for b >= 0, min(a, b) = relu(a) - relu(a - b) for a >= 0.

The networks of the library are decided by z3 for all real inputs: |t|, and the trees of maxima and minima of every
length up to the given one, also those that leave a value without a partner. A longer tree is a level of pairs on top of
a shorter one: each pair, and a value carried alone, is >= 0 again, so the identities of pairs give all lengths by
induction.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import z3

from cgro.claims.claim import Claim, Finding
from cgro.claims.solver import Formula, finding, outputs, prove, relu
from cgro.claims.symbolic import Decision
from cgro.networks.exact import ExactNetwork
from cgro.networks.gadgets import absolute_value, maximum, minimum
from cgro.networks.relu import ReluNetwork

Build = Callable[[int], ReluNetwork]


def larger(a: Formula, b: Formula) -> Formula:
    """max(a, b)."""
    return z3.If(a >= b, a, b)


def smaller(a: Formula, b: Formula) -> Formula:
    """min(a, b)."""
    return z3.If(a <= b, a, b)


def decide_tree(build: Build, length: int, join: Callable[..., Formula], nonnegative: bool) -> Decision:
    """Whether a network is the maximum or minimum of its inputs, for all real ones, or all that are >= 0."""
    x = z3.Reals([f"x{k}" for k in range(length)])
    (value,) = outputs(ExactNetwork.of(build(length)), x)
    return prove(value == reduce(join, x), *([v >= 0 for v in x] if nonnegative else []))


def other_neuron(count: int) -> ReluNetwork:
    """relu(a - b) + relu(a) for a pair."""
    if count == 1:
        return maximum(1)
    return ReluNetwork.of([([[1.0, -1.0], [1.0, 0.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])])


def check(*, longest: int = 5, nonnegative: bool = True, largest: Build = maximum, least: Build = minimum) -> Finding:
    """All lengths up to `longest`, for all real inputs.

    Args:
        longest: length of the longest tree.
        nonnegative: whether to keep the hypothesis that values are >= 0.
    """
    (t,) = z3.Reals("t")
    (size,) = outputs(ExactNetwork.of(absolute_value()), [t])
    parts = {"|t|": prove(size == larger(t, -t)), "a value carried alone": prove(relu(t) == t, t >= 0)}
    for length in range(1, longest + 1):
        parts[f"max of {length}"] = decide_tree(largest, length, larger, nonnegative)
        parts[f"min of {length}"] = decide_tree(least, length, smaller, nonnegative)
    return finding(parts, tested=f"all real inputs; trees of length 1 to {longest}", bound="exact")


CLAIM = Claim(
    statement="ReLU networks compute |t|, and the max and min of values >= 0, exactly",
    source="Li & Li, ICML 2025, arXiv:2306.01271, proof of Lemma 4.5; trees derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"2 <= longest <= 8": lambda longest: 2 <= longest <= 8},
    deep={"longest": 7},
    controls={
        "for values < 0, too": {"nonnegative": False, "longest": 2},
        "max(a, b) = relu(a - b) + a": {"largest": other_neuron, "longest": 2},
    },
)
