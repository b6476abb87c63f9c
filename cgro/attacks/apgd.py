"""APGD: projected gradient ascent with momentum and step sizes that shrink only when the loss stops rising.

    y = P(z_k + eta s(grad f(z_k))),   z_{k+1} = P(z_k + 0.75 (y - z_k) + 0.25 (z_k - z_{k-1}))

eta starts at 2 radii. At checkpoints 0.22 n, 0.41 n, 0.57 n, ... (gaps shrink by 0.03 n down to 0.06 n) eta is halved,
and the search continues from the best point, for each image whose loss rose in fewer than 3/4 of the steps since the
last checkpoint, or whose best loss and eta have not changed since.

In l_1 there is no momentum and eta starts at the radius. Every 0.04 n steps the share of coordinates that a step moves
becomes 2/3 of the share by which the best point differs from the image. Where that has shrunk by more than 5 %, eta is
the radius again and the search continues from the best point; elsewhere eta falls by a third, down to a tenth of the
radius.
Sources: Croce & Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", ICML 2020, Algorithm 1; "Mind the box", ICML 2021, for l_1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from cgro.attacks.ball import Budget, project, random_start, steepest
from cgro.attacks.images import BOX, Goal, Search


def checkpoints(steps: int, l1: bool = False) -> list[int]:
    """Steps after which step sizes are adapted."""
    if l1:
        every = max(1, int(0.04 * steps))
        return list(range(every, steps + 1, every))
    share, gap, found = 0.0, 0.22, []
    while share + gap <= 1:
        share += gap
        found.append(math.ceil(share * steps - 1e-9))
        gap = max(gap - 0.03, 0.06)
    return sorted(set(found))


@dataclass
class _State:
    """One row for each image that is still attacked."""

    index: Tensor
    """Number of the image in the goal that the search began with."""
    x: Tensor
    z: Tensor
    before: Tensor
    gradient: Tensor
    loss: Tensor
    broken: Tensor
    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor
    eta: Tensor
    moved: Tensor
    """l_1: share of the coordinates in which the best point differed from the image at the last checkpoint."""
    share: Tensor
    """l_1: share of the coordinates that a step moves."""
    rises: Tensor
    """Steps since the last checkpoint in which the loss rose."""
    checked_loss: Tensor
    checked_eta: Tensor

    def select(self, kept: Tensor) -> _State:
        return _State(**{field.name: getattr(self, field.name)[kept] for field in fields(self)})


def apgd_search(steps: int) -> Search:
    """APGD with that many steps, at least 1, that leaves an image as soon as it is broken.

    In l_1 the search begins in balls of 3 and 2 radii, with three tenths of the steps each, and ends in its own.
    """

    def search(goal: Goal, budget: Budget, generator: torch.Generator | None) -> Tensor:
        start = torch.zeros_like(goal.x) if generator is None else random_start(goal.x, budget, generator)
        z = goal.x + start
        if budget.norm != "1":
            return _climb(goal, budget, z, steps, leave=True)
        part = round(0.3 * steps)
        for factor in (3.0, 2.0):
            if part:
                z = _climb(goal, replace(budget, radius=factor * budget.radius), z, part, leave=False)
        return _climb(goal, budget, z, steps - 2 * part, leave=True)

    return search


def _climb(goal: Goal, budget: Budget, z: Tensor, steps: int, *, leave: bool) -> Tensor:
    """The best points found from the projections of `z`; with `leave`, the first ones that break their image."""
    points, l1 = goal.x.clone(), budget.norm == "1"
    state = _first(goal, goal.x + project(z - goal.x, goal.x, budget, BOX), budget)
    turns, last = checkpoints(steps, l1), 0
    if leave:
        goal, state = _without_broken(goal, state, points)
    for step in range(1, steps + 1):
        if not len(state.index):
            break
        _step(goal, state, budget, momentum=step > 1 and not l1)
        if leave:  # before some points are reset to their best ones
            goal, state = _without_broken(goal, state, points)
        if step in turns and step < steps:
            _reconsider(state, budget, step - last, l1)
            last = step
    points[state.index] = state.best
    return points


def _without_broken(goal: Goal, state: _State, points: Tensor) -> tuple[Goal, _State]:
    """The images that are not broken at their points; those of the others are written to `points`."""
    points[state.index[state.broken]] = state.z[state.broken]
    kept = (~state.broken).nonzero()[:, 0]
    return (goal, state) if len(kept) == len(state.broken) else (goal.select(kept), state.select(kept))


def _first(goal: Goal, z: Tensor, budget: Budget) -> _State:
    (loss, broken), gradient = goal.climb(z)
    ones = torch.ones_like(loss)
    eta = ones * budget.radius * (1.0 if budget.norm == "1" else 2.0)
    moved = _moved(z, goal.x).to(loss)
    return _State(
        index=torch.arange(len(z), device=z.device), x=goal.x, z=z, before=z, gradient=gradient, loss=loss,
        broken=broken, best=z, best_loss=loss, best_gradient=gradient, eta=eta,
        moved=torch.where(moved > 0, moved, 1.0), share=torch.where(moved > 0, moved / 1.5, 0.2),
        rises=0 * ones, checked_loss=loss, checked_eta=eta,
    )  # fmt: skip


def _step(goal: Goal, s: _State, budget: Budget, *, momentum: bool) -> None:
    eta = s.eta.reshape(-1, *[1] * (s.z.ndim - 1))
    direction = steepest(s.gradient, budget.norm, s.z, BOX, share=s.share)
    moved = s.x + project(s.z + eta * direction - s.x, s.x, budget, BOX)
    if momentum:
        moved = s.x + project(s.z + 0.75 * (moved - s.z) + 0.25 * (s.z - s.before) - s.x, s.x, budget, BOX)
    s.before, s.z = s.z, moved
    (loss, s.broken), s.gradient = goal.climb(s.z)
    s.rises = s.rises + (loss > s.loss)
    s.loss = loss
    better = loss > s.best_loss
    wide = better.reshape(-1, *[1] * (s.z.ndim - 1))
    s.best, s.best_gradient = torch.where(wide, s.z, s.best), torch.where(wide, s.gradient, s.best_gradient)
    s.best_loss = torch.where(better, loss, s.best_loss)


def _moved(z: Tensor, x: Tensor) -> Tensor:
    """Share of the coordinates in which points and images differ (B,)."""
    return (z != x).flatten(1).double().mean(1)


def _reconsider(s: _State, budget: Budget, steps: int, l1: bool) -> None:
    if l1:
        moved = _moved(s.best, s.x).to(s.moved)
        back = moved < 0.95 * s.moved
        s.eta = torch.where(back, torch.full_like(s.eta, budget.radius), (s.eta / 1.5).clamp_min(budget.radius / 10))
        s.moved, s.share = moved, moved / 1.5
    else:
        stuck = (s.checked_eta == s.eta) & (s.checked_loss >= s.best_loss)
        back = (s.rises < 0.75 * steps) | stuck
        s.checked_eta, s.checked_loss = s.eta, s.best_loss
        s.eta = torch.where(back, s.eta / 2, s.eta)
    wide = back.reshape(-1, *[1] * (s.z.ndim - 1))
    s.z, s.gradient = torch.where(wide, s.best, s.z), torch.where(wide, s.best_gradient, s.gradient)
    s.before = torch.where(wide, s.best, s.before)
    s.loss = torch.where(back, s.best_loss, s.loss)
    s.rises = torch.zeros_like(s.rises)
