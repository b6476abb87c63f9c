"""The floor network (K15) is exact wherever the fractional part is at least c: doubling modulo 1, n times, with ReLUs.

v = 1 - z / 2^n is doubled modulo 1 by v -> 2 v - [relu(v - 1/2 + c_t) - relu(v - 1/2)] / c_t, c_t = c 2^(t-n). Proof
for all n, z and c by induction over the doublings, each decided by z3: before doubling t let M = 2^(n-t) = 2 H, and let
r = i + f be z modulo M, with an integer i and f >= c the fractional part of z. If v = 1 - r / M, the bracket is c_t for
i < H and 0 otherwise, and 2 v less that is 1 - r' / H with r' = z modulo H. In the end v = 1 - f, so z + v - 1 = floor
z. The library's network is then decided by z3 for all real z of up to three binary digits.
"""

from __future__ import annotations

from fractions import Fraction

import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import finding, outputs, prove, relu
from cgro.claims.symbolic import Decision
from cgro.memorizers.cells import Grid, index_layers
from cgro.networks.exact import ExactNetwork, Program


def doubling(width: float) -> Decision:
    """One doubling, scaled by M: V = M - r becomes V - H [i < H] = H - r'; `width` is c_t M / c."""
    i, H = z3.Ints("i H")
    f, c = z3.Reals("f c")
    whole, half = z3.ToReal(i), z3.ToReal(H)
    V = 2 * half - whole - f
    bracket = relu(V - half + z3.RealVal(width) * c) - relu(V - half)
    rest = z3.If(i < H, i, i - H)
    after = V - z3.If(i < H, half, z3.RealVal(0))
    return prove(
        z3.And(
            bracket == z3.If(i < H, z3.RealVal(width) * c, z3.RealVal(0)),
            after == half - z3.ToReal(rest) - f,
            rest >= 0,
            rest < H,
        ),
        *(c > 0, c <= f, f < 1, H >= 1, i >= 0, i < 2 * H),
    )


def floor_network(digits: int, step: Fraction) -> ExactNetwork:
    """The library's, of one coordinate z in [0, 2^digits)."""
    program = Program(["x0"])
    index_layers(program, Grid(Fraction(1), [Fraction(0)], digits, step), step)
    return program.output({"index": 1})


def is_floor(digits: int, c: Fraction, width: float) -> Decision:
    """Whether the network with steps `width` c is floor z for all real z in [0, 2^n) with fractional part >= c."""
    (z,), k = z3.Reals("z"), z3.Int("k")
    (value,) = outputs(floor_network(digits, Fraction(width) * c), [z])
    whole = z3.ToReal(k)
    return prove(value == whole, k >= 0, k < 2**digits, z >= whole + z3.Q(c.numerator, c.denominator), z < whole + 1)


def check(*, digits: int = 3, width: float = 1.0) -> Finding:
    """The induction for all n, c and z; the library's networks for all z.

    Args:
        digits: largest n of the networks decided.
        width: c_t in units of c 2^(t-n).
    """
    parts = {"one doubling": doubling(width)}
    for n in range(1, digits + 1):
        for c in (Fraction(1, 8), Fraction(3, 10)):
            parts[f"the network, n = {n}, c = {c}"] = is_floor(n, c, width)
    return finding(
        parts,
        tested=f"all n, all real c and z by induction; networks of 1 to {digits} digits for all real z",
        bound="floor z, exactly",
    )


CLAIM = Claim(
    statement="n doublings modulo 1 with ReLUs, of steps c_t = c 2^(t-n), give floor z exactly for all 0 <= z < 2^n "
    "with fractional part at least c, 0 < c < 1",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Lemma B.16 (K15)",
    tag="[S]",
    evidence="symbolic",
    check=check,
    hypotheses={"1 <= digits <= 5": lambda digits: 1 <= digits <= 5},
    deep={"digits": 4},
    constants={
        "c_t = c 2^(t-n), 0 <= z < 2^n": Constant(
            lambda factor: {"width": factor},
            refuted=(1.05,),
            otherwise="weaker: narrower steps are exact on more points, with larger weights",
        ),
    },
    controls={"twice the width": {"width": 2.0, "digits": 1}},
)
