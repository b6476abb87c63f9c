"""Memorization and influence scores by subsampling, with their standard errors and their reliability.

    mem_i = P[h(x_i) = y_i | i in the training subset] - P[h(x_i) = y_i | i not in it]
    infl_ij: the same difference on test point j

are estimated from t models, each trained on a random subset of ratio r. Correct may mean: of the clean image, or of the
perturbed one, which gives *robust* memorization. Sources: Feldman, STOC 2020, arXiv:1906.05271, and Feldman & Zhang,
NeurIPS 2020, arXiv:2008.03703, for the scores [S]; Agresti & Caffo, "Simple and effective confidence intervals for
proportions and differences of proportions result from adding two successes and two failures", The American Statistician
2000, for their errors; robust memorization is ours [D].
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy  # its parts are imported when first used
from jaxtyping import Bool, Float

from cgro.base.arrays import as_array
from cgro.base.errors import AccuracyWarning, UserError
from cgro.base.validate import above, between, integer


def memorization(mask: Bool[np.ndarray, "t n"], correct: Bool[np.ndarray, "t n"]) -> Float[np.ndarray, " n"]:
    """mem_i: accuracy on sample i of the models trained with it, minus that of the models trained without it.

    NaN if there are no models of either kind. mask: whether model k was trained on sample i; correct: whether it
    classifies sample i correctly. Both may be bool, or 0 and 1 as integers or floats.

        >>> import cgro
        >>> trained_on = [[1, 0], [1, 1], [0, 1], [0, 0]]  # four models, two samples
        >>> correct = [[1, 1], [1, 1], [0, 1], [0, 1]]
        >>> cgro.memorization_scores(trained_on, correct).tolist()
        [1.0, 0.0]

    Raises: UserError for other values and types, different shapes, and no models or samples.
    Warns: AccuracyWarning if all models or none were trained on a sample.
    """
    mask, correct = _pair(mask, correct)
    inside, outside = _counts(mask)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (mask & correct).sum(axis=0) / inside - (~mask & correct).sum(axis=0) / outside


def standard_errors(mask: Bool[np.ndarray, "t n"], correct: Bool[np.ndarray, "t n"]) -> Float[np.ndarray, " n"]:
    """Standard error of each memorization score; never 0, and NaN where the score is.

        sqrt(p (1 - p) / (a + 2) + q (1 - q) / (b + 2)),   p = (correct with + 1) / (a + 2), q = (correct without + 1) /
        (b + 2)

    of a models with the sample and b without it: Agresti & Caffo add a success and a failure to each. The plain
    estimate would be 0 for a sample that all models classify correctly. Errors and warnings are those of
    `memorization`.
    """
    p, q, inside, outside = _adjusted(mask, correct)
    return np.sqrt(p * (1 - p) / (inside + 2) + q * (1 - q) / (outside + 2))


def interval(
    mask: Bool[np.ndarray, "t n"], correct: Bool[np.ndarray, "t n"], confidence: float = 0.95
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Confidence interval of each memorization score by Agresti & Caffo, within [-1, 1]; NaN where the score is.

    Raises: UserError as `memorization`, and for a confidence outside of (0, 1).
    """
    between("confidence", confidence, 0, 1, open_low=True, open_high=True)
    p, q, inside, outside = _adjusted(mask, correct)
    reach = scipy.special.ndtri((1 + confidence) / 2) * np.sqrt(
        p * (1 - p) / (inside + 2) + q * (1 - q) / (outside + 2)
    )
    return np.clip(p - q - reach, -1, 1), np.clip(p - q + reach, -1, 1)


def influence(mask: Bool[np.ndarray, "t n"], correct: Bool[np.ndarray, "t m"]) -> Float[np.ndarray, "m n"]:
    """infl_ij at row j, column i: accuracy on test point j with training sample i, minus that without it.

        >>> import cgro
        >>> trained_on = [[1, 0], [1, 1], [0, 1], [0, 0]]  # four models, two training samples
        >>> correct = [[1], [1], [0], [0]]  # one test point
        >>> cgro.influence_scores(trained_on, correct).tolist()
        [[1.0, 0.0]]

    mask and correct are as in `memorization`, with correct for test points; so are NaN, errors and warnings. Also
    raises UserError for different numbers of models. Too large for memory? See `influence_blocks`.
    """
    mask, correct = _same_models(mask, correct)
    found = np.empty((correct.shape[1], mask.shape[1]))
    for rows, block in _blocks(mask, correct, _counts(mask), 1e9):
        found[rows] = block
    return found


def influence_blocks(
    mask: Bool[np.ndarray, "t n"], correct: Bool[np.ndarray, "t m"], memory: float = 1e9
) -> Iterator[tuple[slice, Float[np.ndarray, "b n"]]]:
    """The rows of the influence matrix, a block of test points at a time, in float64.

    A block takes at most about `memory` bytes, at least one row; besides it there are only the mask in float32 and the
    arguments. 2,000 models, 50,000 samples and 10,000 test points thus take 2 GB in all, where the whole matrix takes
    4 GB alone. Errors and warnings are those of `influence`, and UserError for no memory.
    """
    mask, correct = _same_models(mask, correct)
    above("memory", memory, 0)
    return _blocks(mask, correct, _counts(mask), memory)


