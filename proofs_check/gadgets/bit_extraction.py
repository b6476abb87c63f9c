"""Bits of an integer by ReLUs (K15): phi(z) = relu(relu(2 z) - relu(4 z - 2)) and, for u in {0, ..., 2^n - 1},

    BIN_t(u) = 2^(n+2-t) relu(phi^t(u/2^n + 2^-(n+2)) - phi^t(u/2^n + 2^-(n+1))),   bit t = 1 the highest

Proof for all n, t and u, decided by z3 in two steps. With s = 2^t z in [j, j + 1], phi^t(z) is s - j for even j and j +
1 - s for odd j: true for t = 0, and handed on from t to t + 1. With P = 2^(n-t), u = P j + r, both arguments have the
same j, which has the parity of bit t, at s = j + (r + 1/4) / P and s = j + (r + 1/2) / P. So BIN_t(u) is the parity of
j. cgro peels bits off the top instead: the highest bit of an integer A < 2 T, T = 2^(K-1), is relu(A - T + 1) - relu(A
- T), and A - T bit < T; this is decided, too. The formula is then evaluated for every small integer, and so is the
library's network that peels bits, on every index of a table.
"""

from __future__ import annotations

from fractions import Fraction

import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import Formula, finding, prove, relu
from cgro.claims.symbolic import Decision
from cgro.memorizers.cells import Plan, find_label
from cgro.networks.exact import Program


def tent(z: Formula, slope: float = 2.0) -> Formula:
    """phi(z), with relu(2 z) replaced by relu(slope z)."""
    return relu(relu(z3.RealVal(slope) * z) - relu(4 * z - 2))


def tents_are_periodic(slope: float) -> Decision:
    """From t to t + 1, with w = s - j: phi of w or 1 - w is 2 s - i on the first half of [j, j + 1], where i = 2 j is
    even, and i + 1 - 2 s on the second, where i = 2 j + 1 is odd."""
    w, odd = z3.Real("w"), z3.Bool("odd")
    half = z3.Q(1, 2)
    claim = tent(z3.If(odd, 1 - w, w), slope) == z3.If(w <= half, 2 * w, 2 - 2 * w)
    return prove(claim, w >= 0, w <= 1)


def reads_the_parity(first: float, second: float) -> Decision:
    """P (phi^t(first argument) - phi^t(second)), cut off at 0, is 1/4 for odd j and 0 for even j.

    Scaled by P: r = 0, ..., P - 1, and the arguments lie r + first and r + second above P j; both must stay in [0, P].
    """
    r, P = z3.Ints("r P")
    odd = z3.Bool("odd")
    a, b = z3.ToReal(r) + z3.RealVal(first), z3.ToReal(r) + z3.RealVal(second)
    size = z3.ToReal(P)
    value = relu(z3.If(odd, size - a, a) - z3.If(odd, size - b, b))
    inside = z3.And(a >= 0, b >= 0, a <= size, b <= size)
    return prove(z3.And(inside, 4 * value == z3.If(odd, 1.0, 0.0)), r >= 0, r < P)


def peels(step: float = 1.0) -> Decision:
    """The highest bit of A < 2 T, and what is left of A."""
    A, T = z3.Ints("A T")
    bit = relu(z3.ToReal(A - T) + z3.RealVal(step)) - relu(z3.ToReal(A - T))
    rest = A - z3.If(A >= T, T, 0)
    return prove(z3.And(bit == z3.If(A >= T, 1.0, 0.0), rest >= 0, rest < T), A >= 0, A < 2 * T)


def extracted(u: int, n: int, t: int) -> Fraction:
    """BIN_t(u), as written above."""

    def iterated(z: Fraction) -> Fraction:
        for _ in range(t):
            z = max(max(2 * z, Fraction(0)) - max(4 * z - 2, Fraction(0)), Fraction(0))
        return z

    difference = iterated(Fraction(u, 2**n) + Fraction(1, 2 ** (n + 2))) - iterated(
        Fraction(u, 2**n) + Fraction(1, 2 ** (n + 1))
    )
    return 2 ** (n + 2 - t) * max(difference, Fraction(0))


def wrong_look_up(indices: int) -> str:
    """The first index of `indices` bits at which the library's network, which peels the indices and labels of two
    cells at a time off two long integers, does not give the label of the cell, or 0 without one; empty if none."""
    labels = {k: 1 + k % 3 for k in range(2**indices) if k % 4 != 2}
    program = Program(["index"])
    find_label(program, labels, Plan(len(labels), indices, 2, indices, 1, 2))
    network = program.output({"out": 1})
    wrong = (k for k in range(2**indices) if network.evaluate([Fraction(k)]) != [labels.get(k, 0)])
    return next((f"index {k}" for k in wrong), "")


def check(*, bits: int = 6, slope: float = 2.0, first: float = 0.25, second: float = 0.5, step: float = 1.0) -> Finding:
    """The induction, and every bit of every integer of up to `bits` bits.

    Args:
        bits: largest n evaluated.
        slope: slope of the first half of the tent.
        first: distance of the first argument above u / 2^n, in units of 2^-n.
        second: distance of the second argument, in units of 2^-n.
        step: what is added to A - T in the peeled bit.
    """
    parts = {
        "the tents": tents_are_periodic(slope),
        "the bit": reads_the_parity(first, second),
        "peeling": peels(step),
    }
    cases = [(n, u, t) for n in range(1, bits + 1) for u in range(2**n) for t in range(1, n + 1)]
    wrong = [case for case in cases if extracted(case[1], case[0], case[2]) != (case[1] >> (case[0] - case[2])) & 1]
    parts["evaluated"] = Decision(not wrong, f"(n, u, t) = {wrong[0]}" if wrong else "")
    found = wrong_look_up(min(bits, 5))
    parts["the library's network"] = Decision(not found, found)
    return finding(
        parts,
        tested=f"all n, u, t by induction; evaluated for the {len(cases):,} cases below 2^{bits}; the library's "
        f"network for all indices of {min(bits, 5)} bits",
        bound="the bit, exactly",
    )


CLAIM = Claim(
    statement="iterated tents BIN_t(u) compute bit t of an integer u of n bits, and so does peeling bits off the top",
    source="Vardi, Yehudai & Shamir, ICLR 2022; Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643 (K15)",
    tag="[S]",
    evidence="symbolic",
    check=check,
    hypotheses={"1 <= bits <= 12": lambda bits: 1 <= bits <= 12},
    deep={"bits": 10},
    constants={
        "slope 2 of the tent": Constant(lambda factor: {"slope": 2 * factor}),
        "first argument 2^-(n+2)": Constant(lambda factor: {"first": 0.25 * factor}),
        "second argument 2^-(n+1)": Constant(lambda factor: {"second": 0.5 * factor}),
        "relu(A - T + 1)": Constant(lambda factor: {"step": factor}),
    },
    controls={
        "the second argument on the grid above": {"second": 1.0, "bits": 2},
        "the arguments the other way round": {"first": 0.5, "second": 0.25, "bits": 2},
    },
)
