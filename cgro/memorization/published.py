"""The scores that Feldman & Zhang published for CIFAR-100, in the layout of their file [S].

For each class k the file has the indices of its training and test images and the influence of the former on the latter.
Influence across classes was not published, so the file cannot show harm from one class to another.
Source: Feldman & Zhang, NeurIPS 2020, arXiv:2008.03703.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cgro.base.errors import UserError


@dataclass(frozen=True)
class ClassInfluence:
    """Influence within a class."""

    train: Int[np.ndarray, " n"]
    """Indices of its training images."""
    test: Int[np.ndarray, " m"]
    """Indices of its test images."""
    influence: Float[np.ndarray, "n m"]
    """Of training image i, a row, on test image j, a column."""


@dataclass(frozen=True)
class PublishedScores:
    """Memorization of all training images, and influence within each class."""

    train_labels: Int[np.ndarray, " N"]
    test_labels: Int[np.ndarray, " M"]
    memorization: Float[np.ndarray, " N"]
    influence: Mapping[int, ClassInfluence]

    def pairs(self, influence: float = 0.15, memorization: float = 0.25) -> Int[np.ndarray, "p 2"]:
        """Training and test image of every pair whose influence, and whose training image's memorization, are at least
        these thresholds; the defaults are those of the authors' list of high-influence pairs [S]."""
        found = []
        for each in self.influence.values():
            i, j = np.nonzero((each.influence >= influence) & (self.memorization[each.train] >= memorization)[:, None])
            found.append(np.stack([each.train[i], each.test[j]], axis=1))
        return np.concatenate(found) if found else np.empty((0, 2), int)


def read_published_scores(path: str | os.PathLike[str]) -> PublishedScores:
    """Read a file of that layout: an .npz with tr_labels, tt_labels, tr_mem, and for each class k tr_classidx_k,
    tt_classidx_k and infl_matrix_class{k}.

    Raises: UserError for a file that cannot be read, lacks an array, or holds arrays that do not go together: labels in
    another order than the scores, indices of another class, scores outside of [-1, 1] or NaN.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} must be an .npz file of arrays: {error}") from error
    for name in ("tr_labels", "tt_labels", "tr_mem"):
        _require(path, name, arrays, arrays.get(name, np.empty(())).ndim == 1, "one-dimensional")
    train, test, scores = (arrays[name] for name in ("tr_labels", "tt_labels", "tr_mem"))
    for name in ("tr_labels", "tt_labels"):
        _require(path, name, arrays, arrays[name].dtype.kind in "iu", "integers")
    _require(path, "tr_mem", arrays, len(scores) == len(train), f"as many as tr_labels, {len(train):,}")
    _require(path, "tr_mem", arrays, _in_range(scores), "numbers in [-1, 1]")
    found = {}
    for k in np.unique(train).tolist():
        names = f"tr_classidx_{k}", f"tt_classidx_{k}", f"infl_matrix_class{k}"
        for name, labels in zip(names, (train, test), strict=False):
            own = arrays.get(name, np.empty(0))
            fits = own.ndim == 1 and own.dtype.kind in "iu" and bool(((own >= 0) & (own < len(labels))).all())
            _require(path, name, arrays, fits and bool((labels[own] == k).all()), f"indices of images of class {k}")
        own, other, matrix = (arrays.get(name, np.empty(0)) for name in names)
        _require(path, names[2], arrays, matrix.shape == (len(own), len(other)), f"of shape {(len(own), len(other))}")
        _require(path, names[2], arrays, _in_range(matrix), "numbers in [-1, 1]")
        found[k] = ClassInfluence(own, other, matrix)
    return PublishedScores(train, test, scores, found)


def _in_range(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" and bool((np.abs(values) <= 1).all())


def _require(path: object, name: str, arrays: Mapping[str, np.ndarray], holds: bool, words: str) -> None:
    if name not in arrays:
        raise UserError(f"{path} must have an array {name}: is it the file of Feldman & Zhang for CIFAR-100?")
    if not holds:
        given = arrays[name]
        raise UserError(f"{name} in {path} must be {words}, got {given.dtype} {given.shape}: is the file damaged?")
