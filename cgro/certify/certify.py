"""Is a ReLU network's label constant on the closed ball around each point? Tiers of proofs, from cheap to exact.

    structural   lower bounds that the caller has proved from how the network was built
    interval     interval bounds (cgro.certify.interval)                                  rigorous, with rounding
    linear       CROWN bounds with both relaxations (cgro.certify.linear)                 rigorous, with rounding
    attack       points of the ball with a margin <= 0, evaluated with rounding bounds    rigorous, with rounding
    milp         minimum of the margin by branch and bound (cgro.certify.milp)             up to HiGHS' tolerances

Each tier sees only the points that earlier tiers left undecided. The statement concerns the network in real
arithmetic whose weights are exactly the float64 numbers.

Reference: the tiers are those of Tjeng et al., ICLR 2019 (bounds first, then MILP) [S]; their order here [D].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from cgro.base.arrays import real_array
from cgro.base.errors import UserError
from cgro.base.norms import Norm
from cgro.base.validate import integer
from cgro.base.work import Tick
from cgro.certify.attack import search, verified
from cgro.certify.interval import margin_interval
from cgro.certify.linear import linear_bounds
from cgro.certify.milp import TANGENTS, MilpResult, minimize_row
from cgro.certify.problem import Problem
from cgro.certify.samples import Samples
from cgro.networks.readout import Readout
from cgro.networks.relu import ReluNetwork

if TYPE_CHECKING:
    from torch import nn

Status = Literal["certified", "counterexample", "undecided"]
Tier = Literal["interval", "linear", "milp"]
NODES = 10_000
"""Default limit of branch-and-bound nodes for each point."""
_FIRST_TRY = 10
"""The share of its nodes after which an unfinished MILP's best point is tried as a counterexample is one over this."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """The verdict and the proved bounds for each point."""

    status: np.ndarray
    """One `Status` for each point, (N,)."""
    lower: Float[np.ndarray, " N"]
    """Proved lower bound of the margin over the ball; -inf if there is none."""
    upper: Float[np.ndarray, " N"]
    """Margin, rounded up, at the best point found in the ball, which may be the centre; +inf after an overflow."""
    tier: np.ndarray
    """The tier that decided, or that gave the best lower bound: "structural", "interval", "linear", "milp", "attack" or
    "", (N,)."""
    witness: Float[np.ndarray, "N D"]
    """A point of the ball, measured exactly, whose margin is proved to be <= 0; NaN where there is none."""

    @property
    def certified(self) -> np.ndarray:
        """Is the label proved constant? Booleans (N,)."""
        return self.status == "certified"

    @property
    def gap(self) -> Float[np.ndarray, " N"]:
        """The gap left open for the smallest margin."""
        return self.upper - self.lower

    @property
    def by_status(self) -> dict[str, int]:
        """Points of each status."""
        counts = Counter(self.status.tolist())
        return {status: counts[status] for status in get_args(Status)}

    @property
    def by_tier(self) -> dict[str, int]:
        """Number of points that each tier decided."""
        decided = self.tier[self.status != "undecided"]
        return dict(sorted(Counter(decided.tolist()).items()))

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.by_status.items())
        tiers = ", ".join(f"{tier} {count}" for tier, count in self.by_tier.items())
        return f"{counts}; decided by {tiers or 'none'}"


