"""Changes are enclosed exactly, wherever they are, by few evaluations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from tools import ROOT

from cgro.base.bracketing import Place, bracket, enclose_changes, next_candidate


class Counted:
    """Outcomes by thresholds (lines, seeds): candidate k is True from the threshold on. Counts and never repeats."""

    def __init__(self, thresholds: np.ndarray) -> None:
        self.thresholds, self.asked = thresholds, set[Place]()

    def __call__(self, places: Sequence[Place]) -> list[bool]:
        assert not self.asked & set(places), "evaluated twice"
        assert len(set(places)) == len(places)
        self.asked |= set(places)
        return [bool(place.candidate >= self.thresholds[place.line, place.seed]) for place in places]


@given(
    st.integers(1, 9), st.integers(1, 4), st.integers(1, 60), st.integers(1, 40), st.integers(0, 2**32 - 1)
)  # fmt: skip
def test_every_change_is_enclosed(lines: int, seeds: int, count: int, stride: int, seed: int) -> None:
    """Anywhere, beyond the ends, too; -1 and count stand for never False and never True."""
    thresholds = np.random.default_rng(seed).integers(0, count + 1, (lines, seeds))
    outcome = Counted(thresholds)
    found = enclose_changes(outcome, lines=lines, seeds=seeds, count=count, stride=stride)
    for (line, k), known in found.items():
        assert bracket(known, count) == (thresholds[line, k] - 1, thresholds[line, k])
        assert len(known) <= 2 * np.log2(count + 1) + 4


def test_two_evaluations_enclose_a_change_that_is_guessed_right() -> None:
    outcome = Counted(np.full((33, 5), 700))
    enclose_changes(outcome, lines=33, seeds=5, count=1000)
    assert len(outcome.asked) <= 2 * 33 * 5 + 2 * 10


def test_what_is_known_is_not_evaluated_again() -> None:
    outcome = Counted(np.array([[3]]))
    found = enclose_changes(outcome, lines=1, seeds=1, count=8, known={(0, 0): {2: False, 7: True}})
    assert bracket(found[0, 0], 8) == (2, 3)
    assert {place.candidate for place in outcome.asked} <= {3, 4, 5, 6}


def test_a_guess_is_tried_first_and_steps_double() -> None:
    assert next_candidate({}, 100, 41.4) == 41
    assert next_candidate({41: False}, 100, 41.4) == 42
    assert next_candidate({41: False, 42: False}, 100, 41.4, stride=3) == 48
    assert next_candidate({41: True}, 100, 41.4) == 40
    assert next_candidate({}, 10, 99.0) == 9
    assert next_candidate({}, 10, -5.0) == 0
    assert next_candidate({4: False, 5: True}, 10) is None


@pytest.mark.parametrize("part", [1, 10])
def test_a_tenth_of_the_published_diagram_says_where_each_seed_turns(part: int) -> None:
    """All 160 transitions of 49 x 32 cells and five seeds, from at most a twentieth of the runs."""
    with xr.open_dataset(ROOT / "results" / "published" / "phase-diagram-paper.nc", engine="h5netcdf") as result:
        in_cgro = result["robust_test_error"].values[::part] >= 0.25
    asked: set[Place] = set()

    def evaluate(places: Sequence[Place]) -> list[bool]:
        asked.update(places)
        return [bool(in_cgro[place.line, place.candidate, place.seed]) for place in places]

    lines, count, seeds = in_cgro.shape
    found = enclose_changes(evaluate, lines=lines, seeds=seeds, count=count)
    for (line, seed), known in found.items():
        assert bracket(known, count)[1] == int(np.argmax(in_cgro[line, :, seed]))
        assert bracket(known, count)[0] == bracket(known, count)[1] - 1
    assert len(asked) <= in_cgro.size / (20 if part == 1 else 10)
