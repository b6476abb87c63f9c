"""The parts of a check: a claim, its hypotheses and perturbations, and the finding.

A check is one small file in `proofs_check/` with a function and a `Claim`. The function's numeric keyword arguments
are parameters that a user may set; arguments that are functions are the claim's bounds, which a negative control
replaces with wrong ones.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import xarray as xr

from cgro.base.errors import UserError

Evidence = Literal["symbolic", "exact", "interval", "statistical", "asymptotic", "numerical"]
"""symbolic: the statement itself is proved for all its parameters, by computer algebra or an SMT solver. exact: it is
decided case by case without rounding: certificates, integers and rationals, exhaustive search. interval: decided with
outward-rounded arithmetic on boxes or balls. statistical: a simulation with a stated confidence. asymptotic: a fitted
exponent with its interval. numerical: floating point against a stated tolerance."""
Tag = Literal["[S]", "[N]", "[R]", "[D]", "[M]"]
Outcome = Literal["holds", "fails", "undecided"]
_CAPITALS = {"cgro": "CGRO", "s": "S"}


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    holds: bool | None
    """None: undecided."""
    slack: float
    """How far inside the bound: bound over measured, or tolerance over deviation; at least 1 where the claim holds.
    Infinite for an identity, which has no slack."""
    tested: str
    """What was covered: domain, number of cases, sizes."""
    bound: str
    measured: str
    constant: str = ""
    """The tightest constant that the data allow, if the claim states none or a loose one."""
    counterexample: str = ""
    """The smallest one found, if the claim fails."""
    confidence: float | None = None
    """For a statistical verdict, in (0, 1): a false claim gets the verdict `holds` with probability at most 1 -
    confidence."""
    data: xr.Dataset | None = None
    """Numbers for the claim's `draw`, if it has one."""

    def __post_init__(self) -> None:
        # numpy's booleans and numbers become Python's, which compare and store as expected.
        object.__setattr__(self, "holds", None if self.holds is None else bool(self.holds))
        object.__setattr__(self, "slack", float(self.slack))


@dataclass(frozen=True)
class Constant:
    """A number that a claim states: a constant, an exponent, a threshold.

    A claim says no more than it must if it fails as soon as the number is moved. The tests move every constant by 5 %.
    """

    moved: Callable[[float], Mapping[str, Any]] | None
    """Arguments of `check` with the number multiplied by a factor; None for a number that only defines something."""
    refuted: tuple[float, ...] = (0.95, 1.05)
    """Factors at which the check refutes the claim."""
    otherwise: str = ""
    """Why the other of 0.95 and 1.05 is not refuted, if one is not: the moved claim is weaker, or the bound is loose,
    and where the check prints by how much."""
    deep: bool = False
    """Whether only the deep preset refutes them."""

    def __post_init__(self) -> None:
        if not self.otherwise and not {0.95, 1.05} <= set(self.refuted):
            raise ValueError("a constant that survives a factor of 0.95 or 1.05 must say why")
        if self.moved is None and self.refuted:
            raise ValueError("a number that cannot be moved cannot be refuted: give refuted=() and say what it defines")


@dataclass(frozen=True)
class Claim:
    """A statement and everything needed to check it."""

    statement: str
    """In one line."""
    source: str
    """Paper and number."""
    tag: Tag
    """How sure the source is: [S] stated, [N] from notes, [R] recalled, [D] derived here, [M] measured."""
    evidence: Evidence
    check: Callable[..., Finding]
    """Keyword arguments only, each with the default of the quick preset."""
    controls: Mapping[str, Mapping[str, Any]]
    """Negative controls: a perturbed claim in words, and the arguments of `check` that produce it; each must be
    refuted."""
    constants: Mapping[str, Constant] = field(default_factory=dict)
    """The numbers of the statement, in words that contain them as they are written there."""
    hypotheses: Mapping[str, Callable[..., bool]] = field(default_factory=dict)
    """In words, and as a function of some of the parameters."""
    deep: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the deep preset that differ from those of quick."""
    known_wrong: str = ""
    """For a published or recalled claim that the check refutes: what is right instead."""
    draw: Callable[[xr.Dataset], Any] | None = None
    """Plots the numbers of a finding."""

    @property
    def about(self) -> str:
        """What the check does: the docstring of its file."""
        return sys.modules[self.check.__module__].__doc__ or ""

    @property
    def area(self) -> str:
        """The folder of its file, in words."""
        parts = self.check.__module__.split(".")
        words = parts[-2].split("_") if len(parts) > 2 else ["other"]
        return " ".join(_CAPITALS.get(word, word) for word in words)

    @property
    def parameters(self) -> dict[str, Any]:
        """Names and defaults of the parameters that a user may set."""
        arguments = inspect.signature(self.check).parameters.values()
        return {a.name: a.default for a in arguments if isinstance(a.default, int | float | str | tuple)}

    def preset(self, name: Literal["quick", "deep"]) -> dict[str, Any]:
        """The parameters of a preset."""
        return self.parameters | (dict(self.deep) if name == "deep" else {})

    def require(self, parameters: Mapping[str, Any]) -> None:
        """Raises: UserError naming the first hypothesis that these parameters violate."""
        for words, met in self.hypotheses.items():
            values = {name: parameters[name] for name in inspect.signature(met).parameters}
            if not met(**values):
                given = ", ".join(f"{name} = {value}" for name, value in values.items())
                raise UserError(f"the claim's hypothesis {words!r} must hold, got {given}")


@dataclass(frozen=True)
class Verdict:
    """The result of a check, ready to store and to print."""

    name: str
    area: str
    """Folder of the check."""
    statement: str
    source: str
    tag: str
    evidence: str
    known_wrong: str
    parameters: Mapping[str, Any]
    outcome: Outcome
    slack: float | None
    """None: infinite, an identity."""
    tested: str
    bound: str
    measured: str
    constant: str
    counterexample: str
    confidence: float | None
    seconds: float

    @classmethod
    def of(cls, name: str, claim: Claim, parameters: Mapping[str, Any], found: Finding, seconds: float) -> Verdict:
        """The verdict of a finding."""
        outcome: Outcome = "undecided" if found.holds is None else "holds" if found.holds else "fails"
        return cls(
            name=name,
            area=claim.area,
            statement=claim.statement,
            source=claim.source,
            tag=claim.tag,
            evidence=claim.evidence,
            known_wrong=claim.known_wrong,
            parameters=dict(parameters),
            outcome=outcome,
            slack=float(found.slack) if math.isfinite(found.slack) else None,
            tested=found.tested,
            bound=found.bound,
            measured=found.measured,
            constant=found.constant,
            counterexample=found.counterexample,
            confidence=found.confidence,
            seconds=round(seconds, 3),
        )

    @property
    def as_expected(self) -> bool:
        """Whether the claim holds, or fails as it is known to."""
        return self.outcome == ("fails" if self.known_wrong else "holds")

    @property
    def words(self) -> str:
        """The verdict in a word or two."""
        return "refuted as known" if self.known_wrong and self.outcome == "fails" else self.outcome


def undecided(reason: str) -> Finding:
    """An undecided verdict, with the reason."""
    return Finding(None, math.nan, tested="-", bound="-", measured=reason)
