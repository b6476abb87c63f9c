"""Lee & Chung, ICML 2026; Rice, Wong & Kolter, ICML 2020."""

from __future__ import annotations

import numpy as np
from entry import UNVERIFIED, Comparison, Entry, Paper
from measured import cell, figure, percent, scale, stored

SYNTHETIC, DISTILLED = "unlearnable-code-defaults", "distillation-code-defaults"
IMAGES, IMAGES_CIFAR = "unlearnable-images-digits", "unlearnable-images-cifar10"
OVERFITTED, CURED = "robust-overfitting-cifar10", "overfitting-cures-digits"


def _size(stem: str) -> str:
    result = stored(stem)
    mask = result["unlearnable"].values
    return f"{int(mask.sum())} of {mask.size} ({100 * mask.mean():.0f} %), missed by all of {result.attrs['networks']}"


def _teacher(words: str) -> str:
    rows = {p: cell(SYNTHETIC, "unlearnable", words, p, column="collapsed") for p in ("0", "0.05", "0.1")}
    return "collapsed runs: " + ", ".join(f"{runs} at p_un = {p}" for p, runs in rows.items())


def _entropy() -> str:
    ends = {
        margin: (
            cell(DISTILLED, "distillation", f"teacher, margin {margin}", column="entropy, unlearnable"),
            cell(DISTILLED, "distillation", f"teacher, margin {margin}", column="robust test"),
        )
        for margin in ("10", "2", "0")
    }
    return "; ".join(f"{entropy} nat: {robust} % robust test" for entropy, robust in ends.values())


def _without() -> str:
    asked = ("without S_U minus without random", "ensemble", "points lost")
    words = [
        f"{data} {cell(stem, 'unlearnable_images', *asked, column='by seed')}"
        for data, stem in (("digits", IMAGES), ("CIFAR-10", IMAGES_CIFAR))
    ]
    return f"points lost without S_U, minus without random images: {'; '.join(words)}"


def _sets() -> list[list[str]]:
    published = {"MobileNet-V2": "8,979", "ResNet-18": "5,217", "WRN-28-10": "1,697", "WRN-34-10": "1,559"}
    rows = [
        [f"CIFAR-10, {name}", f"{count} of 50,000 ({100 * int(count.replace(',', '')) / 50_000:.0f} %)", "-"]
        for name, count in published.items()
    ]
    return rows + [[scale(stem), "-", _size(stem)] for stem in (IMAGES, IMAGES_CIFAR)]


def _ends() -> list[list[str]]:
    theirs = {
        ("adversarial training", "0"): "100 / 100 (3 runs)",
        ("adversarial training", "0.05"): "99 / 43, 98 / 93",
        ("adversarial training", "0.1"): "96 / 28, 95 / 2, 95 / 17",
        ("confident teacher", "0.1"): "97 / 22",
        ("ignorant teacher", "0.1"): "98 / 94",
    }
    return [
        [training, p, code, *(cell(SYNTHETIC, "unlearnable", training, p, column=column) for column in (
            "clean test", "robust test", "range", "collapsed"))]
        for (training, p), code in theirs.items()
    ]  # fmt: skip


LEE = Paper(
    "Lee & Chung: why robust teachers fail",
    "ICML 2026, [arXiv:2605.21999](https://arxiv.org/abs/2605.21999)",
    "The abstract, the authors' code, and notes about the paper.",
    (
        Entry(
            "Table 1 (so named in the authors' code [S])",
            "Size of the robustly unlearnable set S_U on CIFAR-10, by network, 60 models each",
            "8,979 of 50,000 for MobileNet-V2 to 1,559 for WRN-34-10 [N]",
            IMAGES, "unlearnable-images-scores-digits", lambda: _size(IMAGES),
            "Found here, too, but mostly as wrong labels. That larger networks have fewer was not measured. Table "
            "below.",
        ),
        Entry(
            f"synthetic figure, adversarial training, {UNVERIFIED}",
            "Robust accuracy over steps for p_un from 0 to 20 % (settings of appendix A.5 [S])", "-",
            SYNTHETIC, "unlearnable-code-defaults", lambda: _teacher("adversarial training"),
            "Settings of their code. Runs differ widely, so that single curves say little. p_un up to 10 %. Table "
            "below.",
        ),
        Entry(
            f"synthetic figure, bad teacher, {UNVERIFIED}", "The same with a teacher confident of S_U",
            "acts as adversarial training [N]",
            SYNTHETIC, "unlearnable-code-defaults", lambda: _teacher("confident teacher"), "Agrees.",
        ),
        Entry(
            f"synthetic figure, good teacher, {UNVERIFIED}", "The same with a teacher ignorant of S_U",
            "the student ends robust [N]",
            SYNTHETIC, "unlearnable-code-defaults", lambda: _teacher("ignorant teacher"), "Agrees.",
        ),
        Entry(
            UNVERIFIED, "Robust overfitting with and without S_U (images)", "S_U drives robust overfitting [S]",
            IMAGES, "unlearnable-images-digits", _without,
            "On digits S_U causes most of it, but S_U are wrong labels there; on "
            "[CIFAR-10](../results/published/figures/unlearnable-images-cifar10.png) it is neither shown nor excluded.",
        ),
        Entry(
            UNVERIFIED, "Teacher's entropy on S_U against the student's robust accuracy",
            "entropy is a strong indicator [S]",
            DISTILLED, "distillation-code-defaults", _entropy,
            "Agrees for teachers, on synthetic data; networks that teach themselves do not lie on that curve.",
        ),
        Entry(
            UNVERIFIED, "Students of published robust teachers (CIFAR-10 and -100, Tiny ImageNet), best and last", "-",
            difference="Not reproduced: needs GPUs and the weights of the teachers.",
        ),
        Entry(
            UNVERIFIED, "Inverted features of unlearnable samples", "-",
            difference="Not reproduced: feature inversion is not in the library.",
        ),
    ),
    (
        Comparison(
            "Table 1, size of S_U. Published: [N].", ("training images and network", "published", "here"), _sets,
        ),
        Comparison(
            "Synthetic data, end of training in per cent. Their code: single runs of the authors' unchanged "
            "program, clean "
            "/ robust test [M]. Here: medians and range of 24 seeds.",
            ("training", "p_un", "their code", "clean test", "robust test", "range", "collapsed"), _ends,
        ),
    ),
)  # fmt: skip

