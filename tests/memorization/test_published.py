"""The published scores are read as they were written; damaged files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cgro.base.errors import UserError
from cgro.memorization.published import read_published_scores


def layout() -> dict[str, Any]:
    """Two classes of three training and two test images each, in mixed order."""
    train, test = np.array([0, 1, 0, 1, 1, 0]), np.array([1, 0, 0, 1])
    file: dict[str, Any] = {"tr_labels": train, "tt_labels": test, "tr_mem": np.array([0.1, 0.3, 0.5, 0.25, 0.0, 0.9])}
    for k in (0, 1):
        file[f"tr_classidx_{k}"], file[f"tt_classidx_{k}"] = np.flatnonzero(train == k), np.flatnonzero(test == k)
        file[f"infl_matrix_class{k}"] = np.linspace(0.05, 0.3, 6).reshape(3, 2) * (1 - 2 * k)
    return file


def test_scores_and_pairs(tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", **layout())
    found = read_published_scores(tmp_path / "scores.npz")
    assert found.memorization.tolist() == [0.1, 0.3, 0.5, 0.25, 0.0, 0.9]
    assert found.influence[1].train.tolist() == [1, 3, 4]
    # Of class 0, influences from 0.15 on; image 0 with 0.1 is memorized too little.
    assert found.pairs(0.14).tolist() == [[2, 1], [2, 2], [5, 1], [5, 2]]
    assert found.pairs(0.14, 0.6).tolist() == [[5, 1], [5, 2]]
    assert found.pairs(0.5).shape == (0, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tr_mem": None}, "must have an array tr_mem"),
        ({"tr_mem": np.zeros(5)}, "tr_mem in .* must be as many as tr_labels, 6, got float64"),
        ({"tr_mem": np.full(6, np.nan)}, r"tr_mem in .* must be numbers in \[-1, 1\]"),
        ({"tr_labels": np.zeros(6)}, "tr_labels in .* must be integers, got float64"),
        ({"tr_labels": np.array([1, 0, 0, 1, 1, 0])}, "tr_classidx_0 in .* must be indices of images of class 0"),
        ({"tt_classidx_1": np.array([0, 4])}, "tt_classidx_1 in .* must be indices of images of class 1"),
        ({"infl_matrix_class1": np.zeros((2, 3))}, r"infl_matrix_class1 in .* must be of shape \(3, 2\)"),
        ({"infl_matrix_class1": None}, "must have an array infl_matrix_class1"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    file = {name: value for name, value in (layout() | change).items() if value is not None}
    np.savez(tmp_path / "scores.npz", **file)
    with pytest.raises(UserError, match=words):
        read_published_scores(tmp_path / "scores.npz")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "objects.npz", tr_labels=np.array([{}, {}]))
    for name in ("text.npz", "objects.npz", "missing.npz"):
        with pytest.raises(UserError, match=f"{name} must be an .npz file of arrays"):
            read_published_scores(tmp_path / name)
