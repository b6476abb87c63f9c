"""Which training images a pool of networks misses, beside independent errors, memorization and a cheap score."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator

from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, SERIES, figure, legend, panel_label
from cgro.plots.words import ball

LABELS = {False: "right label", True: "wrong label"}
LABEL_COLORS = {False: COLORS["clean"], True: COLORS["robust"]}
NULL_LOOKS = {
    "equal images": ("rates of the networks", ":", SERIES[3]), "by label": ("by label", "-.", SERIES[4]),
    "by label and whether it is wrong": ("by label, right or wrong", "--", SERIES[5]),
}  # fmt: skip
"""Words, line and colour of independent errors, with rates that differ between images or not."""
AMONG_WORDS = {"all": "all images", "right": "right labels only"}
AMONG_LOOKS = {"all": ("o", "#000000"), "right": ("D", COLORS["clean"])}


def nulls(result: xr.Dataset) -> list[str]:
    """The nulls that differ: without wrong labels, whether a label is wrong tells nothing."""
    names = list(map(str, result["null"].values))
    return names if result["mislabelled"].values.any() else names[:2]


def groups(result: xr.Dataset) -> list[str]:
    """The groups of images that differ, likewise."""
    return list(AMONG_WORDS) if result["mislabelled"].values.any() else ["all"]


def errors(result: xr.Dataset) -> np.ndarray:
    """Networks of the pool that misclassify each perturbed training image (image)."""
    return np.rint(result["missed"].values * result.sizes["networks"]).astype(int)


def caption(result: xr.Dataset) -> str:
    """The criterion, its null, and how scores agree with the pool."""
    a, count, size = result.attrs, int(result["unlearnable"].sum()), result.sizes["networks"]
    who = "all" if a["share"] == 1 else f"at least {100 * a['share']:.3g} %"
    expected = ", ".join(
        f"{'fewer than 0.01' if value < 0.01 else f'{value:.2g}'} ({NULL_LOOKS[name][0]})"
        for name, value in ((name, float(result["expected"].sel(null=name))) for name in nulls(result))
    )
    wrong = int((result["unlearnable"] & result["mislabelled"]).sum())
    of_these = (
        f", of which {wrong} have a wrong label" if result["mislabelled"].values.any() else " (all labels are right)"
    )
    found = _areas(result, "all")
    return (
        f"{size} networks ({a['model']}, width {a['width']:g}) trained by PGD-AT on the same {a['train_images']:,} "
        f"images of {a['data']}, {ball(a)}, each judged on them under PGD at its best epoch on "
        f"{a['held_out_images']:,} held-out images. (a) Images by the number of networks that misclassify them. "
        f"Unlearnable (S_U) are those that {who} of the networks misclassify: {count}{of_these}; if "
        f"errors were independent between networks at the same rates, {expected} would be. (b) Images that "
        "all networks of a smaller pool misclassify, mean over all pools of that size; broken lines: the same for "
        f"independent errors. (c) Share of the pool that errs against robust memorization by {a['models']} subset "
        f"models{_reliability(result)}; shares are shifted at random within their step. (d) Area under the ROC "
        f"curve by which a score tells S_U from the other images, with 95 % intervals over images{found}; areas of a "
        "single image are left out."
    )


def _reliability(result: xr.Dataset) -> str:
    """How well the robust memorization of as many other models would agree; empty if too few models tell."""
    value = float(result["reliability"].sel(criterion="perturbed"))
    return f", whose split-half reliability is {value:.2f}" if np.isfinite(value) else ""


def _areas(result: xr.Dataset, among: str) -> str:
    """The areas in words; nothing if no image, or every one, is unlearnable."""
    at = result["auc"].sel(among=among, end="value")
    known = [
        f"{score} {float(value):.2f}"
        for score, value in zip(at["score"].values, at.values, strict=True)
        if np.isfinite(value)
    ]
    return f": {', '.join(known)} among {AMONG_WORDS[among]}" if known else ""


def draw(result: xr.Dataset) -> Drawing:
    """Errors of the pool above, their relation to scores below."""
    fig, axes = figure(7.2, 5.4, 2, 2)
    _draw_counts(axes[0, 0], result)
    _draw_sizes(axes[0, 1], result)
    _draw_memorization(axes[1, 0], result)
    _draw_areas(axes[1, 1], result)
    titles = ("errors of the pool", "missed by all networks", "robust memorization", "finding $S_U$ by a score")
    for ax, letter, title in zip(axes.ravel(), "abcd", titles, strict=True):
        panel_label(ax, letter, title)
        ax.set_axisbelow(True)
    return fig


def _draw_counts(ax: Axes, result: xr.Dataset) -> None:
    counts, size = errors(result), result.sizes["networks"]
    below = np.zeros(size + 1)
    for wrong, color in LABEL_COLORS.items():
        own = counts[result["mislabelled"].values == wrong]
        heights = np.bincount(own, minlength=size + 1)
        if len(own):
            ax.bar(np.arange(size + 1), heights, bottom=below, color=color, width=0.85, label=LABELS[wrong])
        below += heights
    least = counts[result["unlearnable"].values].min(initial=size)
    ax.axvspan(least - 0.5, size + 0.5, color=COLORS["accent"], alpha=0.25, lw=0, zorder=0, label="unlearnable, $S_U$")
    ax.set(xlim=(-0.6, size + 0.6), ylim=(0, 1.06 * below.max()))
    ax.set(xlabel="networks that misclassify the image", ylabel="training images")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    ax.legend(loc="upper center")


def _draw_sizes(ax: Axes, result: xr.Dataset) -> None:
    sizes = result["networks"].values
    ax.plot(sizes, result["missed_by_all"], "o-", ms=3, color="#000000", label="the pool")
    for name in nulls(result):
        words, style, color = NULL_LOOKS[name]
        by_chance = result["missed_by_all_by_chance"].sel(null=name)
        ax.plot(sizes, by_chance, ls=style, color=color, label=f"independent, {words}")
    ax.set(xlim=(0.5, sizes[-1] + 0.5), xlabel="networks", ylabel="training images missed by all", yscale="log")
    ax.set_ylim(0.3, 1.6 * max(float(result["missed_by_all"].max()), 1.0))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    legend(ax, "center right", (1.0, 0.42), fontsize=6.5, handlelength=2.4)


def _draw_memorization(ax: Axes, result: xr.Dataset) -> None:
    size, scores = result.sizes["networks"], result["memorization"].sel(criterion="perturbed").values
    shifts = np.random.default_rng(0).uniform(-0.35, 0.35, len(scores)) / size
    for wrong, color in LABEL_COLORS.items():
        own = (result["mislabelled"].values == wrong) & np.isfinite(scores)
        if own.any():
            ax.plot((result["missed"].values + shifts)[own], scores[own], "o", ms=3, mew=0, alpha=0.55, color=color,
                    label=LABELS[wrong])  # fmt: skip
    ax.axhline(0, color=COLORS["neutral"], lw=0.6)
    ax.set(xlabel="share of the pool that misclassifies the image", ylabel="robust memorization")
    ax.grid(lw=0.4, color="#DDDDDD")


def _draw_areas(ax: Axes, result: xr.Dataset) -> None:
    scores = list(map(str, result["score"].values))
    there = groups(result)
    for among, shift in zip(there, (-0.14, 0.14) if len(there) > 1 else (0.0,), strict=True):
        value, low, high = (result["auc"].sel(among=among, end=end).values for end in ("value", "low", "high"))
        known = np.isfinite(value) & ((low > 0) | (high < 1))
        if not known.any():
            continue
        mark, color = AMONG_LOOKS[among]
        reach = np.clip([value - low, high - value], 0, None)
        ax.errorbar(value[known], np.flatnonzero(known) + shift, xerr=reach[:, known], fmt=mark, ms=4, elinewidth=1,
                    color=color, label=AMONG_WORDS[among])  # fmt: skip
    ax.axvline(0.5, color=COLORS["neutral"], lw=0.6)
    ax.set_yticks(range(len(scores)), [name.replace(" ", "\n") for name in scores])
    ax.set(ylim=(len(scores) - 0.5, -0.5), xlim=(-0.02, 1.02), xlabel="area under the ROC curve")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", lw=0.4, color="#DDDDDD")
    if len(ax.containers) > 1:
        ax.legend(loc="lower left")


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each training image."""
    columns = {name: result[name].values for name in ("index", "label", "mislabelled", "unlearnable", "missed", "csl")}
    columns |= {
        f"{prefix}memorization": result["memorization"].sel(criterion=criterion).values
        for criterion, prefix in (("clean", ""), ("perturbed", "robust_"))
    }
    rows = [[_shown(values[k]) for values in columns.values()] for k in range(result.sizes["image"])]
    return list(columns), rows


