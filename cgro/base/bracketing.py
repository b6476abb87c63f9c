"""Where a yes-or-no outcome changes along lines of candidates, found by evaluating few of them.

On each line the candidates 0, 1, ..., count - 1 have outcome False up to some candidate and True above it. Neighbouring
lines change at nearly the same place, so that two or three evaluations enclose a change that is guessed from its
neighbours. Many places are evaluated at once, since an evaluation is a training run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

Known = dict[int, bool]
"""Outcomes of a line, by candidate."""


class Place(NamedTuple):
    """A candidate of one line, for one seed."""

    line: int
    seed: int
    candidate: int


def bracket(known: Mapping[int, bool], count: int) -> tuple[int, int]:
    """The last candidate known to be False (-1: none) and the first known to be True (count: none)."""
    low = max((k for k, outcome in known.items() if not outcome), default=-1)
    return low, min((k for k, outcome in known.items() if outcome), default=count)


def next_candidate(known: Mapping[int, bool], count: int, guess: float | None = None, stride: int = 1) -> int | None:
    """The candidate to evaluate next; None once the change lies between neighbours, or beyond an end.

    Without a guess, the middle of the bracket. With one, first the guess, then `stride`, 2 `stride`, ... further on
    until the other outcome is seen, then the middle.
    """
    low, high = bracket(known, count)
    if high - low <= 1:
        return None
    if guess is None or (low >= 0 and high < count):
        return (low + high) // 2
    if not known:
        return min(max(round(guess), 0), count - 1)
    step = stride * 2 ** (len(known) - 1)
    return min(low + step, count - 1) if high == count else max(high - step, 0)


def enclose_changes(
    evaluate: Callable[[Sequence[Place]], Sequence[bool]],
    *,
    lines: int,
    seeds: int,
    count: int,
    known: Mapping[tuple[int, int], Known] | None = None,
    stride: int = 1,
) -> dict[tuple[int, int], Known]:
    """All outcomes that were evaluated to enclose the change of every line and seed, by (line, seed).

    The first and the last line are searched first: one seed by bisection, the others from where it changes. Lines
    between are then guessed, seed by seed, from the nearest searched lines, halving the distances. `evaluate` is called
    with the places of a round, which do not depend on each other.

    known: outcomes known from the start, which are not evaluated again.
    stride: distance in candidates within which a guess is expected to hold.
    """
    found: dict[tuple[int, int], Known] = {
        (line, seed): dict((known or {}).get((line, seed), {})) for line in range(lines) for seed in range(seeds)
    }

    def search(wave: Mapping[tuple[int, int], float | None]) -> None:
        while places := [
            Place(*key, candidate)
            for key, guess in wave.items()
            if (candidate := next_candidate(found[key], count, guess, stride)) is not None
        ]:
            for place, outcome in zip(places, evaluate(places), strict=True):
                found[place.line, place.seed][place.candidate] = outcome

    def change(line: int, seed: int) -> float:
        low, high = bracket(found[line, seed], count)
        return (low + high) / 2

    ends = sorted({0, lines - 1})
    search({(line, 0): None for line in ends})
    search({(line, seed): change(line, 0) for line in ends for seed in range(1, seeds)})
    searched = ends
    while gaps := [(low, high) for low, high in pairwise(searched) if high - low > 1]:
        middles = {(low + high) // 2: (low, high) for low, high in gaps}
        search(
            {
                (line, seed): change(low, seed) + (change(high, seed) - change(low, seed)) * (line - low) / (high - low)
                for line, (low, high) in middles.items()
                for seed in range(seeds)
            }
        )
        searched = sorted([*searched, *middles])
    return found
