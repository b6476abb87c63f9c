"""Without unlearnable images, or with uniform targets on them: what of robust overfitting is left, beside controls."""

from __future__ import annotations

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
from cgro.memorization.arms import CONTROLS
from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, band, figure, named_rows, panel_label
from cgro.plots.words import FEWEST, agreed, ball, interval_ends, interval_verdict, points, sign_verdict

WORDS = {
    "all": "all images", "without": "without S_U", "without random": "without random", "smoothed": "S_U smoothed",
    "smoothed random": "random smoothed",
}  # fmt: skip
LOOKS: dict[str, tuple[str, str]] = {
    "all": ("#000000", "-"), "without": ("#D55E00", "-"), "without random": ("#E69F00", "--"),
    "smoothed": ("#0072B2", "-"), "smoothed random": ("#56B4E9", "--"),
}  # fmt: skip
"""Colour and line of each arm."""
MARKS = {"best": "v", "last": "o"}
PANELS = {
    "leaving images out": ("without random", "without"),
    "smoothing their targets": ("smoothed random", "smoothed"),
}
SHORT = {"all": "all images", "without random": "control", "smoothed random": "control"}
"""What a treatment is compared with, in the labels of rows."""
PAIRS = [pair for one, control in CONTROLS.items() for pair in ((one, "all"), (one, control))]
QUANTITIES = {"lost": "points lost", "best": "accuracy, best", "last": "accuracy, last"}
QUANTITY_COLORS = {"lost": COLORS["noise"], "best": COLORS["signal"], "last": COLORS["neutral"]}


@dataclass(frozen=True)
class Difference:
    """What one arm has more than another under an attack, in points (seed, image)."""

    pair: tuple[str, str]
    quantity: str
    values: np.ndarray

    @property
    def by_seed(self) -> np.ndarray:
        """Means over the test images (seed)."""
        return np.asarray(self.values.mean(axis=1))

    @cached_property
    def over_images(self) -> tuple[float, float]:
        """Bootstrap interval over test images."""
        return image_interval(self.values)

    @property
    def positive(self) -> str:
        """The verdict on its sign that intervals over seeds and over images agree on."""
        return agreed(sign_verdict(self.by_seed), interval_verdict(*self.over_images))


def measured(result: xr.Dataset, arm: str, quantity: str, attack: str = "ensemble") -> np.ndarray:
    """Points of an arm (seed, image): correct at the best or last checkpoint, or lost from one to the other."""
    at = 100.0 * result["correct"].sel(arm=arm, attack=attack)
    best, last = (at.sel(checkpoint=name).values for name in MARKS)
    return np.asarray({"best": best, "last": last, "lost": best - last}[quantity])


def difference(result: xr.Dataset, pair: tuple[str, str], quantity: str, attack: str = "ensemble") -> Difference:
    """What the first arm of the pair has more than the second."""
    one, other = (measured(result, arm, quantity, attack) for arm in pair)
    return Difference(pair, quantity, one - other)


def chosen(result: xr.Dataset) -> str:
    """How many images are unlearnable, and by what criterion."""
    a, mask = result.attrs, result["unlearnable"].values
    who = "all" if a["share"] == 1 else f"at least {100 * a['share']:.3g} %"
    return (
        f"S_U: the {mask.sum()} of {len(mask):,} training images that {who} of {a['networks']} other networks "
        "misclassify under PGD at their best epoch on held-out images"
    )


def labels(result: xr.Dataset) -> str:
    """How many labels are wrong, and how many of S_U; empty if all are right."""
    wrong, mask = result["mislabelled"].values, result["unlearnable"].values
    if not wrong.any():
        return " All labels are right."
    return f" {wrong.sum()} labels are wrong, {(wrong & mask).sum()} of them in S_U."


