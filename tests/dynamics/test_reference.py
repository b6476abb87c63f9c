"""The reference table: verdicts, amendments, and one point reproduced from scratch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cgro.base.errors import UserError
from cgro.dynamics.reference import AMENDMENTS, Comparison, ReferencePoint, compare, comparisons, widened
from cgro.dynamics.reference import reference_points as table
from cgro.simulations import reference_points


def test_ranges_are_widened_as_stated() -> None:
    assert widened("clean_test", (0.5, 0.6)) == pytest.approx((0.47, 0.63))
    assert widened("signal", (10.0, 20.0)) == pytest.approx((8.5, 23.0))
    assert widened("memorized", (-0.1, 0.1)) == pytest.approx((-0.115, 0.115))


@pytest.mark.parametrize(
    ("mean", "spread", "verdict"),
    [(10.0, 0.1, "agrees"), (11.6, 0.1, "within noise"), (13.0, 0.1, "differs"), (8.4, 0.1, "within noise")],
)
def test_verdicts(mean: float, spread: float, verdict: str) -> None:
    comparison = Comparison("p", "signal", (10, 10), (10, 10), widened("signal", (10, 10)), mean, spread, 10)
    assert comparison.verdict == verdict


def test_comparison_takes_mean_and_standard_error_over_seeds() -> None:
    point = ReferencePoint("p", table()[0].setting, {"signal": (1.0, 2.0)}, {"signal": (3.0, 4.0)})
    values = np.array([3.0, 4.0, 5.0])
    found = compare(point, "signal", values)
    assert (found.mean, found.standard_error) == pytest.approx((4.0, 1 / math.sqrt(3)))
    assert found.original == (1.0, 2.0)
    assert found.expected == (3.0, 4.0)


def test_every_amendment_has_its_reason() -> None:
    amended = [(p.name, q) for p in table() for q in p.amended]
    assert len(amended) == len(AMENDMENTS)
    for (name, _), reason in zip(amended, AMENDMENTS, strict=True):
        assert name in reason


def test_base_point_agrees_with_the_table() -> None:
    result = reference_points.run(reference_points.Config(seeds=4, points=("base",), test_samples=512))
    rows = comparisons(result)
    assert {row.quantity for row in rows} == set(table()[0].expected)
    assert [row for row in rows if not row.agrees] == []


def test_unknown_point_is_refused() -> None:
    with pytest.raises(UserError, match=r"points must be one of base, .*got 'bas'; did you mean base"):
        reference_points.Config(points=("bas",))
