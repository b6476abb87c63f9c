"""Benign adversarial training beside others: best and last checkpoint under three attacks, differences, weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from cgro.measures.image_bootstrap import image_interval
from cgro.memorization.judged_methods import JUDGED
from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, CURE_COLORS, band, figure, legend, named_rows, panel_label
from cgro.plots.words import (
    FEWEST,
    OBJECTIVE_WORDS,
    agreed,
    injected_images,
    interval_ends,
    interval_verdict,
    lines,
    points,
    sign_verdict,
)
from cgro.training.choices import CURE_WORDS

WORDS = OBJECTIVE_WORDS | CURE_WORDS | {"random-weights": "random weights"}
ATTACK_COLORS = {"clean": COLORS["clean"], "PGD-20": COLORS["accent"], "ensemble": COLORS["robust"]}
MARKS = {"best": "v", "last": "o"}
MARGIN = 1.0
"""Points that robust accuracy may be lower and still count as no worse [D]."""
PAIRS = (
    ("bat", "adversarial"),
    ("bat", "random-weights"),
    ("random-weights", "adversarial"),
    ("gairat", "adversarial"),
)
"""Methods that are compared, each with another."""


@dataclass(frozen=True)
class Relation:
    """A difference over seeds and test images, and whether it is above minus the margin."""

    says: str
    group: str
    checkpoint: str
    values: np.ndarray
    """Points (seed, image)."""
    counted: np.ndarray
    """Images of the group, bool (seed, image)."""
    margin: float = 0.0

    @property
    def by_seed(self) -> np.ndarray:
        """Means over the images (seed)."""
        return np.asarray((self.values * self.counted).sum(1) / self.counted.sum(1))

    @cached_property
    def over_images(self) -> tuple[float, float]:
        """Bootstrap interval over test images."""
        return image_interval(self.values, self.counted)

    @property
    def holds(self) -> str:
        """The verdict that intervals over seeds and over images agree on."""
        low, high = self.over_images
        return agreed(sign_verdict(self.by_seed + self.margin), interval_verdict(low + self.margin, high + self.margin))


def correct(result: xr.Dataset, method: str, checkpoint: str, attack: str) -> np.ndarray:
    """100 where a test image is correct, 0 elsewhere (seed, image)."""
    return 100.0 * result["correct"].sel(training=method, checkpoint=checkpoint, attack=attack).values


def gain(result: xr.Dataset, pair: tuple[str, str], checkpoint: str, attack: str) -> np.ndarray:
    """What a method has more than the other, in points (seed, image)."""
    return correct(result, pair[0], checkpoint, attack) - correct(result, pair[1], checkpoint, attack)


def missed(result: xr.Dataset, method: str, checkpoint: str) -> np.ndarray:
    """What PGD misses of the ensemble, in points (seed, image)."""
    return correct(result, method, checkpoint, "PGD-20") - correct(result, method, checkpoint, "ensemble")


def of_group(result: xr.Dataset, group: str) -> np.ndarray:
    """The test images of a group, bool (seed, image)."""
    return np.isin(result["kind"].values, JUDGED[group])


def relations(result: xr.Dataset) -> list[Relation]:
    """What is asked of BAT, in the order of the questions, as far as the methods are there."""
    there, found = set(map(str, result["training"].values)), []

    def ask(says: str, group: str, checkpoint: str, values: np.ndarray, margin: float = 0.0) -> None:
        found.append(Relation(says, group, checkpoint, values, of_group(result, group), margin))

    against, random = ("bat", "adversarial"), ("bat", "random-weights")
    for group in JUDGED:
        for checkpoint in MARKS:
            ask("clean: BAT above PGD-AT", group, checkpoint, gain(result, against, checkpoint, "clean"))
    for attack in ("PGD-20", "ensemble"):
        for checkpoint in MARKS:
            values = gain(result, against, checkpoint, attack)
            ask(f"{attack}: BAT no worse than PGD-AT", "all", checkpoint, values, MARGIN)
    for attack in ATTACK_COLORS:
        best, last = (gain(result, against, checkpoint, attack) for checkpoint in MARKS)
        ask(f"{attack}: BAT gains more at the last", "all", "last minus best", last - best)
    for attack in ("clean", "ensemble"):
        for checkpoint in MARKS if "random-weights" in there else ():
            ask(f"{attack}: BAT above random weights", "all", checkpoint, gain(result, random, checkpoint, attack))
    for method in ("gairat", "bat"):
        for checkpoint in MARKS if method in there else ():
            more = missed(result, method, checkpoint) - missed(result, "adversarial", checkpoint)
            ask(f"PGD-20 minus ensemble: {WORDS[method]} above PGD-AT", "all", checkpoint, more)
    return found


def caption(result: xr.Dataset) -> str:
    """What was trained and judged, accuracies at the last checkpoint, and what wrong labels became."""
    a, seeds, images = result.attrs, result.sizes["seed"], result.sizes["image"]
    several = seeds >= FEWEST
    at = 100 * result["accuracy"].sel(group="all").mean("seed")
    found = "; ".join(
        f"{WORDS[method]} "
        + " / ".join(
            f"{float(at.sel(training=method, checkpoint='last', attack=attack)):.1f}" for attack in ATTACK_COLORS
        )
        for method in map(str, result["training"].values)
    )
    steps = "" if a["ensemble_steps"] >= 100 else f", weak here with {a['ensemble_steps']} steps of APGD"
    return (
        f"{injected_images(a, seeds)} Methods share {a['train_images']} training images, weights, order and "
        f"{images} test images, which are rotated and blended as often. (a) Accuracy of each method on all, typical "
        f"and atypical test images, clean, under PGD, and under the strong ensemble{steps}: the best checkpoint on "
        "held-out images (triangle) and the last one (dot). "
        f"{'Bars: 95 % t intervals over seeds' if several else 'Bars: minimum to maximum over seeds'}. At the last "
        f"checkpoint, all images, {' / '.join(ATTACK_COLORS)}: {found}. (b) Differences of two methods on all test "
        f"images, paired; thin: {'95 % t intervals over seeds' if several else 'minimum to maximum over seeds'}; "
        "thick: 95 % bootstrap intervals over test images. Random weights are those of BAT, on other images of the "
        "batch. (c) "
        f"Effective sample size of the weights, (sum w)² / (n sum w²). {lines(seeds)}"
    )


def draw(result: xr.Dataset) -> Drawing:
    """Accuracies of the groups above; differences and weights below."""
    fig, axes = figure(7.2, 5.6, 3, 2, height_ratios=[1.15, 1], squeeze=False)
    for k, (ax, group) in enumerate(zip(axes[0], JUDGED, strict=True)):
        ax.sharex(axes[0, 0])
        _draw_accuracies(ax, result, group)
        ax.tick_params(labelleft=k == 0)
        title = f"{group} test images"
        if k == 0:
            panel_label(ax, "a", title)
        else:
            ax.set_title(title, loc="left")
    grid = axes[1, 0].get_gridspec()
    for ax in axes[1]:
        ax.remove()
    left, right = fig.add_subplot(grid[1, :2]), fig.add_subplot(grid[1, 2])
    _draw_differences(left, result)
    panel_label(left, "b", "differences")
    _draw_weights(right, result)
    panel_label(right, "c", "effective sample (%)")
    handles = [Line2D([], [], color=color, lw=2) for color in ATTACK_COLORS.values()]
    handles += [Line2D([], [], color=COLORS["neutral"], ls="", marker=mark, ms=4) for mark in MARKS.values()]
    words = [*ATTACK_COLORS, *(f"{name} checkpoint" for name in MARKS)]
    fig.legend(handles, words, loc="outside lower center", ncols=5)
    return fig


def _places(rows: int) -> Iterator[tuple[int, str, str, float]]:
    """Each row with each attack and checkpoint, and the height of its mark."""
    cases = [(attack, checkpoint) for attack in ATTACK_COLORS for checkpoint in MARKS]
    for row in range(rows):
        for (attack, checkpoint), shift in zip(cases, np.linspace(-0.36, 0.36, len(cases)), strict=True):
            yield row, attack, checkpoint, row + shift


def _mark(ax: Axes, y: float, by_seed: np.ndarray, attack: str, checkpoint: str) -> None:
    mean, reach = interval_ends(by_seed[None])
    ax.errorbar(mean, [y], xerr=reach, fmt=MARKS[checkpoint], ms=3.2, elinewidth=0.8, color=ATTACK_COLORS[attack])


def _draw_accuracies(ax: Axes, result: xr.Dataset, group: str) -> None:
    methods = list(map(str, result["training"].values))
    at = 100 * result["accuracy"].sel(group=group)
    for row, attack, checkpoint, y in _places(len(methods)):
        _mark(ax, y, at.sel(training=methods[row], attack=attack, checkpoint=checkpoint).values, attack, checkpoint)
    named_rows(ax, [WORDS[name].replace(" ", "\n") for name in methods], "accuracy (%)")


def _draw_differences(ax: Axes, result: xr.Dataset) -> None:
    there, every = set(map(str, result["training"].values)), of_group(result, "all")
    pairs = [pair for pair in PAIRS if set(pair) <= there]
    for row, attack, checkpoint, y in _places(len(pairs)):
        one = Relation("", "all", checkpoint, gain(result, pairs[row], checkpoint, attack), every)
        ax.plot(one.over_images, [y, y], color=ATTACK_COLORS[attack], lw=2.6, alpha=0.35, solid_capstyle="butt")
        _mark(ax, y, one.by_seed, attack, checkpoint)
    ax.axvline(0, color=COLORS["neutral"], lw=0.6)
    named_rows(ax, [f"{WORDS[one]}\nminus {WORDS[other]}" for one, other in pairs], "difference (points)")


def _draw_weights(ax: Axes, result: xr.Dataset) -> None:
    epoch = result["epoch"].values
    for method in map(str, result["training"].values):
        share = result["effective_share"].sel(training=method).values
        if np.isfinite(share).all():
            look = {"ls": "--"} if method == "random-weights" else {}
            band(ax, epoch, share, CURE_COLORS[method], WORDS[method].removesuffix(" weights"), **look)
    ax.set(xlabel="training time (epochs)", xlim=(0, epoch[-1]), ylim=(0, 1.04))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0))
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)
    legend(ax, "lower left", (0, 0), handlelength=1.2)


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each method, seed, checkpoint, attack and group of test images."""
    flat = result["accuracy"].to_series().reset_index()
    header = ["training", "seed", "checkpoint", "attack", "group", "accuracy"]
    return header, flat[header].values.tolist()


