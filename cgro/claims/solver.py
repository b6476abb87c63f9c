"""Statements about real and integer variables, decided by the SMT solver z3: a proof for all values, or an exact
counterexample.

Linear real arithmetic with cases, and so every claim about a piecewise linear network of fixed shape, is decided
completely; so are polynomials over the reals, if more slowly.
"""

from __future__ import annotations

from typing import Any

import z3

from cgro.claims.symbolic import Decision

Formula = Any
"""A z3 formula."""


def relu(x: Formula) -> Formula:
    """max(x, 0) as a z3 term."""
    return z3.If(x > 0, x, z3.RealVal(0))


def prove(claim: Formula, *hypotheses: Formula, seconds: float = 20.0) -> Decision:
    """Whether `claim` holds for all values of its variables that satisfy the hypotheses.

    The answer is a proof, a counterexample in exact numbers, or neither within the time limit. A proof from
    contradictory hypotheses is worth nothing: see `possible`.
    """
    solver = z3.Solver()
    solver.set("timeout", int(1000 * seconds))
    solver.add(*hypotheses, z3.Not(claim))
    answer = solver.check()
    if answer == z3.unsat:
        return Decision(True)
    if answer == z3.unknown:
        return Decision(None)
    model = solver.model()
    names = sorted(model.decls(), key=lambda variable: variable.name())
    return Decision(False, ", ".join(f"{name} = {model[name]}" for name in names))


def possible(*conditions: Formula, seconds: float = 20.0) -> bool | None:
    """Whether some values satisfy all conditions; None if the solver cannot tell in time."""
    solver = z3.Solver()
    solver.set("timeout", int(1000 * seconds))
    solver.add(*conditions)
    answer = solver.check()
    return None if answer == z3.unknown else bool(answer == z3.sat)