def certify(
    network: ReluNetwork | nn.Module,
    points: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    norm: Norm,
    radius: float,
    *,
    readout: Readout = "sign",
    tiers: tuple[Tier, ...] = ("interval", "linear", "milp"),
    structural: Callable[[], Float[np.ndarray, " N"]] | None = None,
    nodes: int = NODES,
    exact: bool = False,
    seed: int = 0,
    tick: Tick | None = None,
) -> Certificate:
    """For each i: is min over |x - x_i|_p <= radius of the margin of label y_i positive?

        >>> import cgro, numpy as np
        >>> points, labels = np.array([[0.1, 0.2], [0.8, 0.9]]), np.array([-1, 1])
        >>> memorizer = cgro.memorize(points, labels, "inf", radius=0.1)
        >>> print(cgro.verify(memorizer.network, points, labels, "inf", 0.1))
        2 certified, 0 counterexample, 0 undecided; decided by interval 2

    Args:
        network: a ReluNetwork, or a torch network of Linear and ReLU layers, whose weights are taken exactly (see
            `cgro.networks.relu_module.from_torch`). The module is evaluated at the centres and at random points of the
            balls, too, and refused where it differs from what was bounded.
        points: centres (N, D), in input units.
        labels: integers (N,) that the read-out can give.
        radius: >= 0, in input units; 0 asks about the points alone.
        tiers: what to try, in this order for each point. The falsifier runs between linear bounds and MILP, and last
            if "milp" is not requested.
        structural: gives proved lower bounds (N,) of the margins; tier 0.
        nodes: of the MILP's branch and bound for each point, >= 1. It limits work, not time, so that verdicts do not
            depend on the machine and its load.
        exact: let the MILP go on to the smallest margin itself, on every point that is not falsified, so that
            `upper - lower` gets small; otherwise it stops when the sign is known.
        seed: of the falsifier's random starts.
        tick: told 1 for each point that is finished.

    Returns: the certificate; points that no tier decided are "undecided", with their bounds.

    Raises: UserError for a problem that is not one (see `Problem.of`), an unknown tier, fewer nodes than one, a
        negative seed, and modules that are not piecewise linear.
    """
    model: Any = None if type(network) is ReluNetwork else network
    layers: Any = network
    if model is not None:
        from cgro.networks.relu_module import from_torch

        layers = from_torch(model)
    problem = Problem.of(layers, points, labels, norm, radius, readout)
    if not isinstance(tiers, tuple | list):
        raise UserError(f"tiers must be a tuple of {', '.join(get_args(Tier))}, got {tiers!r}")
    unknown = [tier for tier in tiers if tier not in get_args(Tier)]
    if unknown:
        raise UserError(f"tiers must be among {', '.join(get_args(Tier))}, got {unknown[0]!r}")
    integer("seed", seed, low=0)
    integer("nodes", nodes, low=1)
    samples = None if model is None else Samples.of(model, problem, seed)
    run = _Run(problem, np.random.default_rng(seed), tick)
    run.centres()
    if structural is not None:
        run.structural(structural())
    for tier in (t for t in tiers if t != "milp"):
        (run.interval if tier == "interval" else run.linear)()
    run.attack()
    if "milp" in tiers and radius > 0:
        run.milp(nodes, exact)
    found = run.finish()
    if samples is not None:
        samples.require_labels(found.certified)
    return found


