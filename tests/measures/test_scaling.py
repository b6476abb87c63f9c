"""Power laws: the input they refuse. The fit is tested where it is used."""

from __future__ import annotations

import numpy as np
import pytest

from cgro.base.errors import UserError
from cgro.measures.scaling import power_law

X = np.array([1.0, 2.0, 4.0, 8.0])


@pytest.mark.parametrize(
    ("x", "y", "confidence", "words"),
    [
        (X, np.array([1.0, 2.0, np.inf, 3.0]), 0.95, "positive and finite"),
        (X, np.array([1.0, 2.0, np.nan, 3.0]), 0.95, "positive and finite"),
        (X, X[:3], 0.95, "x and y must have one shape (n,), got (4,) and (3,)"),
        (X[:, None], X[:, None], 0.95, "x and y must have one shape (n,), got (4, 1)"),
        (X, np.array(["1", "2", "3", "4"]), 0.95, "y must be real numbers"),
        (X, X, 95.0, "confidence must be in (0, 1), got 95.0"),
        (X, X, np.nan, "confidence must be finite"),
    ],
)
def test_bad_input_is_reported_in_one_line(x: np.ndarray, y: np.ndarray, confidence: float, words: str) -> None:
    with pytest.raises(UserError) as caught:
        power_law(x, y, confidence)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
