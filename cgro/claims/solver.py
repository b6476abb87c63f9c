"""Statements about real and integer variables, decided by the SMT solver z3: a proof for all values, or an exact
counterexample.

Linear real arithmetic with cases, and so every claim about a piecewise linear network of fixed shape, is decided
completely; so are polynomials over the reals, if more slowly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
import z3
from jaxtyping import Float

from cgro.base.norms import Norm
from cgro.claims.claim import Finding
from cgro.claims.symbolic import Decision
from cgro.networks.exact import ExactNetwork

Formula = Any
"""A z3 formula."""


def relu(x: Formula) -> Formula:
    """max(x, 0) as a z3 term."""
    return z3.If(x > 0, x, z3.RealVal(0))


def solver_for(seconds: float | None = None) -> z3.Solver:
    """A solver that leaves Ctrl-C alone, see `solved`, with a time limit for each question, or without one."""
    solver = z3.Solver()
    if seconds is not None:
        solver.set("timeout", int(1000 * seconds))
    solver.set("ctrl_c", False)
    return solver


def solved(solver: z3.Solver) -> Any:
    """The solver's answer: z3.sat, z3.unsat, or z3.unknown.

    It is sought in a thread: the solver would take Ctrl-C for itself, answer `unknown`, and the signal would be lost;
    and without that a signal would wait for its answer. Whatever stops this call stops the solver.
    """
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(solver.check)
        try:
            return answer.result()
        except BaseException:
            solver.interrupt()
            raise


def prove(claim: Formula, *hypotheses: Formula, seconds: float = 20.0) -> Decision:
    """Whether `claim` holds for all values of its variables that satisfy the hypotheses.

    The answer is a proof, a counterexample in exact numbers, or neither within the time limit. A proof from
    contradictory hypotheses is worth nothing: see `possible`.
    """
    solver = solver_for(seconds)
    solver.add(*hypotheses, z3.Not(claim))
    answer = solved(solver)
    if answer == z3.unsat:
        return Decision(True)
    if answer == z3.unknown:
        return Decision(None)
    model = solver.model()
    names = sorted(model.decls(), key=lambda variable: variable.name())
    return Decision(False, ", ".join(f"{name} = {model[name]}" for name in names))


def possible(*conditions: Formula, seconds: float = 20.0) -> bool | None:
    """Whether some values satisfy all conditions; None if the solver cannot tell in time."""
    solver = solver_for(seconds)
    solver.add(*conditions)
    answer = solved(solver)
    return None if answer == z3.unknown else bool(answer == z3.sat)


def all_of(decisions: Mapping[str, Decision]) -> Decision:
    """The claim that every part holds; the counterexample is that of the first part that fails, after its name."""
    wrong = [f"{name}: {d.counterexample}" for name, d in decisions.items() if d.holds is False]
    open_parts = any(d.holds is None for d in decisions.values())
    return Decision(False if wrong else None if open_parts else True, wrong[0] if wrong else "")


def finding(parts: Mapping[str, Decision], *, tested: str, bound: str, measured: str = "") -> Finding:
    """The finding that every part is proved for all values of its variables."""
    whole = all_of(parts)
    proved = sum(part.holds is True for part in parts.values())
    return Finding(
        holds=whole.holds,
        slack=math.inf if whole.holds else 0.0,
        tested=tested,
        bound=bound,
        measured="; ".join(filter(None, [f"{proved} of {len(parts)} statements proved", measured])),
        counterexample=whole.counterexample,
    )


def outputs(
    network: ExactNetwork, x: Sequence[Formula], box: Sequence[tuple[Fraction, Fraction]] = ()
) -> list[Formula]:
    """The outputs of a network at unknown inputs, as z3 terms: exact, without rounding.

    `box` bounds the inputs: neurons that cannot switch inside of it become linear, which makes proofs much faster. The
    terms then hold only inside, so that the proof's hypotheses must contain `inside(x, box)`.
    """
    terms = list(x)
    bounds: list[tuple[Fraction | None, Fraction | None]] = list(box) or [(None, None)] * len(terms)
    for depth, layer in enumerate(network.layers, 1):
        z = [z3.Sum([real(w) * terms[j] for j, w in row] + [real(bias)]) for row, bias in layer]
        reach = [_range(row, bias, bounds) for row, bias in layer]
        if depth == len(network.layers):
            return [z3.simplify(v) for v in z]
        terms, bounds = [], []
        for v, (low, high) in zip(z, reach, strict=True):
            if high is not None and high <= 0:
                terms.append(z3.RealVal(0))
            else:
                terms.append(z3.simplify(v if low is not None and low >= 0 else relu(v)))
            bounds.append((max(low or Fraction(0), Fraction(0)), None if high is None else max(high, Fraction(0))))
    raise AssertionError("a network has a last layer")


def inside(x: Sequence[Formula], box: Sequence[tuple[Fraction, Fraction]]) -> Formula:
    """low <= x <= high, coordinate by coordinate."""
    return z3.And([z3.And(v >= real(low), v <= real(high)) for v, (low, high) in zip(x, box, strict=True)])


def in_ball(
    x: Sequence[Formula], center: Float[np.ndarray, " D"], norm: Norm, radius: float
) -> tuple[Formula, list[tuple[Fraction, Fraction]]]:
    """|x - center|_p <= radius as a formula, and the box around that ball."""
    c, r = [Fraction(float(v)) for v in center], Fraction(radius)
    box = [(v - r, v + r) for v in c]
    away = [v - real(m) for v, m in zip(x, c, strict=True)]
    if norm == "inf":
        return inside(x, box), box
    if norm == "1":
        return z3.And(inside(x, box), z3.Sum([z3.If(t > 0, t, -t) for t in away]) <= real(r)), box
    return z3.And(inside(x, box), z3.Sum([t * t for t in away]) <= real(r * r)), box


def real(value: Fraction | int) -> Formula:
    """A rational number as a z3 term, exactly."""
    value = Fraction(value)
    return z3.Q(value.numerator, value.denominator)


def _range(
    row: Sequence[tuple[int, Fraction]], bias: Fraction, bounds: Sequence[tuple[Fraction | None, Fraction | None]]
) -> tuple[Fraction | None, Fraction | None]:
    """Smallest and largest value of a linear expression; None where it is unbounded."""
    low: Fraction | None = bias
    high: Fraction | None = bias
    for j, w in row:
        a, b = bounds[j] if w > 0 else bounds[j][::-1]
        low = None if low is None or a is None else low + w * a
        high = None if high is None or b is None else high + w * b
    return low, high