def _blocks(
    mask: np.ndarray, correct: np.ndarray, counts: tuple[np.ndarray, np.ndarray], memory: float
) -> Iterator[tuple[slice, np.ndarray]]:
    inside, outside = (each.astype(float) for each in counts)
    # Sums of ones are exact in float32 up to 2^24, whatever their order.
    M = mask.astype(np.float32 if len(mask) < 2**24 else np.float64)
    rows = max(1, int(memory / (40 * mask.shape[1])))
    for first in range(0, correct.shape[1], rows):
        C = correct[:, first : first + rows].astype(M.dtype)
        with_i = (C.T @ M).astype(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            yield slice(first, first + C.shape[1]), with_i / inside - (C.sum(axis=0)[:, None] - with_i) / outside


class Reliability(NamedTuple):
    """How well the scores of two halves of the models agree."""

    pearson: float
    """Correlation between the scores of two random halves, mean over the splits."""
    spearman: float
    """Rank correlation, likewise."""
    full: float
    """Pearson correlation to be expected between two sets of all models: Spearman & Brown's 2 r / (1 + r)."""
    samples: int
    """Samples with a score in both halves, in the split with the fewest."""


def split_half(
    mask: Bool[np.ndarray, "t n"], correct: Bool[np.ndarray, "t n"], *, splits: int = 20, seed: int = 0
) -> Reliability:
    """Split-half reliability of memorization scores; NaN if all scores of some half are equal.

    Raises: UserError as `memorization`, for fewer than 4 models, and fewer than 3 samples with a score in both halves.
    """
    mask, correct = _truths("mask", mask), _truths("correct", correct)
    integer("splits", splits, low=1)
    if mask.shape != correct.shape:
        raise UserError(f"mask and correct must have one shape (models, samples), got {mask.shape} and {correct.shape}")
    integer("models", len(mask), low=4)
    generator, found, fewest = np.random.default_rng(seed), [], mask.shape[1]
    for _ in range(splits):
        order = generator.permutation(len(mask))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            scores = np.array([memorization(mask[half], correct[half]) for half in np.array_split(order, 2)])
        scores = scores[:, np.isfinite(scores).all(axis=0)]
        fewest = min(fewest, scores.shape[1])
        if fewest < 3:
            raise UserError(f"{fewest} samples have a score in both halves of {len(mask)} models: train more models")
        found.append([_correlation(*scores), _correlation(*scipy.stats.rankdata(scores, axis=1))])
    pearson, spearman = np.mean(found, axis=0).tolist()
    return Reliability(pearson, spearman, 2 * pearson / (1 + pearson), fewest)


def _correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Pearson's; NaN if one of the two is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _adjusted(mask: Any, correct: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Accuracies with and without each sample after one more success and failure, and the numbers of models."""
    mask, correct = _pair(mask, correct)
    inside, outside = (np.where(each > 0, each, np.nan) for each in _counts(mask))
    return (
        ((mask & correct).sum(axis=0) + 1) / (inside + 2),
        ((~mask & correct).sum(axis=0) + 1) / (outside + 2),
        inside,
        outside,
    )


def _pair(mask: Any, correct: Any) -> tuple[Bool[np.ndarray, "t n"], Bool[np.ndarray, "t n"]]:
    """Both as bool. Raises: UserError for different shapes, and as `_truths`."""
    mask, correct = _truths("mask", mask), _truths("correct", correct)
    if mask.shape != correct.shape:
        raise UserError(f"mask and correct must have one shape (models, samples), got {mask.shape} and {correct.shape}")
    return mask, correct


def _same_models(mask: Any, correct: Any) -> tuple[Bool[np.ndarray, "t n"], Bool[np.ndarray, "t m"]]:
    """Both as bool. Raises: UserError for different numbers of models, and as `_truths`."""
    mask, correct = _truths("mask", mask), _truths("correct", correct)
    if len(mask) != len(correct):
        raise UserError(f"mask and correct must be of the same models, got {len(mask)} and {len(correct)}")
    return mask, correct


def _truths(name: str, values: Any) -> Bool[np.ndarray, "t k"]:
    """The values as bool, if each is true or false, 0 or 1; `~` does not negate integers."""
    given = as_array(name, values)
    if given.dtype.kind not in "biuf":
        raise UserError(f"{name} must hold true and false, or 0 and 1 for each model, got {given.dtype}; convert it")
    odd = given[(given != 0) & (given != 1)] if given.dtype != bool else given[:0]
    if odd.size:
        raise UserError(f"{name} must hold true and false, or 0 and 1 for each model, got {odd.flat[0]}; convert it")
    if given.ndim != 2 or not given.size:
        raise UserError(f"{name} must have shape (models, samples), 1 or more of both, got {given.shape}")
    return given.astype(bool)


def _counts(mask: Bool[np.ndarray, "t n"]) -> tuple[np.ndarray, np.ndarray]:
    """Number of models trained with each sample and without it, both (n,)."""
    inside, outside = mask.sum(axis=0), (~mask).sum(axis=0)
    alone = np.flatnonzero((inside == 0) | (outside == 0))
    if len(alone):
        warnings.warn(
            f"{len(alone)} of {mask.shape[1]} samples, the first is {alone[0]}, were in the training subset of all "
            f"{len(mask)} models or of none: their scores are NaN; train more models",
            AccuracyWarning,
            stacklevel=3,
        )
    return inside, outside