RICE_PUBLISHED = (
    ("CIFAR-10, l_inf, PreActResNet-18", "46.5", "53.9"),
    ("CIFAR-10, l_inf, WRN-34-10", "43.2", "51.4"),
    ("CIFAR-10, l_2", "28.4", "31.1"),
    ("CIFAR-100, l_inf", "71.9", "78.6"),
    ("CIFAR-100, l_2", "56.9", "62.5"),
    ("SVHN, l_inf", "39.0", "45.6"),
)
"""Robust test error, best and final checkpoint, from the authors' logs [S]."""


def _errors() -> tuple[float, float]:
    best, last = figure("robust_overfitting").best_and_last(stored(OVERFITTED))
    return 100 * (1 - float(np.mean(best))), 100 * (1 - float(np.mean(last)))


def _rice() -> list[list[str]]:
    rows = [[name, best, final, "not reproduced", ""] for name, best, final in RICE_PUBLISHED]
    rows[0][3:] = [f"{error:.1f}" for error in _errors()]
    return rows


def _remedies() -> list[list[str]]:
    published = {"cutout": "53.3 -> 52.1", "more weight decay": "52.3 -> 47.7"}
    return [
        [
            cure,
            numbers,
            *(cell(CURED, "overfitting_cures", cure, column=column) for column in ("PGD-20", "points lost")),
        ]
        for cure, numbers in {"no cure": "53.5 -> 46.1", **published}.items()
    ]


RICE = Paper(
    "Rice, Wong & Kolter: robust overfitting",
    "ICML 2020, [arXiv:2002.11569](https://arxiv.org/abs/2002.11569)",
    "The authors' logs [S]; figures are described from recollection.",
    (
        Entry(
            UNVERIFIED, "Learning curves of PGD-AT on CIFAR-10: robust test error rises after the learning rate drops",
            "robust error 46.5 at the best checkpoint, 53.9 at the end; robust training accuracy 81.1 % [S]",
            OVERFITTED, "robust-overfitting-cifar10",
            lambda: "robust error {:.1f} and {:.1f}; ".format(*_errors())
            + f"robust training accuracy {percent(stored(OVERFITTED)['robust_train_accuracy'].isel(epoch=-1))} %",
            "The same course with a network of an eighth of the width on 2,000 images. Table below.",
        ),
        Entry(
            f"table, {UNVERIFIED}", "The same for other networks, norms and data sets", "see below [S]",
            difference="Not reproduced: needs GPUs. `cgro train` takes all of these data sets but SVHN.",
        ),
        Entry(
            f"figures and table of remedies, {UNVERIFIED}", "Regularization and data augmentation against early "
            "stopping",
            "best -> last robust accuracy, see below [S]",
            CURED, "overfitting-cures-digits",
            lambda: f"points lost: {cell(CURED, 'overfitting_cures', 'cutout', column='points lost')} with cutout, "
            f"{cell(CURED, 'overfitting_cures', 'more weight decay', column='points lost')} with more weight decay, "
            f"{cell(CURED, 'overfitting_cures', 'no cure', column='points lost')} without",
            "In the logs cutout loses least; here neither halves the loss. Digits with wrong labels; mixup is not "
            "in the library.",
        ),
    ),
    (
        Comparison(
            "Robust test error in per cent, best and final checkpoint. Published: [S]. Here: 2,000 CIFAR-10 images, "
            "PreActResNet-18 of an eighth of the width, under PGD.",
            ("setting", "best, published", "final, published", "best, here", "final, here"), _rice,
        ),
        Comparison(
            "Remedies: robust accuracy in per cent. Published: CIFAR-10, best -> last [S]. Here: 300 digits with "
            "40 % of "
            "the labels redrawn, best / last under PGD-20, and points lost under the ensemble.",
            ("remedy", "published", "here", "points lost, here"), _remedies,
        ),
    ),
)  # fmt: skip
