"""Bits of an integer by ReLUs (K15): phi(z) = relu(relu(2z) - relu(4z - 2)) and, for u in {0, ..., 2^n - 1},

    BIN_t(u) = 2^(n+2-t) relu(phi^t(u/2^n + 2^-(n+2)) - phi^t(u/2^n + 2^-(n+1))),   bit t = 1 the highest

phi^t is a tent of period 2^(1-t), and no turning point lies between the two arguments. It falls there iff bit t is 1,
and then by slope 2^t times the distance 2^-(n+2). Decided for every integer in rational arithmetic. cgro peels bits
off the top instead: the highest bit of A < 2^K is relu(A - 2^(K-1) + 1) - relu(A - 2^(K-1)), with one layer for each
bit; this is decided, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from cgro.claims.claim import Claim, Finding

Reader = Callable[[int, int, int], Fraction]


def tent(z: Fraction, times: int) -> Fraction:
    """phi applied `times` times."""
    for _ in range(times):
        z = max(max(2 * z, Fraction(0)) - max(4 * z - 2, Fraction(0)), Fraction(0))
    return z


def extracted(u: int, n: int, t: int, offset: int = 1) -> Fraction:
    """BIN_t(u), with the second argument 2^-(n+offset) above the grid."""
    z = Fraction(u, 2**n)
    difference = tent(z + Fraction(1, 2 ** (n + 2)), t) - tent(z + Fraction(1, 2 ** (n + offset)), t)
    return 2 ** (n + 2 - t) * max(difference, Fraction(0))


def peeled(u: int, n: int, t: int) -> int:
    """Bit t, after peeling off the higher ones."""
    bit = 0
    for K in range(n, n - t, -1):
        top = 2 ** (K - 1)
        bit = max(u - top + 1, 0) - max(u - top, 0)
        u -= top * bit
    return bit


def check(*, bits: int = 8, reader: Reader = extracted) -> Finding:
    """Every bit of every integer of up to `bits` bits, by both formulas.

    Args:
        bits: largest n.
    """
    cases = [(n, u, t) for n in range(1, bits + 1) for u in range(2**n) for t in range(1, n + 1)]
    wrong = [(n, u, t) for n, u, t in cases if reader(u, n, t) != (u >> (n - t) & 1)]
    peels = all(peeled(u, n, t) == (u >> (n - t) & 1) for n, u, t in cases)
    holds = not wrong and peels
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested=f"every bit of every integer below 2^{bits}, {len(cases):,} cases",
        bound="the bit",
        measured=f"{len(wrong)} wrong; peeling {'exact' if peels else 'wrong'}",
        counterexample=f"(n, u, t) = {wrong[0]}" if wrong else "",
    )


CLAIM = Claim(
    statement="iterated tents BIN_t(u) compute bit t of u, and so does peeling bits off the top",
    source="Vardi, Yehudai & Shamir, ICLR 2022; Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643 (K15)",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={"1 <= bits <= 14": lambda bits: 1 <= bits <= 14},
    deep={"bits": 12},
    controls={
        "one bit to the left": {"reader": lambda u, n, t: extracted(u, n, t - 1), "bits": 3},
        "arguments swapped": {
            "reader": lambda u, n, t: extracted(2**n - 1 - u, n, t),
            "bits": 3,
        },
        "the second argument on the grid above": {"reader": lambda u, n, t: extracted(u, n, t, 0), "bits": 3},
    },
)
