"""The gate without products: f^ = relu(c - B S) - relu(-c - B S) + sum_i y_i s_i is c where S = 0 and sum_i y_i s_i
where S >= 1, |c| <= B.

Here c = f_clean(x), and S = sum_i s_i is a sum of soft indicators. Both cases are decided by z3 for all real c, B and
S. The thresholds are sharp: the gate leaks for S a little below 1, and for |c| a little above B. The network of the
library is decided for all real c, T_+ and T_- >= 0 with S = T_+ + T_-, at one B: f^ is c for S = 0, and T_+ - T_- for S
>= 1.
"""

from __future__ import annotations

from collections.abc import Callable

import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import Formula, finding, outputs, prove, relu
from cgro.claims.symbolic import Decision
from cgro.memorizers.gated import gate_network
from cgro.networks.exact import ExactNetwork

Gate = Callable[[Formula, Formula, Formula], Formula]
BOUND = 3.0
"""B of the network of the library that is decided."""


def gate(c: Formula, B: Formula, S: Formula) -> Formula:
    """relu(c - B S) - relu(-c - B S)."""
    return relu(c - B * S) - relu(-c - B * S)


def library_gate(least: float, most: float) -> Decision:
    """The library's network for one output and two labels."""
    c, minus, plus = z3.Reals("c T_minus T_plus")
    (value,) = outputs(ExactNetwork.of(gate_network(1, 2, "sign", BOUND)), [c, minus, plus])
    closed = z3.And(minus + plus >= z3.RealVal(least), c <= z3.RealVal(most * BOUND), -c <= z3.RealVal(most * BOUND))
    return prove(
        z3.And(
            z3.Implies(z3.And(minus == 0, plus == 0), value == c),
            z3.Implies(closed, value == plus - minus),
        ),
        *(minus >= 0, plus >= 0),
    )


def check(*, least: float = 1.0, most: float = 1.0, function: Gate = gate) -> Finding:
    """Both cases for all real numbers, and the library's network.

    Args:
        least: the gate is claimed to be closed for S >= least.
        most: the gate is claimed to be closed for |c| <= most B.
    """
    c, B, S = z3.Reals("c B S")
    size = z3.RealVal(most) * B
    parts = {
        "open": prove(function(c, B, z3.RealVal(0)) == c),
        "closed": prove(function(c, B, S) == 0, c <= size, -c <= size, z3.RealVal(least) <= S),
        "the library's gate": library_gate(least, most),
    }
    return finding(parts, tested=f"all c, B >= |c| and S; the library's network at B = {BOUND:g}", bound="c, or 0")


CLAIM = Claim(
    statement="relu(c - B S) - relu(-c - B S) is c where S = 0, and 0 where S >= 1 and |c| <= B",
    source="derived here, for Li & Li, ICML 2025, arXiv:2306.01271, Lemma 4.5",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"least > 0": lambda least: least > 0, "most > 0": lambda most: most > 0},
    constants={
        "S >= 1": Constant(lambda factor: {"least": factor}, refuted=(0.95,), otherwise="weaker: fewer S"),
        "|c| <= B": Constant(lambda factor: {"most": factor}, refuted=(1.05,), otherwise="weaker: fewer c"),
    },
    controls={
        "with one ReLU": {"function": lambda c, B, S: relu(c - B * S)},
        "with B / 2": {"function": lambda c, B, S: gate(c, B / 2, S)},
    },
)