class _Run:
    """The state of one certification: bounds and verdicts so far."""

    def __init__(self, problem: Problem, rng: np.random.Generator, tick: Tick | None) -> None:
        count = len(problem)
        self.problem, self.rng, self.tick = problem, rng, tick
        self.lower, self.upper = np.full(count, -np.inf), np.full(count, np.inf)
        self.tier = np.full(count, "", dtype="<U10")
        self.witness = np.full(problem.points.shape, np.nan)
        self.suspects = problem.points.copy()
        self.told = 0

    @property
    def open(self) -> Int[np.ndarray, " n"]:
        """The points without a verdict."""
        return np.flatnonzero(~(self.lower > 0) & ~(self.upper <= 0))

    def centres(self) -> None:
        """A centre with a margin <= 0 is its own counterexample."""
        everything = np.arange(len(self.lower))
        self._try(everything, self.problem.points, "attack")

    def structural(self, bounds: Float[np.ndarray, " N"]) -> None:
        bounds = real_array("structural bounds", bounds)
        if bounds.shape != self.lower.shape:
            raise UserError(
                f"structural bounds must have shape ({len(self.lower)},), one for each point, got {bounds.shape}"
            )
        self._raise_lower(np.arange(len(bounds)), np.where(np.isnan(bounds), -np.inf, bounds), "structural")

    def interval(self) -> None:
        which = self.open
        self._raise_lower(which, margin_interval(self.problem.take(which))[0].min(axis=1), "interval")

    def linear(self) -> None:
        which = self.open
        part = self.problem.take(which)
        for chunk in part.chunks():
            found = linear_bounds(part.take(chunk))
            self.suspects[which[chunk]] = found.minimizer
            self._raise_lower(which[chunk], found.lower.min(axis=1), "linear")
            self._tell()

    def attack(self) -> None:
        which = self.open
        if which.size:
            part = self.problem.take(which)
            self._try(which, search(part, self.rng, self.suspects[which]), "attack")
            self._tell()

    def milp(self, nodes: int, exact: bool) -> None:
        asked = np.flatnonzero(~(self.upper <= 0)) if exact else self.open
        for i in asked:
            self._milp_point(np.array([i]), nodes, exact)
            self._tell()

    def finish(self) -> Certificate:
        status = np.full(len(self.lower), "undecided", dtype="<U14")
        status[self.lower > 0] = "certified"
        status[self.upper <= 0] = "counterexample"
        # A point of the ball overrules bounds that rely on the caller or the solver.
        self.lower[(self.upper <= 0) & (self.lower > self.upper)] = -np.inf
        self.lower = np.minimum(self.lower, self.upper)
        self._tell(last=True)
        return Certificate(status, self.lower, self.upper, self.tier, self.witness)

    def _milp_point(self, which: Int[np.ndarray, " 1"], nodes: int, exact: bool) -> None:
        problem = self.problem.take(which)
        left = nodes
        bounds = linear_bounds(problem)
        tries = [(max(1, nodes // _FIRST_TRY), TANGENTS), (nodes, TANGENTS)]
        if problem.norm == "2":  # Only the l_2 ball is approximated; use a closer approximation.
            tries.append((nodes, 4 * TANGENTS))
        rows = bounds.lower[0].copy()
        for row in np.argsort(rows):
            if rows[row] > 0 and not exact:
                continue
            finished = 0
            for share, tangents in tries:
                if left <= 0 or tangents == finished:
                    continue
                answer = minimize_row(
                    problem,
                    int(row),
                    bounds.hidden,
                    nodes=min(share, left),
                    exact=exact,
                    tangents=tangents,
                )
                left -= answer.nodes
                rows[row] = max(rows[row], answer.lower)
                if self._falsified(which, answer) or (answer.finished and rows[row] > 0):
                    break
                finished = tangents if answer.finished else 0
            if self.upper[which[0]] <= 0:
                return
        self._raise_lower(which, rows.min(keepdims=True), "milp")

    def _falsified(self, which: Int[np.ndarray, " 1"], answer: MilpResult) -> bool:
        """Try the solver's point, then search from it."""
        if answer.suspect is None:
            return False
        suspect = answer.suspect[None]
        self._try(which, suspect, "milp")
        if not self.upper[which[0]] <= 0 and not answer.lower > 0:
            self._try(which, search(self.problem.take(which), self.rng, suspect, restarts=0), "milp")
        return bool(self.upper[which[0]] <= 0)

    def _try(self, which: np.ndarray, suspects: np.ndarray, tier: str) -> None:
        """Evaluate points of the balls; one with a margin <= 0 is a counterexample for its centre."""
        points, upper = verified(self.problem.take(which), suspects)
        self.upper[which] = np.fmin(self.upper[which], upper)
        false = upper <= 0
        self.witness[which[false]] = points[false]
        self.tier[which[false]] = tier

    def _raise_lower(self, which: np.ndarray, bounds: np.ndarray, tier: str) -> None:
        higher = bounds > self.lower[which]
        decided = self.lower[which] > 0
        self.lower[which[higher]] = bounds[higher]
        self.tier[which[higher & ~decided]] = tier

    def _tell(self, last: bool = False) -> None:
        done = len(self.lower) if last else len(self.lower) - len(self.open)
        if self.tick is not None and done > self.told:
            self.tick(float(done - self.told))
            self.told = done
