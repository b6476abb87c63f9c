"""The discrimination loss of Benign Adversarial Training is bounded below, and so is the size of its gradient.

For one image, S = sum e^(cos / tau) over its partners and T over the other images, DL = -log(S / (S + T)) >= 0. With a
term e of one cosine singled out of its sum, whatever the rest is,

    dDL/dcos = -e T / (S (S + T) tau) for a partner,    e / ((S + T) tau) for another image,

computed symbolically. Derivatives of either kind have one sign and are linear in e, so their sizes add up to
2 T / (S + T) / tau = 2 (1 - e^-DL) / tau < 2 / tau, for any number of images: the gradient vanishes with the loss, and
cannot explode.

With other classes alone in the denominator DL = log(T / S) may be negative. Cosines lie in [-1, 1], so T is at
least others e^(-1/tau) and S at most partners e^(1/tau): DL >= log(others / partners) - 2 / tau. z3 decides that
step, and the library's loss attains the bound at two classes with opposite features.
"""

from __future__ import annotations

import math

import sympy as sp
import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.claims.symbolic import vanishes


def size_of_gradient(factor: float) -> bool:
    """Both derivatives, and the sum of their sizes equal to factor (1 - S / (S + T)) / tau."""
    c, tau, e, S, T, rest = sp.symbols("c tau e S T rest", positive=True)

    def derivative(loss: sp.Expr, whole: sp.Expr) -> sp.Expr:
        """In the cosine c, with e for e^(c / tau), and the rest of its sum eliminated."""
        return sp.diff(loss, c).subs(sp.exp(c / tau), e).subs(rest, whole - e)

    term = sp.exp(c / tau) + rest
    partner = derivative(-sp.log(term / (term + T)), S)
    other = derivative(-sp.log(S / (S + term)), T)
    linear = all(vanishes(sp.diff(part, e, 2)) and vanishes(part.subs(e, 0)) for part in (partner, other))
    # Linear in e: the sum over partners turns e into S, that over others turns it into T.
    total = -partner.subs(e, S) + other.subs(e, T)
    return linear and vanishes(total - sp.nsimplify(factor) * (1 - S / (S + T)) / tau)


def sums_are_bounded() -> bool | None:
    """T / S >= (others / partners) low / high if every term lies in [low, high]: a step for one more term of each."""
    S, T, partners, others, low, high, s, t = z3.Reals("S T partners others low high s t")
    terms = z3.And(low > 0, low <= s, s <= high, low <= t, t <= high, partners >= 0, others >= 0)
    sums = z3.And(partners * high >= S, others * low <= T, S >= 0)
    step = prove(z3.And(S + s <= (partners + 1) * high, T + t >= (others + 1) * low), terms, sums)
    ratio = prove(T * partners * high >= S * others * low, terms, sums)
    return None if step.holds is None or ratio.holds is None else step.holds and ratio.holds


def smallest_loss(temperature: float, partners: int, others: int) -> float:
    """The library's loss of two classes with opposite features: partners + 1 images of the first, `others` of the
    second, of which there are as many."""
    import torch

    from cgro.training.benign import discrimination

    h = torch.tensor([[1.0, 0.0]] * (partners + 1) + [[-1.0, 0.0]] * others, dtype=torch.float64)
    y = torch.tensor([0] * (partners + 1) + [1] * others)
    return float(discrimination(h, y, temperature, "classes"))


def check(*, factor: float = 2.0, lowest: float = 2.0, temperature: float = 0.1) -> Finding:
    """The gradient symbolically; the lower bound by z3, and attained by the library's loss.

    Args:
        factor: the claimed 2 in the size of the gradient.
        lowest: the claimed 2 in the lower bound with other classes alone.
        temperature: tau > 0 of the library's loss.
    """
    gradient, bounded = size_of_gradient(factor), sums_are_bounded()
    excess = 0.0
    for partners in (1, 2, 5):
        bound = math.log((partners + 1) / partners) - lowest / temperature
        excess = max(excess, abs(smallest_loss(temperature, partners, partners + 1) / bound - 1))
    holds = None if bounded is None else gradient and bounded and excess <= 1e-9
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested="any number of images, all cosines and temperatures; "
        f"the library's smallest losses for 1, 2, 5 partners at tau = {temperature:g}",
        bound=f"gradient of l_1 norm {factor:g} (1 - e^-DL) / tau; DL >= log(others / partners) - {lowest:g} / tau",
        measured=f"gradient {'proved' if gradient else 'wrong'}; lower bound {'proved' if bounded else 'open'}, "
        f"and the library off it by {excess:.1g}",
        counterexample="" if holds else "the gradient" if not gradient else "opposite features",
    )


CLAIM = Claim(
    statement="the discrimination loss DL of Benign Adversarial Training of an image, at temperature tau, has a "
    "gradient of l_1 norm 2 (1 - e^-DL) / tau in the cosines with its partners, of its class, and with the others; "
    "with others alone in the denominator the least DL of an image is log(others / partners) - 2 / tau",
    source="discrimination loss of Xu et al. 2021, arXiv:2106.04794, as recalled; bounds derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"temperature > 0": lambda temperature: temperature > 0},
    constants={
        "2 (1 - e^-DL) / tau": Constant(lambda factor: {"factor": 2.0 * factor}),
        "- 2 / tau": Constant(lambda factor: {"lowest": 2.0 * factor}),
    },
    controls={
        "1 (1 - e^-DL) / tau": {"factor": 1.0},
        "2.02 instead of 2": {"factor": 2.02},
        "never below log(others / partners) - 1.98 / tau": {"lowest": 1.98},
    },
)