def caption(result: xr.Dataset) -> str:
    """What was trained, and what each arm loses."""
    a, seeds = result.attrs, result.sizes["seed"]
    lost = "; ".join(
        f"{WORDS[arm]} {points(measured(result, arm, 'lost').mean(axis=1))}" for arm in map(str, result["arm"].values)
    )
    bars = "95 % t intervals over seeds" if seeds >= FEWEST else "minimum to maximum over seeds"
    weak = "" if a["ensemble_steps"] >= 100 else f", weak here with {a['ensemble_steps']} steps of APGD"
    return (
        f"PGD-AT of {a['model']} (width {a['width']:g}) on {a['train_images']:,} images of {a['data']}, {ball(a)}, "
        f"{a['epochs']} epochs, {seeds} seeds of weights, order and attacks on the same images. {chosen(result)}."
        f"{labels(result)} Random: as many images with the same histogram of labels. Smoothed: the target has the "
        f"weight {a['smoothing']:g} on the uniform one. (a, b) Robust test accuracy under the attack of the learning "
        "curves: means over seeds; bands: minimum to maximum. (c) Accuracy on "
        f"{a['judged_images']:,} test images under the strong ensemble{weak}: the best checkpoint on held-out images "
        "(triangle) and the last one (dot), a pair for each seed. Points lost from best to last: "
        f"{lost}. (d) Differences of two arms, paired; thin: {bars}; thick: 95 % bootstrap intervals over test images."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Learning curves above; checkpoints and differences below."""
    fig, axes = figure(7.2, 5.6, 2, 2, height_ratios=[1, 1.25])
    axes[0, 1].sharey(axes[0, 0])
    for ax, letter, (title, arms) in zip(axes[0], "ab", PANELS.items(), strict=True):
        _draw_curves(ax, result, ("all", *arms))
        panel_label(ax, letter, title)
    axes[0, 0].set_ylabel("robust test accuracy (%)")
    axes[0, 1].tick_params(labelleft=False)
    _draw_checkpoints(axes[1, 0], result)
    panel_label(axes[1, 0], "c", "best and last checkpoint")
    _draw_differences(axes[1, 1], result)
    panel_label(axes[1, 1], "d", "differences under the ensemble")
    handles = [Line2D([], [], color=COLORS["neutral"], ls="", marker=mark, ms=4) for mark in MARKS.values()]
    handles += [Line2D([], [], color=color, marker="s", ms=3.4, lw=1.2) for color in QUANTITY_COLORS.values()]
    words = [*(f"(c) {name} checkpoint" for name in MARKS), *(f"(d) {name}" for name in QUANTITIES.values())]
    fig.legend(handles, words, loc="outside lower center", ncols=5, columnspacing=1.2, handletextpad=0.5)
    return fig


def _drawn(words: str) -> str:
    """A label with S_U as a formula."""
    return words.replace("S_U", "$S_U$")


def _draw_curves(ax: Axes, result: xr.Dataset, arms: tuple[str, ...]) -> None:
    epoch = result["epoch"].values
    for arm in arms:
        color, style = LOOKS[arm]
        band(ax, epoch, result["robust_test_accuracy"].sel(arm=arm).values, color, _drawn(WORDS[arm]), ls=style)
    ax.set(xlim=(0, epoch[-1]), xlabel="training time (epochs)")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0))
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)
    ax.legend(loc="lower right", handlelength=1.8)


def _draw_checkpoints(ax: Axes, result: xr.Dataset) -> None:
    arms = list(map(str, result["arm"].values))
    at = 100 * result["accuracy"].sel(attack="ensemble")
    for row, arm in enumerate(arms):
        pairs = at.sel(arm=arm).transpose("seed", "checkpoint").sel(checkpoint=list(MARKS)).values
        for (best, last), y in zip(pairs, row + 0.56 * _spread(len(pairs)), strict=True):
            ax.plot([best, last], [y, y], color=LOOKS[arm][0], lw=0.9)
            ax.plot(best, y, MARKS["best"], color=LOOKS[arm][0], ms=3.8)
            ax.plot(last, y, MARKS["last"], color=LOOKS[arm][0], ms=3.2)
    named_rows(ax, [_drawn(WORDS[arm].replace(" ", "\n", 1)) for arm in arms], "test accuracy under the ensemble (%)")


def _draw_differences(ax: Axes, result: xr.Dataset) -> None:
    for row, pair in enumerate(PAIRS):
        for quantity, shift in zip(QUANTITIES, 0.5 * _spread(len(QUANTITIES)), strict=True):
            one, color = difference(result, pair, quantity), QUANTITY_COLORS[quantity]
            mean, reach = interval_ends(one.by_seed[None])
            ax.plot(one.over_images, [row + shift] * 2, color=color, lw=3.2, alpha=0.35, solid_capstyle="butt")
            ax.errorbar(mean, [row + shift], xerr=reach, fmt="s", ms=3, elinewidth=0.9, color=color)
    ax.axvline(0, color=COLORS["neutral"], lw=0.6)
    named_rows(ax, [_drawn(f"{WORDS[one]}\nminus {SHORT[other]}") for one, other in PAIRS], "difference (points)")


def _spread(count: int) -> np.ndarray:
    """Heights of marks within a row, from -1/2 to 1/2."""
    return (np.arange(count) + 0.5) / count - 0.5


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each arm, seed, checkpoint and attack."""
    flat = result["accuracy"].to_series().reset_index()
    header = ["arm", "seed", "checkpoint", "attack", "accuracy"]
    return header, flat[header].values.tolist()


def table(result: xr.Dataset) -> Table:
    """Every difference that the figure shows, and clean accuracy, with both intervals and a verdict on its sign."""
    rows = []
    for attack in ("ensemble", "clean"):
        for pair in PAIRS:
            for quantity in QUANTITIES:
                one = difference(result, pair, quantity, attack)
                low, high = one.over_images
                rows.append(
                    (
                        f"{WORDS[pair[0]]} minus {WORDS[pair[1]]}", attack, QUANTITIES[quantity], points(one.by_seed),
                        f"{low:+.1f} to {high:+.1f}", one.positive,
                    )
                )  # fmt: skip
    seeds, images = result.sizes["seed"], result.sizes["test"]
    lost = Difference(("all", "all"), "lost", measured(result, "all", "lost"))
    return Table(
        f"Differences in points. By seed: with 95 % t intervals over {seeds} seeds, paired. Over images: 95 % "
        f"bootstrap intervals over {images} test images, each drawn with all its seeds. Above 0: yes or no where both "
        "intervals say so by their whole length. Points lost below 0: less robust overfitting.",
        ("arms", "attack", "quantity", "by seed", "over images", "above 0"),
        rows,
        (
            f"All images lose {points(lost.by_seed)} points from best to last under the ensemble.",
            f"Training images given their own label under PGD, best to last: {_fitted(result)}.",
            "Each interval is for one comparison: of twenty without any effect, one is expected to exclude 0.",
        ),
    )


def _fitted(result: xr.Dataset) -> str:
    """Share of S_U and of the other images that have their label under attack at the best and last checkpoint."""
    at = 100 * result["fitted"].sel(criterion="perturbed").mean("seed")
    part = {"chosen": "S_U", "others": "the others"}
    cells = []
    for arm in map(str, result["arm"].values):
        own = at.sel(arm=arm)
        shares = [
            f"{float(own.sel(part=p, checkpoint='best')):.0f} to {float(own.sel(part=p, checkpoint='last')):.0f} % of "
            f"{part[p]}"
            for p in map(str, own["part"].values)
            if np.isfinite(own.sel(part=p)).all()
        ]
        cells.append(f"{WORDS[arm]} {', '.join(shares)}")
    return "; ".join(cells)


FIGURE = Figure(
    "Do unlearnable images cause robust overfitting?",
    "unlearnable-images",
    {
        "arm seed checkpoint attack test": "correct", "arm seed checkpoint attack": "accuracy",
        "arm seed epoch": "robust_test_accuracy", "arm seed checkpoint criterion part": "fitted",
        "image": "unlearnable mislabelled", "arm": "arm", "seed": "seed", "checkpoint": "checkpoint",
        "attack": "attack", "criterion": "criterion", "part": "part", "epoch": "epoch",
    },
    draw,
    caption,
    numbers,
    attributes="data model width norm radius epochs train_images judged_images ensemble_steps share networks smoothing",
    table=table,
    order=4,
)  # fmt: skip
