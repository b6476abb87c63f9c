"""Noisy labels and tasks: shares, nesting, indices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cgro.base.errors import UserError
from cgro.data.labels import class_subset, noisy_labels

TRUE = torch.arange(20_000) % 10


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_the_share_of_right_labels_is_that_of_the_law(rate: float) -> None:
    """20,000 labels: five standard errors."""
    share = float((noisy_labels(TRUE, rate, 10, seed=3) == TRUE).double().mean())
    expected = 1 - rate + rate / 10
    assert abs(share - expected) <= 5 * (expected * (1 - expected) / len(TRUE)) ** 0.5


def test_random_labels_are_uniform_whatever_the_true_one() -> None:
    noisy = noisy_labels(torch.zeros(20_000, dtype=torch.int64), 1.0, 10, seed=0)
    counts = torch.bincount(noisy, minlength=10).double()
    # Chi-square with 9 degrees of freedom: above 40 with probability below 1e-5.
    assert float(((counts - 2000) ** 2 / 2000).sum()) < 40


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 5))
def test_noise_is_nested(a: float, b: float, seed: int) -> None:
    low, high = (noisy_labels(TRUE[:500], rate, 10, seed) for rate in (min(a, b), max(a, b)))
    changed = low != TRUE[:500]
    assert torch.equal(low[changed], high[changed])


def test_seeds_differ_and_repeat() -> None:
    assert torch.equal(noisy_labels(TRUE, 0.5, 10, 1), noisy_labels(TRUE, 0.5, 10, 1))
    assert not torch.equal(noisy_labels(TRUE, 0.5, 10, 1), noisy_labels(TRUE, 0.5, 10, 2))


def test_a_class_subset_keeps_indices_and_renumbers() -> None:
    indices, labels = class_subset(torch.tensor([3, 1, 0, 3, 7, 1]), [7, 3])
    assert indices.tolist() == [0, 3, 4]
    assert labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: noisy_labels(TRUE, 1.5, 10, 0),
            "noise rate must be in [0, 1], the share of labels drawn anew, got 1.5",
        ),
        (lambda: noisy_labels(TRUE, 0.5, 5, 0), "labels must be 0 to 4 with 5 classes, got 0 to 9"),
        (lambda: class_subset(TRUE, [3]), "classes must be two or more different ones, got [3"),
        (lambda: class_subset(TRUE, [3, 11]), "got 11, which has no samples"),
        (lambda: noisy_labels(TRUE / 2, 0.5, 10, 0), "labels must be integers (N,), got torch.float32 (20000,)"),
        (lambda: noisy_labels(TRUE[:, None], 0.5, 10, 0), "labels must be integers (N,), got torch.int64 (20000, 1)"),
        (lambda: noisy_labels(TRUE > 3, 0.5, 10, 0), "labels must be integers (N,), got torch.bool"),
        (lambda: noisy_labels(TRUE, "1", 10, 0), "noise rate must be a real number, got '1'"),
        (lambda: noisy_labels(TRUE, 0.5, 10.5, 0), "classes must be an integer of at least 1, got 10.5"),
        (lambda: class_subset(TRUE / 2, [1, 2]), "labels must be integers (N,), got torch.float32"),
        (lambda: class_subset(TRUE, [1, 2.5]), "class must be an integer, got 2.5"),
        (lambda: class_subset(TRUE[:0], [1, 2]), "got 1, which has no samples"),
        (lambda: class_subset(TRUE, [-1, 2]), "got -1, which has no samples"),
    ],
)
def test_bad_input_is_reported_in_one_line(call: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
