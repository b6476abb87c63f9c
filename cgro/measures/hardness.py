"""Hard training images: those with a large adversarial loss. How alike two runs rank them, and which to leave out.

Dong et al. explain robust overfitting by memorization of hard images, whose one-hot labels do not suit perturbed
images: different networks rank the losses alike, and without the hardest images less is lost after the best epoch.
Source: "Exploring memorization in adversarial training", ICLR 2022, arXiv:2106.01606 [R]; the definitions here are ours
[D].
"""

from __future__ import annotations

import numpy as np
import scipy  # its parts are imported when first used
from jaxtyping import Bool, Float, Int

from cgro.base.errors import UserError
from cgro.base.randomness import Stream
from cgro.base.validate import between


def rank_agreement(losses: Float[np.ndarray, " n"], others: Float[np.ndarray, " n"]) -> float:
    """Kendall's tau-b between the losses of the same images in two runs: 1 for one order, -1 for opposite orders.

    NaN if all losses of one run are equal. Raises: UserError for fewer than two images, or different numbers of them.
    """
    if losses.ndim != 1 or losses.shape != others.shape or len(losses) < 2:
        raise UserError(f"losses must be of the same two or more images, got {losses.shape} and {others.shape}")
    return float(scipy.stats.kendalltau(losses, others, variant="b").statistic)


def detection(losses: Float[np.ndarray, " n"], wrong: Bool[np.ndarray, " n"]) -> float:
    """Area under the ROC curve of detecting wrong labels by their loss.

    This is P[loss of a wrongly labelled image > loss of a rightly labelled one], with one half for equal losses. NaN
    if there are only right labels, or only wrong ones.
    """
    bad, good = int(wrong.sum()), int((~wrong).sum())
    if not bad or not good:
        return float("nan")
    ranks = scipy.stats.rankdata(losses)
    return float((ranks[wrong].sum() - bad * (bad + 1) / 2) / (bad * good))


def detection_interval(
    losses: Float[np.ndarray, " n"], wrong: Bool[np.ndarray, " n"], confidence: float = 0.95
) -> tuple[float, float, float]:
    """The area of `detection` and its interval, within [0, 1], for independent images; NaN where the area is.

    The interval is that of the logit of the area with the variance s_w / n_w + s_r / n_r of DeLong, DeLong &
    Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating characteristic curves",
    Biometrics 1988: s_w is the variance over wrongly labelled images of the share of rightly labelled ones with smaller
    losses, s_r the other way round. An area of 0 or 1, or one with a single image of a kind, has the interval [0, 1].

    Raises: UserError for a confidence outside of (0, 1).
    """
    between("confidence", confidence, 0, 1, open_low=True, open_high=True)
    area, bad, good = detection(losses, wrong), int(wrong.sum()), int((~wrong).sum())
    if np.isnan(area):
        return np.nan, np.nan, np.nan
    if min(bad, good) < 2 or not 0 < area < 1:
        return area, 0.0, 1.0
    ranks = scipy.stats.rankdata(losses)
    above = (ranks[wrong] - scipy.stats.rankdata(losses[wrong])) / good
    below = 1 - (ranks[~wrong] - scipy.stats.rankdata(losses[~wrong])) / bad
    error = np.sqrt(above.var(ddof=1) / bad + below.var(ddof=1) / good)
    reach = scipy.special.ndtri((1 + confidence) / 2) * error / (area * (1 - area))
    ends = scipy.special.expit(scipy.special.logit(area) + np.array([-reach, reach]))
    return area, float(ends[0]), float(ends[1])


def hardest(losses: Float[np.ndarray, " n"], count: int, among: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """The `count` images with the largest losses among those given; of equal losses, the first.

    Raises: UserError if they are not that many.
    """
    candidates = np.flatnonzero(among)
    if not 0 <= count <= len(candidates):
        raise UserError(f"count must be 0 to {len(candidates)}, the images to choose from, got {count}")
    chosen = np.zeros(len(losses), dtype=bool)
    chosen[candidates[np.argsort(-losses[candidates], kind="stable")[:count]]] = True
    return chosen


def random_like(
    chosen: Bool[np.ndarray, " n"], labels: Int[np.ndarray, " n"], among: Bool[np.ndarray, " n"], stream: Stream
) -> Bool[np.ndarray, " n"]:
    """Random images among those given, of each class as many as are chosen.

    Of one stream, those like fewer chosen images are among those like more.
    """
    order = np.random.default_rng(stream).permutation(len(labels))
    drawn = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels[chosen]):
        candidates = order[(labels[order] == label) & among[order]]
        drawn[candidates[: int((chosen & (labels == label)).sum())]] = True
    return drawn
