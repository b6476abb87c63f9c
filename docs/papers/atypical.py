"""Feldman & Zhang, NeurIPS 2020; Xu et al., 2021; Zhang, Hong & Zhao, AAAI 2023."""

from __future__ import annotations

from entry import UNVERIFIED, Comparison, Entry, Paper
from measured import cell, figure, stored

SCORES, SCORES_MNIST = "memorization-scores-digits", "memorization-scores-mnist"
BROUGHT, HARM, BAT = "atypical-accuracy-digits", "atypical-harm-digits", "bat-digits"


def _scores() -> str:
    wrong, unchanged = (
        cell(SCORES, "memorization_scores", "clean", kind, column="memorization")
        for kind in ("mislabelled", "unchanged")
    )
    return f"mean memorization {wrong} of mislabelled images, {unchanged} of unchanged ones"


def _influence() -> str:
    result = stored(SCORES)
    helped = result["atypical_test"].sel(criterion="clean").values
    limit = float(result["influence_threshold"].sel(criterion="clean"))
    return f"{int(helped.sum())} of {helped.size} test images have an influence above {limit:.2f}, what chance gives"


def _removal() -> str:
    row = ("standard training", "clean", "atypical")
    gain, same = (cell(BROUGHT, "atypical_accuracy", *row, column=name) for name in ("gain", "gain at equal size"))
    return f"atypical training images bring atypical test images {gain} points of clean accuracy, {same} at equal size"


def _brought() -> str:
    clean, robust = (
        cell(BROUGHT, "atypical_accuracy", "PGD-AT", criterion, "atypical", column="gain")
        for criterion in ("clean", "perturbed")
    )
    return f"PGD-AT on atypical test images: {clean} points clean, {robust} perturbed"


def _harm() -> str:
    return "; ".join(
        f"{training}: {cell(HARM, 'atypical_harm', training, 'atypical', 'clean', column='adding the group')} clean, "
        f"{cell(HARM, 'atypical_harm', training, 'atypical', 'perturbed', column='adding the group')} perturbed"
        for training in ("PGD-AT", "standard training")
    )


def _bat() -> str:
    clean = cell(BAT, "bat", "clean: BAT above PGD-AT", "all", "last", column="by seed")
    strong = cell(BAT, "bat", "ensemble: BAT no worse than PGD-AT", "all", "last", column="by seed")
    return f"BAT minus PGD-AT at the last checkpoint: {clean} points clean, {strong} under the ensemble"


def _methods() -> list[list[str]]:
    module, result = figure("bat"), stored(BAT)
    rows = []
    for name in map(str, result["training"].values):
        cells = [
            " / ".join(
                f"{module.correct(result, name, checkpoint, attack).mean():.1f}" for checkpoint in ("best", "last")
            )
            for attack in ("clean", "PGD-20", "ensemble")
        ]
        rows.append([module.WORDS[name], "not at hand", *cells])
    return rows


FELDMAN = Paper(
    "Feldman & Zhang: what networks memorize",
    "NeurIPS 2020, [arXiv:2008.03703](https://arxiv.org/abs/2008.03703)",
    "Definitions, estimator and layout of the published scores [S]; the figures are described from recollection.",
    (
        Entry(
            UNVERIFIED, "Distribution of memorization values over training images (MNIST, CIFAR-100, ImageNet)",
            "-", SCORES, "memorization-scores-digits", _scores,
            "300 PGD-AT models on digits with tampered images in place of thousands of standard ones; "
            "[MNIST](../results/published/figures/memorization-scores-mnist.png), too.",
        ),
        Entry(
            UNVERIFIED, "Pairs of training and test images of high influence",
            "pairs with influence of at least 0.15 and memorization of at least 0.25 were released [S]",
            SCORES, "memorization-scores-digits", _influence,
            "Counted against what chance gives with so many models, not at 0.15; pictures of pairs are not stored, the "
            "[notebook](notebooks/own_scores.ipynb) shows some.",
        ),
        Entry(
            UNVERIFIED, "Test accuracy without the memorized training images, against random removal", "-",
            BROUGHT, "atypical-accuracy-digits", _removal,
            "Atypical by construction (rotated or blended), not by score.",
        ),
    ),
)  # fmt: skip

XU = Paper(
    "Xu et al.: memorization in adversarial training, BAT",
    "2021, [arXiv:2106.04794](https://arxiv.org/abs/2106.04794)",
    "The abstract. The tables were not at hand, so no published number of BAT is printed; its formulas are "
    "recalled [R].",
    (
        Entry(
            UNVERIFIED, "Clean and robust accuracy of typical and atypical images over epochs (CIFAR-100)",
            "memorizing atypical samples helps clean accuracy on atypical ones, hardly their robustness [S]",
            BROUGHT, "atypical-accuracy-digits", _brought,
            "Clean accuracy gains more, as reported; but robust accuracy gains, too, for rotated digits, not for "
            "blended "
            "ones.",
        ),
        Entry(
            UNVERIFIED, "Accuracy on typical test images by the share of atypical training images",
            "memorizing certain atypical samples hurts typical ones [S]; under adversarial training only [R]",
            HARM, "atypical-harm-digits", _harm,
            "No harm that six seeds could tell from none. Mislabelled images do harm, under both trainings.",
        ),
        Entry(
            f"result tables, {UNVERIFIED}", "BAT, PGD-AT, TRADES, MART, GAIRAT on CIFAR-100",
            "a better trade-off of clean accuracy and robustness [S]; numbers not at hand",
            BAT, "bat-digits", _bat,
            "Robustness gains, the gain of clean accuracy is undecided; TRADES and MART are more robust. Table below.",
        ),
        Entry(
            f"result tables, {UNVERIFIED}", "The same on Tiny ImageNet", "-",
            difference="Not reproduced: needs GPUs, and the data set is not in the library.",
        ),
    ),
    (
        Comparison(
            "BAT and others, best / last checkpoint in per cent, means over six seeds: 500 digits, 30 % of them "
            "tampered "
            "with. Published numbers are for CIFAR-100 and were not at hand.",
            ("method", "published", "clean", "PGD-20", "strong ensemble"), _methods,
        ),
    ),
)  # fmt: skip

ZHANG = Paper(
    "Zhang, Hong & Zhao: memorization weights",
    "AAAI 2023, [doi:10.1609/aaai.v37i9.26329](https://doi.org/10.1609/aaai.v37i9.26329)",
    "The abstract only: weights from a memory bank of self-supervised prototypes improve robust and clean accuracy.",
    (
        Entry(
            f"result tables, {UNVERIFIED}", "Accuracy with and without memorization weights", "-",
            difference="Not reproduced: the formulas were not at hand, and the self-supervised memory bank is not "
            "in the "
            "library. `cgro train --cure reweighting` weights images by memorization scores instead; that rule is "
            "ours.",
        ),
    ),
)  # fmt: skip
