"""The description of a check: statement, source, evidence, method, parameters, hypotheses, controls, constants."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from functools import cache

from cgro.claims import claim as claims
from cgro.claims.claim import Claim
from website import known
from website.options import shown
from website.text import cell, collapsed, docstring, fenced, plain, table


@cache
def evidence_words() -> dict[str, str]:
    """What each kind of evidence means, from the docstring of the type."""
    body = ast.parse(inspect.getsource(claims)).body
    place = next(k for k, node in enumerate(body) if isinstance(node, ast.Assign) and "Evidence" in ast.unparse(node))
    text = " ".join(ast.literal_eval(ast.unparse(body[place + 1])).split())
    parts = re.split(r"(?:^|(?<=\. ))(\w+): ", text)
    return {name: words.strip() for name, words in zip(parts[1::2], parts[2::2], strict=True)}


def described(name: str) -> Iterator[str]:
    """The parts of the description, in Markdown."""
    claim: Claim = known.objects("check")[name]
    yield fenced(f"cgro check {name}\ncgro check {name} --preset deep", "sh")
    yield f"**Statement.** {plain(claim.statement)}"
    yield f"**Source.** {plain(claim.source)} {plain(claim.tag)}"
    words = evidence_words()[claim.evidence]
    yield f"**Evidence.** {claim.evidence}: {plain(words)}"
    if claim.known_wrong:
        yield f"**Known to be wrong.** The check refutes the claim. Instead: {plain(claim.known_wrong)}"
    yield docstring(claim.about)
    yield from _parameters(claim)
    if claim.hypotheses:
        yield "**Hypotheses.** Values that violate one are refused."
        yield _listed(claim.hypotheses)
    if claim.controls:
        verb = "Corrections, which must hold" if claim.known_wrong else "Perturbed claims, which must be refuted"
        yield f"**Controls.** {verb}:"
        yield _listed(claim.controls)
    if claim.constants:
        yield "**Constants.** Each is moved by 5 % both ways:"
        rows = [
            [
                plain(words),
                plain(", ".join(f"{factor:g}" for factor in constant.refuted)) or "-",
                plain(constant.otherwise),
            ]
            for words, constant in claim.constants.items()
        ]
        yield table(["number", "refuted at the factors", "otherwise"], rows)
    yield collapsed(f"Source of the check {name}", known.sources("check")[name])


def _parameters(claim: Claim) -> Iterator[str]:
    quick, deep = claim.preset("quick"), claim.preset("deep")
    about = _arguments(claim)
    if quick:
        yield "**Parameters.**"
        rows = [
            [
                cell(f"--{key.replace('_', '-')}"),
                cell(shown(quick[key])),
                cell(shown(deep[key])),
                plain(about.get(key, "")),
            ]
            for key in quick
        ]
        yield table(["option", "quick", "deep", "meaning"], rows)


def _arguments(claim: Claim) -> dict[str, str]:
    """What the docstring of the function says about its arguments."""
    from docstring_parser import parse

    return {each.arg_name: each.description or "" for each in parse(claim.check.__doc__ or "").params}


def _listed(words: Iterable[str]) -> str:
    return "\n".join(f"- {plain(each)}" for each in words)