def _shown(value: Any) -> Any:
    return round(float(value), 6) if isinstance(value, np.floating) else int(value)


def table(result: xr.Dataset) -> Table:
    """Areas and rank correlations of each score, with their intervals."""
    rows = []
    for among in groups(result):
        words = AMONG_WORDS[among]
        for score in map(str, result["score"].values):
            area, rank = (result[name].sel(score=score, among=among).values for name in ("auc", "rank"))
            verdict = (
                "unknown" if np.isnan(area[0]) else "yes" if area[1] > 0.5 else "no" if area[2] < 0.5 else "undecided"
            )
            rows.append((score, words, _with_ends(area), _with_ends(rank), verdict))
    return Table(
        "Area under the ROC curve by which a score tells unlearnable images from the others, and Spearman's "
        "correlation of the score with the share of the pool that errs; 95 % intervals over images.",
        ("score", "images", "area", "rank correlation", "finds them"),
        rows,
        ("Memorization of the perturbed image is robust memorization; CSL is that of perturbed images.",),
    )


def _with_ends(values: np.ndarray) -> str:
    return "-" if np.isnan(values[0]) else f"{values[0]:.2f} ({values[1]:.2f} to {values[2]:.2f})"


FIGURE = Figure(
    "Are unlearnable images the memorized ones?",
    "unlearnable-images",
    {
        "image": "missed unlearnable mislabelled label index csl", "criterion image": "memorization",
        "criterion": "criterion reliability", "networks": "networks missed_by_all",
        "null networks": "missed_by_all_by_chance", "null": "null expected", "score among end": "auc rank",
        "score": "score", "among": "among", "end": "end",
    },
    draw,
    caption,
    numbers,
    attributes="data model width norm radius train_images held_out_images share models",
    table=table,
    order=5,
)  # fmt: skip
