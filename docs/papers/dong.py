"""Dong et al., ICLR 2022."""

from __future__ import annotations

from entry import UNVERIFIED, Comparison, Entry, Paper
from measured import cell, figure, stored

CHANCE, BOUNDARY = "random-labels-at-chance", "random-labels-digits"
STABLE, MEASURES = "gradient-stability-digits", "complexity-measures-digits"
CAUSES, CURED, CURED_CIFAR = "robust-overfitting-causes-digits", "overfitting-cures-digits", "overfitting-cures-cifar10"
RECALLED = "recalled only"
MAIN = {
    "PGD-AT": ("no cure", RECALLED, RECALLED),
    "PGD-AT + TE": ("temporal ensembling", "82.35 / 82.79 [S]", "50.59 / 49.62 [S]"),
    "TRADES": (None, "81.19 / 82.48 [S]", "49.03 / 46.80 [S]"),
    "TRADES + TE": (None, RECALLED, RECALLED),
}


def _chance() -> str:
    words = []
    for name in ("PGD-AT", "TRADES"):
        clean, robust = (
            cell(CHANCE, "random_labels", name, "random labels", kind, column="accuracy")
            for kind in ("clean", "robust")
        )
        words.append(f"{name} {clean} clean, {robust} perturbed")
    return "random labels: " + "; ".join(words)


def _boundary() -> str:
    largest = figure("random_labels_boundary").largest(stored(BOUNDARY))
    best = largest.median("seed").max("case")
    clean, perturbed = (float(best.sel(criterion=name)) for name in ("clean", "robust"))
    return (
        f"in the best of {largest.sizes['case']} cases 90 % of random labels are fitted up to a radius of "
        f"{clean:.2g} on "
        f"clean images, and of {perturbed:.2g} on perturbed ones"
    )


def _norms() -> str:
    module, result = figure("gradient_stability"), stored(STABLE)
    last = result["gradient_norm"].isel(epoch=-1).median("seed")
    return ", ".join(
        f"{module.OBJECTIVE_WORDS[name]} {float(last.sel(objective=name)):.2g}"
        for name in map(str, result["objective"].values)
    )


def _order() -> str:
    rows = {
        (epochs, order): cell(STABLE, "gradient_stability", epochs, order, column="verdict")
        for epochs in ("1", "5", "60")
        for order in ("PGD-AT before TRADES", "TRADES before standard training")
    }
    return "; ".join(f"epoch {epochs}, {order}: {verdict}" for (epochs, order), verdict in rows.items())


def _strong() -> str:
    found = figure("complexity_measures").verdicts(stored(MEASURES), "accuracy")
    strong = [name for name, verdict in found.items() if verdict == "interval"]
    tau = cell(MEASURES, "complexity_measures", "accuracy", "boundary proximity", column="pairs of one noise rate")
    return (
        f"{len(strong)} of {len(found)} measures are strong in both pools by their whole interval; the largest in "
        f"size, "
        f"boundary proximity, has a tau of {tau} within one noise rate"
    )


def _ranked() -> str:
    question = "{}: losses of all images are ranked alike (tau-b)"
    seed, other = (
        cell(CAUSES, "robust_overfitting_causes", question.format(pair), column="measured")
        for pair in ("other seed", "other network")
    )
    return f"tau-b {seed} between seeds, {other} between widths"


def _removed() -> str:
    words = "less is lost without the hardest 30 % of {} than without random ones"
    every, right = (
        cell(CAUSES, "robust_overfitting_causes", words.format(pool), column="difference")
        for pool in ("all images", "rightly labelled images")
    )
    return f"{every} points less than without random ones; among rightly labelled images {right}"


def _late() -> str:
    module, result = figure("robust_overfitting_causes"), stored(CAUSES)
    gained = module.words(module.late(result, "with drops"))
    return f"what the hard half gains after the first drop, minus what it has by then: {gained} points"


def _cures() -> str:
    return "; ".join(
        f"{data}: {cell(stem, 'overfitting_cures', 'no cure', column='points lost')} points lost without, "
        f"{cell(stem, 'overfitting_cures', 'temporal ensembling', column='points lost')} with TE"
        for data, stem in (("digits", CURED), ("CIFAR-10", CURED_CIFAR))
    )


def _main() -> list[list[str]]:
    rows = []
    for name, (cure, natural, strong) in MAIN.items():
        own = ["not stored"] * 4
        if cure:
            own = [
                cell(stem, "overfitting_cures", cure, column=column)
                for column in ("clean", "ensemble")
                for stem in (CURED_CIFAR, CURED)
            ]
        rows.append([name, natural, *own[:2], strong, *own[2:]])
    return rows


