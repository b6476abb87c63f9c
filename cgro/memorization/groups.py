"""Typical and atypical, mislabelled and harmful samples, told from chance by permutation.

A training sample is atypical if its memorization exceeds a threshold; a test sample is, if an atypical training sample
has an influence above a threshold on it. A training sample is harmful if its harm

    harm_i = sum_j max(0, -infl_ij)    over the typical test samples j

exceeds one. Xu et al. use 0.15 for both of the first [R], which means little below a thousand models; here every
threshold is what the largest value exceeds with a given chance if no sample has any effect. For that, the subsets are
given to other models: a permutation of the rows of the mask keeps how often a sample is used and how often it is
classified correctly, and destroys their relation. Sources: Xu et al., arXiv:2106.04794, for the groups; harm and
thresholds are ours [D], by the largest statistic of Westfall & Young, 1993.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from cgro.base.errors import AccuracyWarning
from cgro.base.validate import between, integer
from cgro.memorization.scores import influence_blocks, memorization

Statistic = Callable[[np.ndarray], np.ndarray]
"""The mask (models, samples) -> values (k,)."""


@dataclass(frozen=True)
class Groups:
    """Which samples belong together, and the thresholds that tell."""

    atypical: Bool[np.ndarray, " n"]
    """Training samples whose memorization exceeds chance."""
    memorization_threshold: float
    """That of chance, or the least that was asked for if it is larger."""
    atypical_test: Bool[np.ndarray, " m"]
    """Test samples on which an atypical training sample has an influence above chance."""
    influence_threshold: float
    harm: Float[np.ndarray, " n"]
    """Of each training sample to the typical test samples, in test samples; above 0 by noise alone."""
    harmful: Bool[np.ndarray, " n"]
    """Training samples whose harm exceeds chance."""
    harm_threshold: float


def groups(
    mask: Bool[np.ndarray, "t n"],
    correct: Bool[np.ndarray, "t n"],
    test_correct: Bool[np.ndarray, "t m"],
    *,
    chance: float = 0.05,
    least: float = 0.0,
    draws: int = 100,
    seed: int = 0,
) -> Groups:
    """Atypical training and test samples, and harmful training samples.

    mask, correct, test_correct: as in `memorization` and `influence`. chance: of the largest value without any effect
    to exceed its threshold; for test samples, of each without an effect on it to be called atypical. least:
    memorization that atypical samples must exceed in any case, 0 to 1. draws: permutations, at least 1 / chance.

    Samples without a score, and without atypical training samples all test samples, are in no group but the typical.
    Without test samples, with test_correct of shape (t, 0), nothing harms.

    Raises: UserError as `memorization` and `influence`, and for a chance or number of draws out of range.
    """
    between("chance", chance, 0, 0.5, open_low=True)
    between("least", least, 0, 1)
    integer("draws", draws, low=int(np.ceil(1 / chance)))
    mask, rng = np.asarray(mask, dtype=bool), np.random.default_rng(seed)
    permutations = [rng.permutation(len(mask)) for _ in range(draws)]

    def threshold(statistic: Statistic, *, each: bool = False) -> float:
        """What the largest value exceeds by chance, or each value on its own."""
        found = [_finite(statistic(mask[order])) for order in permutations]
        values = np.concatenate(found) if each else np.array([values.max(initial=-1.0) for values in found])
        return float(np.quantile(values, 1 - chance, method="higher"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        scores = memorization(mask, correct)
        of_memorization = max(least, threshold(lambda permuted: memorization(permuted, correct)))
        atypical = np.nan_to_num(scores, nan=-1.0) > of_memorization
        atypical_test, of_influence = np.zeros(np.shape(test_correct)[1], dtype=bool), np.nan
        if atypical.any() and len(atypical_test):

            def largest(each: np.ndarray) -> np.ndarray:
                return _of_blocks(each[:, atypical], test_correct, lambda block: np.nanmax(block, axis=1))

            of_influence = threshold(largest, each=True)
            atypical_test = largest(mask) > of_influence
        typical = np.asarray(test_correct)[:, ~atypical_test]
        harm, of_harm = np.zeros(mask.shape[1]), np.nan
        if typical.shape[1]:

            def harms(each: np.ndarray) -> np.ndarray:
                blocks = influence_blocks(each, typical)
                total: np.ndarray = np.sum([np.maximum(0, -block).sum(axis=0) for _, block in blocks], axis=0)
                return total

            harm, of_harm = harms(mask), threshold(harms)
    return Groups(atypical, of_memorization, atypical_test, of_influence, harm, np.nan_to_num(harm) > of_harm, of_harm)


def _of_blocks(mask: np.ndarray, correct: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.concatenate([of(block) for _, block in influence_blocks(mask, correct)])


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