def table(result: xr.Dataset) -> Table:
    """What is asked of BAT, with both intervals and a verdict."""
    rows = []
    for each in relations(result):
        low, high = each.over_images
        rows.append(
            (each.says, each.group, each.checkpoint, points(each.by_seed), f"{low:+.1f} to {high:+.1f}", each.holds)
        )
    return Table(
        f"Differences in points on test images. By seed: with 95 % t intervals over {result.sizes['seed']} seeds, "
        f"paired. Over images: 95 % bootstrap intervals over {result.sizes['image']} test images, each drawn with all "
        "its seeds. A relation holds, or does not, where both intervals say so by their whole length; no worse means "
        f"at most {MARGIN:g} point less.",
        ("relation", "test images", "checkpoint", "by seed", "over images", "holds"),
        rows,
        (
            f"Training images given their own label at the end, clean: {_learned(result)}.",
            "Each interval is for one comparison: of twenty without any effect, one is expected to exclude 0.",
            "The formulas of BAT are recalled, not copied from its paper.",
        ),
    )


def _learned(result: xr.Dataset) -> str:
    """Share of each group of training images that has its label at the end; groups without images are left out."""
    at = 100 * result["train_accuracy"].sel(criterion="clean").mean("seed")
    at = at.sel(trained=np.isfinite(at.isel(training=0).values))
    return "; ".join(
        f"{WORDS[str(own['training'].values)]} "
        + ", ".join(f"{float(value):.0f} % of the {value['trained'].values}" for value in own)
        for own in at
    )


FIGURE = Figure(
    "Does benign adversarial training gain, and at what price?",
    "bat",
    {
        "training seed checkpoint attack group": "accuracy", "training seed checkpoint attack image": "correct",
        "seed image": "kind", "training seed criterion trained": "train_accuracy",
        "training seed epoch": "effective_share", "training": "training", "seed": "seed", "checkpoint": "checkpoint",
        "attack": "attack", "group": "group", "criterion": "criterion", "trained": "trained", "epoch": "epoch",
    },
    draw,
    caption,
    numbers,
    attributes="data model width norm radius epochs train_images ensemble_steps rotated blended mislabelled",
    table=table,
    order=4,
)  # fmt: skip
