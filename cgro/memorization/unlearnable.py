"""Unlearnable images: those that all networks of a pool misclassify, or a given share of it, and what chance explains.

A pool of K networks is trained on the same images. S_U holds the images that at least ceil(share K) of them
misclassify. If errors were independent between networks that err at rates r_1, ..., r_K, the number of networks that
misclassify an image would be Poisson-binomial, and S_U would hold

    n P[at least ceil(share K) of K independent coins with these rates]

images by chance; for a share of 1 this is n r_1 ... r_K. Rates may differ between strata, such as classes: then the sum
over strata counts. Sources: Lee & Chung, ICML 2026, arXiv:2605.21999, for a share of 1 [N]; the null and the curve over
sizes of the pool are ours [D].
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from cgro.base.errors import UserError
from cgro.base.validate import between


def fewest_errors(networks: int, share: float) -> int:
    """How many of the networks must misclassify an unlearnable image: ceil(share K), at least 1.

    Raises: UserError for a share outside of (0, 1].
    """
    between("share", share, 0, 1, open_low=True)
    return max(1, math.ceil(share * networks - 1e-9))


def unlearnable(wrong: Bool[np.ndarray, "K n"], share: float = 1.0) -> Bool[np.ndarray, " n"]:
    """S_U: the images that at least this share of the networks misclassify. wrong: network k errs on image i.

        >>> unlearnable(np.array([[True, True, False], [True, False, False]])).tolist()
        [True, False, False]

    Raises: UserError for a share outside of (0, 1], and for another shape, no networks or no images.
    """
    wrong = _errors(wrong)
    return np.asarray(wrong.sum(axis=0) >= fewest_errors(len(wrong), share))


def chance_of_errors(rates: Float[np.ndarray, " K"], least: int) -> float:
    """P[at least `least` of K networks err on an image], if each errs at its rate, independently of the others.

    rates: in [0, 1]. The law is Poisson-binomial; all its terms are positive, so that no digits cancel.
    """
    law = np.ones(1)
    for rate in np.asarray(rates, dtype=float):
        law = np.append(law * (1 - rate), 0.0) + np.append(0.0, law * rate)
    return float(law[least:].sum())


def expected_by_chance(
    wrong: Bool[np.ndarray, "K n"], share: float = 1.0, strata: Int[np.ndarray, " n"] | None = None
) -> float:
    """Expected number of images in S_U if each network made its errors on random images, of each stratum as many.

    strata: a number for each image, such as its class; None: all in one.

    Raises: UserError as `unlearnable`, and for strata of another number of images.
    """
    wrong = _errors(wrong)
    least = fewest_errors(len(wrong), share)
    return sum(part.shape[1] * chance_of_errors(part.mean(axis=1), least) for part in _parts(wrong, strata))


def missed_by_all(wrong: Bool[np.ndarray, "K n"]) -> Float[np.ndarray, " K"]:
    """Number of images that all of j networks misclassify, j = 1, ..., K: the mean over all subsets of the pool.

        sum_i C(w_i, j) / C(K, j)    with w_i errors on image i

    The first is the mean number of errors of a network, the last is the size of S_U for a share of 1. The curve shows
    whether the pool is large enough: while it still falls, more networks would leave fewer images.

    Raises: UserError as `unlearnable`.
    """
    wrong = _errors(wrong)
    count, sizes = len(wrong), np.arange(len(wrong))
    # C(w, j) / C(K, j) is the product of (w - t) / (K - t) over t < j.
    factors = np.clip(wrong.sum(axis=0)[:, None] - sizes, 0, None) / (count - sizes)
    return np.asarray(np.cumprod(factors, axis=1).sum(axis=0))


def missed_by_all_by_chance(
    wrong: Bool[np.ndarray, "K n"], strata: Int[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, " K"]:
    """The expected curve of `missed_by_all` under the null of `expected_by_chance`.

    The mean of the products of j of K rates, over all subsets, by a recursion over networks that adds positive terms.

    Raises: UserError as `expected_by_chance`.
    """
    wrong = _errors(wrong)
    found = np.zeros(len(wrong))
    for part in _parts(wrong, strata):
        means = np.zeros(len(wrong) + 1)
        means[0] = 1.0
        for k, rate in enumerate(part.mean(axis=1), 1):
            j = np.arange(1, k + 1)
            means[1 : k + 1] = ((k - j) * means[1 : k + 1] + j * rate * means[:k]) / k
        found += part.shape[1] * means[1:]
    return found


def _errors(wrong: Bool[np.ndarray, "K n"]) -> Bool[np.ndarray, "K n"]:
    wrong = np.asarray(wrong)
    if wrong.ndim != 2 or not wrong.size or wrong.dtype != bool:
        raise UserError(
            f"wrong must be truth values (networks, images), 1 or more of both, got {wrong.dtype} {wrong.shape}"
        )
    return wrong


def _parts(wrong: np.ndarray, strata: np.ndarray | None) -> list[np.ndarray]:
    if strata is None:
        return [wrong]
    if np.shape(strata) != wrong.shape[1:]:
        raise UserError(f"strata must be one for each of {wrong.shape[1]} images, got shape {np.shape(strata)}")
    return [wrong[:, strata == each] for each in np.unique(strata)]
