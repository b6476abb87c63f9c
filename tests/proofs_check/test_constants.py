"""Every constant and exponent of every claim is known to 5 %: the check refutes it when moved, or says why not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tools import Outcome

from cgro.base.errors import UserError
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.tolerance import refutes, smallest_refuted
from cgro.runs.registry import find_all

Cgro = Callable[..., Outcome]
CLAIMS: dict[str, Claim] = find_all("check")
SLOW = {
    "ball-sum-levels",
    "certified-transition",
    "cgro-classifier-size",
    "cgro-theorem",
    "coverage-bound",
    "discrimination-loss",
    "end-state",
    "even-powers",
    "first-layer-width",
    "gradient-bound",
    "gradient-contrast",
    "gram-law",
    "grid-cells-size",
    "grouped-cells-size",
    "influence-null",
    "line-neurons",
    "main-theorem",
    "measured-scaling",
    "memorizer-sizes",
    "robust-size",
    "signal-time-scaling",
}
"""Claims whose quick preset takes about a second or more: their constants are moved by `make deep` only."""
MOVED = [
    pytest.param(
        name,
        words,
        factor,
        marks=[pytest.mark.deep] if constant.deep or name in SLOW else [],
        id=f"{name}: {words}: {factor}",
    )
    for name, claim in CLAIMS.items()
    for words, constant in claim.constants.items()
    for factor in constant.refuted
]
NAMES = re.compile(r"l_\d+|[A-Za-z]_\(?\w+\)?|K\d+|log_\d+|[A-Za-z]\w*\d\w*")
"""Where digits belong to a name: l_2, T_0, log_2."""


@pytest.mark.parametrize(("name", "words", "factor"), MOVED)
def test_a_moved_constant_is_refuted(name: str, words: str, factor: float) -> None:
    claim = CLAIMS[name]
    constant = claim.constants[words]
    assert refutes(claim, constant, factor, "deep" if constant.deep else "quick")


@pytest.mark.parametrize("name", CLAIMS)
def test_every_number_of_a_statement_is_among_its_constants(name: str) -> None:
    """All but 0 and 1, which say where something vanishes, or that it is normalized."""
    claim = CLAIMS[name]
    numbers = set(re.findall(r"\d+(?:\.\d+)?", NAMES.sub(" ", claim.statement))) - {"0", "1"}
    known = set(re.findall(r"\d+(?:\.\d+)?", " ".join(claim.constants)))
    assert numbers <= known, f"not among the constants: {sorted(numbers - known)}"


@pytest.mark.parametrize("name", CLAIMS)
def test_a_constant_that_is_moved_by_nothing_leaves_the_claim_as_it_is(name: str) -> None:
    """`moved` sets parameters that the check has, to what they are at factor 1."""
    claim = CLAIMS[name]
    parameters = claim.preset("quick")
    for words, constant in claim.constants.items():
        if constant.moved is not None:
            same = {k: v for k, v in constant.moved(1.0).items() if k in parameters}
            assert same == {k: pytest.approx(parameters[k]) for k in same}, words


def test_the_smallest_refuted_move_is_found_on_either_side() -> None:
    """x is at most 1.005 and at least 0.85 for a check that knows it to be 1."""

    def check(*, x: float = 1.0) -> Finding:
        if x > 1.3:
            raise UserError("x makes no sense")
        return Finding(0.85 <= x <= 1.005, 1.0, tested="-", bound="-", measured="-")

    claim = Claim("x is 1", "here", "[D]", "exact", check, controls={})
    moved = Constant(lambda factor: {"x": factor}, refuted=(1.05,), otherwise="x may be as small as 0.85")
    assert smallest_refuted(claim, moved, "quick", -1) == 0.2
    assert smallest_refuted(claim, moved, "quick", 1) == 0.01
    doubled = Constant(lambda factor: {"x": 1 + 7 * (factor - 1)}, refuted=(0.95,), otherwise="no sense")
    assert smallest_refuted(claim, doubled, "quick", 1) is None
    assert smallest_refuted(claim, Constant(None, refuted=(), otherwise="a name"), "quick", 1) is None


def test_the_command_prints_what_a_check_knows_of_its_constants(cgro: Cgro, tmp_path: Path) -> None:
    """As a table, and as JSON with the moves as shares."""
    printed = cgro("check", "score-error", "--perturb", "--quiet", "--results", str(tmp_path)).out
    assert "score-error" in printed
    found = json.loads(cgro("check", "score-error", "--perturb", "--json", "--quiet", "--results", str(tmp_path)).out)
    assert [each["constant"] for each in found] == list(CLAIMS["score-error"].constants)
    for each in found:
        assert each["below"] in (None, 0.01, 0.05, 0.1, 0.2, 0.5)


def test_a_constant_that_survives_says_why() -> None:
    with pytest.raises(ValueError, match="must say why"):
        Constant(lambda factor: {"factor": factor}, refuted=(0.95,))