NEEDS_GPU = "Not reproduced: needs a GPU for a day or more; `cgro train --preset cifar10 --cure temporal-ensembling`."
PAPER = Paper(
    "Dong et al.: memorization in adversarial training",
    "ICLR 2022, [arXiv:2106.01606](https://arxiv.org/abs/2106.01606)",
    "The abstract, the authors' code, and some numbers of tables. Figures are described from recollection; no recalled "
    "number is printed.",
    (
        Entry(
            UNVERIFIED, "Training accuracy of PGD-AT and TRADES with true and with random labels, over epochs",
            "with random labels not all methods converge [S]: TRADES does, PGD-AT does not [R]",
            CHANCE, "random-labels-at-chance", _chance,
            "PGD-AT stays at chance as reported. TRADES fits clean images here, perturbed ones not at all.",
        ),
        Entry(
            UNVERIFIED, "Which changes of network, attack, optimizer, radius and objective let PGD-AT converge",
            "small radii and mixtures with clean loss do [R]",
            BOUNDARY, "random-labels-boundary-digits", _boundary,
            "As reported for clean images. On perturbed images no weight of the clean loss helps.",
        ),
        Entry(
            UNVERIFIED, "Norm of the gradient over epochs", "-",
            STABLE, "gradient-stability-digits", _norms,
            "At the end, random labels. Published numbers are not at hand.",
        ),
        Entry(
            UNVERIFIED, "Change of the gradient along the direction of descent: PGD-AT, TRADES, standard training",
            "the gradient of PGD-AT changes fastest, then TRADES, then standard training [R]",
            STABLE, "gradient-stability-digits", _order,
            "The order holds at the end and is reversed early in training; in absolute distance TRADES changes most.",
        ),
        Entry(
            UNVERIFIED, "Complexity measures against the robust generalization gap, with networks trained on "
            "random labels",
            "no recent measure explains the gap [S]",
            MEASURES, "complexity-measures-digits", _strong,
            "Agrees. Forms of the measures are ours.",
        ),
        Entry(
            UNVERIFIED, "Rank correlation of adversarial losses of samples between networks", "consistent ranks [R]",
            CAUSES, "robust-overfitting-causes-digits", _ranked, "Agrees; data with 40 % wrong labels.",
        ),
        Entry(
            UNVERIFIED, "When hard samples are fitted", "only after the learning rate drops [R]",
            CAUSES, "robust-overfitting-causes-digits", _late,
            "Not seen: the hard half is fitted before the drop as well, and without any drop.",
        ),
        Entry(
            UNVERIFIED, "Best minus final accuracy without the samples of highest loss", "it shrinks [R]",
            CAUSES, "robust-overfitting-causes-digits", _removed,
            "Agrees, because nearly all of the hardest images have wrong labels.",
        ),
        Entry(
            UNVERIFIED, "Learning curves with and without temporal ensembling (TE)",
            "TE mitigates robust overfitting [S]",
            CURED_CIFAR, "overfitting-cures-cifar10", _cures,
            "Agrees on digits with wrong labels; on 500 CIFAR-10 images each of three seeds loses less, undecided "
            "by their "
            "interval.",
        ),
        Entry(
            f"main table, {UNVERIFIED}", "CIFAR-10, ResNet-18: best and final accuracy of PGD-AT and TRADES with and "
            "without TE, under several attacks",
            "with TE 50.59 / 49.62 % under AutoAttack, best / final [S]",
            CURED_CIFAR, "overfitting-cures-cifar10",
            lambda: f"with TE {cell(CURED_CIFAR, 'overfitting_cures', 'temporal ensembling', column='ensemble')} "
            f"% under "
            "the strong ensemble",
            "Small loss from best to final in both. 500 images of five classes, a narrow network. Table below.",
        ),
        Entry(f"tables, {UNVERIFIED}", "The same for CIFAR-100 and SVHN", "-", difference=NEEDS_GPU),
    ),
    (
        Comparison(
            "Main table, best / final checkpoint in per cent. Published: CIFAR-10, ResNet-18, 8/255; an independent "
            "reproduction of PGD-AT + TE has 82.93 / 82.98 clean and 55.66 / 54.56 under PGD-10 [S]. Here: 500 "
            "images of "
            "five classes of CIFAR-10 (PreActResNet-18 of an eighth of the width), and 300 digits with 40 % of "
            "the labels "
            "redrawn; strong ensemble in place of AutoAttack.",
            (
                "method", "natural, published", "CIFAR-10 subset", "noisy digits", "AutoAttack, published",
                "CIFAR-10 subset", "noisy digits",
            ),
            _main,
        ),
    ),
)  # fmt: skip
