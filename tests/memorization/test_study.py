"""Ends of a ranking, and scores without test images."""

from __future__ import annotations

import numpy as np
import pytest

from cgro.memorization.study import extremes


@pytest.mark.parametrize(
    ("scores", "count", "most", "least"),
    [
        ([0.1, 0.5, -0.2, 0.3], 2, [1, 3], [2, 0]),
        ([0.1, 0.5, -0.2, 0.3], 9, [1, 3], [2, 0]),
        ([np.nan, 0.5, np.nan, 0.3, 0.4], 1, [1], [3]),
        ([0.5, 0.5, 0.5, 0.5], 1, [0], [3]),
        ([np.nan, np.nan], 1, [], []),
    ],
)
def test_extremes_have_scores_and_do_not_overlap(
    scores: list[float], count: int, most: list[int], least: list[int]
) -> None:
    top, bottom = extremes(np.array(scores), count)
    assert (top.tolist(), bottom.tolist()) == (most, least)
