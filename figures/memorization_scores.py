"""Memorization of training images: how much, clean and robustly, which cheap scores tell, and what the images are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Rectangle

from cgro.data.tampering import KINDS
from cgro.plots.contact_sheet import show_image
from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, CRITERION_COLORS, figure, legend, panel_label
from cgro.plots.words import ball, method

KIND_COLORS = dict(zip(KINDS, ("#BBBBBB", COLORS["clean"], COLORS["signal"], COLORS["robust"]), strict=True))
SCORE_WORDS = {
    "csl": "CSL", "sgal": "SGAL", "csg": "CSG", "forgetting": "forgetting", "aum": "-AUM", "el2n": "EL2N", "q": "q",
}  # fmt: skip
MARKERS = {"rotated": "^", "blended": "s", "mislabelled": "o"}


def known(result: xr.Dataset) -> list[tuple[str, str]]:
    """Cheap scores and views that the runs computed."""
    cheap = result["cheap"]
    finite = cheap.copy(data=np.isfinite(cheap.values)).all("sample")
    return [
        (str(name), str(view))
        for view in result["view"].values
        for name in result["score_name"].values
        if bool(finite.sel(score_name=name, view=view))
    ]


def changed(result: xr.Dataset) -> list[str]:
    """Kinds of images that the result has besides the unchanged ones."""
    counts = np.bincount(result["kind"].values, minlength=len(KINDS))
    return [kind for kind, count in zip(KINDS[1:], counts[1:], strict=True) if count]


def caption(result: xr.Dataset) -> str:
    """What was trained, and the numbers of each panel."""
    a = result.attrs
    counts = np.bincount(result["kind"].values, minlength=len(KINDS))
    put_in = ", ".join(f"{count} {kind}" for kind, count in zip(KINDS[1:], counts[1:], strict=True) if count)
    atypical = "; ".join(
        f"{int(row['atypical'].sum())} images {name} (above {float(row['memorization_threshold']):.2f})"
        for name, row in _by_criterion(result)
    )
    tests = "; ".join(
        f"{int(row['atypical_test'].sum())} of {result.sizes['test']} {name} (above "
        f"{float(row['influence_threshold']):.2f})"
        if row["atypical"].any()
        else f"none {name}"
        for name, row in _by_criterion(result)
    )
    harmful = "; ".join(f"{int(row['harmful'].sum())} {name}" for name, row in _by_criterion(result))
    reliable = "; ".join(
        f"{float(row['reliability']):.2f} {name}" if np.isfinite(row["reliability"]) else f"unknown {name}"
        for name, row in _by_criterion(result)
    )
    mean_error = "; ".join(f"{float(row['error'].mean()):.3f} {name}" for name, row in _by_criterion(result))
    both = result["memorization"].values
    alike = np.corrcoef(both)[0, 1] if len(both) > 1 and (np.ptp(both, axis=1) > 0).all() else np.nan
    plane = f" Pearson's correlation: {alike:.2f}." if np.isfinite(alike) else ""
    runs = int(a["tracked_runs"])
    return (
        f"{method(a)} of {a['model']} (width {a['width']:g}) on {result.sizes['sample']:,} images of {a['data']}, "
        f"{ball(a)}, {a['epochs']} epochs; {a['models']} models on random subsets of {100 * a['ratio']:.0f} %. "
        f"Tampered with: {put_in or 'none'}. (a) Memorization of clean images, and of the same images perturbed by PGD "
        f"(robust memorization); mean standard error {mean_error}; expected correlation with as many other models "
        f"{reliable}. Dotted: what the largest score exceeds by chance with probability {a['chance']:g}; above it "
        f"{atypical}. Their influence exceeds chance on test images: {tests}. Harmful beyond chance: {harmful}. "
        f"(b) Both kinds of memorization.{plane} (c) Spearman's correlation of cheap scores with the memorization, "
        f"95 % intervals over images; scores of {'one run' if runs == 1 else f'{runs} runs'} on all images. (d) Area "
        f"under the ROC curve by which scores tell tampered images from the others. (e) The most and the least "
        f"memorized images (frames: blue by clean, orange by robust memorization) with label and score."
    )


def _by_criterion(result: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    return [(str(name), result.sel(criterion=name)) for name in result["criterion"].values]


def draw(result: xr.Dataset) -> Drawing:
    """Four panels, and the images below."""
    fig, axes = figure(7.2, 8.0, ncols=2, nrows=3, height_ratios=[1, 1.1, 0.95])
    amount, plane, ranks, areas = axes[:2].ravel()
    _draw_amount(amount, result)
    _draw_plane(plane, result)
    _draw_ranks(ranks, result)
    _draw_areas(areas, result)
    for ax, name in zip(axes[2], ("most", "least"), strict=True):
        _draw_images(ax, result, name)
    panel_label(amount, "a", "how much is memorized")
    panel_label(plane, "b", "clean and robust memorization")
    panel_label(ranks, "c", "cheap scores rank the same images?")
    panel_label(areas, "d", "which scores find what was put in")
    panel_label(axes[2][0], "e", "most memorized images")
    axes[2][1].set_title("least memorized images", loc="left")
    return fig


def _draw_amount(ax: Axes, result: xr.Dataset) -> None:
    bins = np.linspace(-0.5, 1, 31).tolist()
    for name, row in _by_criterion(result):
        color = CRITERION_COLORS[name]
        ax.hist(row["memorization"].values, bins, histtype="step", color=color, lw=1.2, label=name)
        ax.axvline(float(row["memorization_threshold"]), color=color, ls=":", lw=1)
    ax.set_yscale("log")
    ax.set_xlim(min(-0.1, float(result["memorization"].min()) - 0.05), 1.02)
    ax.set_xlabel("memorization")
    ax.set_ylabel("training images")
    ax.set_ylim(top=3 * ax.get_ylim()[1])
    legend(ax, "upper center", (0.5, 1.02), ncols=2)


def _draw_plane(ax: Axes, result: xr.Dataset) -> None:
    values, kinds = result["memorization"].values, result["kind"].values
    for k, kind in enumerate(KINDS):
        if not (kinds == k).any():
            continue
        look: dict[str, Any] = {"s": 6, "lw": 0, "alpha": 0.6} if k == 0 else {"s": 13, "lw": 0, "alpha": 0.9}
        ax.scatter(*(values[[0, -1]][:, kinds == k]), color=KIND_COLORS[kind], label=kind, zorder=2 + k, **look)
    ax.plot([-1, 1], [-1, 1], color="#DDDDDD", lw=0.8, zorder=1)
    low = max(-0.5, float(np.nanmin(values)) - 0.05)
    ax.set(xlim=(low, 1.04), ylim=(low, 1.04), xlabel="memorization of clean images", ylabel="of perturbed images")
    ax.legend(loc="lower left", bbox_to_anchor=(0.27, -0.01), handletextpad=0.2, borderaxespad=0.1)


def _draw_ranks(ax: Axes, result: xr.Dataset) -> None:
    rows = known(result)
    for c, (name, row) in enumerate(_by_criterion(result)):
        found = np.array([row["rank"].sel(score_name=score, view=view).values for score, view in rows])
        y = np.arange(len(rows)) + 0.16 * (2 * c - 1)
        ends = np.abs(found[:, 1:].T - found[:, 0])
        ax.errorbar(found[:, 0], y, xerr=ends, fmt="o", ms=3.5, lw=1, color=CRITERION_COLORS[name], label=name)
    _score_axis(ax, rows)
    ax.axvline(0, color=COLORS["neutral"], lw=0.6)
    ax.set_xlim(min(-0.2, ax.get_xlim()[0]), 1)
    ax.set_xlabel("rank correlation with the memorization")
    _legend_below(ax)


def _score_axis(ax: Axes, rows: list[tuple[str, str]], above: Sequence[str] = ()) -> None:
    """Name the cheap scores on the y axis, below what else is drawn."""
    several = len({view for _, view in rows}) > 1
    words = [*above, *(f"{SCORE_WORDS[name]}, {view}" if several else SCORE_WORDS[name] for name, view in rows)]
    ax.set_yticks(range(len(words)), words)
    ax.set_ylim(len(words) - 0.5, -0.5)
    ax.set_axisbelow(True)
    ax.grid(axis="x", lw=0.4, color="#DDDDDD")


def _draw_areas(ax: Axes, result: xr.Dataset) -> None:
    rows = known(result)
    detectors = [f"{name}, {view}" for name, view in rows]
    memorized = [f"memorization, {name}" for name in result["criterion"].values]
    kinds = changed(result)
    for k, kind in enumerate(kinds):
        found = result["detected"].sel(detector=[*memorized, *detectors], changed=kind).values
        y = np.arange(len(found)) + 0.18 * (k - (len(kinds) - 1) / 2)
        ax.plot(found, y, MARKERS[kind], ms=4, color=KIND_COLORS[kind], label=kind)
    _score_axis(ax, rows, above=[f"{name} mem." for name in result["criterion"].values])
    ax.axvline(0.5, color=COLORS["neutral"], lw=0.6)
    ax.set_xlim(min(0.4, ax.get_xlim()[0]), 1.01)
    ax.set_xlabel("area under the ROC curve")
    if kinds:
        _legend_below(ax)


def _legend_below(ax: Axes) -> None:
    """A legend in an empty row below the scores."""
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom + 0.9, top)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, -0.02), ncols=3, columnspacing=1.2, handletextpad=0.3)


COLUMNS = 4


def _draw_images(ax: Axes, result: xr.Dataset, extreme: str) -> None:
    """Up to eight images for each criterion, clean above perturbed, each with its label and score on the left."""
    labels, count = result["label"].values, min(2 * COLUMNS, result.sizes["place"])
    for r, (name, row) in enumerate(_by_criterion(result)):
        shown = row.sel(extreme=extreme)
        for place in range(count):
            line, column = divmod(place, COLUMNS)
            left, top = 1.5 * column + 0.45, -1.12 * (2 * r + line)
            show_image(ax, shown["pixels"].values[place], extent=(left, left + 1, top - 1, top))
            ax.add_patch(Rectangle((left, top - 1), 1, 1, fill=False, ec=CRITERION_COLORS[name], lw=0.9))
            image = int(shown["chosen"].values[place])
            words = f"{labels[image]}\n{float(row['memorization'].values[image]):.2f}"
            ax.text(left - 0.05, top - 0.5, words, fontsize=5.5, ha="right", va="center")
    ax.set(xlim=(0, 1.5 * COLUMNS), ylim=(-1.12 * 2 * result.sizes["criterion"], 0.05), aspect="equal")
    ax.set_axis_off()


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """One row for each training image: memorization with errors by both criteria, and cheap scores."""
    criteria = [str(name) for name in result["criterion"].values]
    rows = known(result)
    header = ["sample", "label", "kind"]
    header += [f"{what}_{name}" for name in criteria for what in ("memorization", "error")]
    header += [f"{name}_{view}" for name, view in rows]
    columns: list[Any] = [
        range(result.sizes["sample"]),
        result["label"].values,
        [KINDS[k] for k in result["kind"].values],
    ]
    for _, row in _by_criterion(result):
        columns += [row["memorization"].values, row["error"].values]
    columns += [result["cheap"].sel(score_name=name, view=view).values for name, view in rows]
    return header, [list(each) for each in zip(*columns, strict=True)]


def table(result: xr.Dataset) -> Table:
    """Groups by kind of image, and thresholds."""
    rows = []
    kinds = result["kind"].values
    for name, row in _by_criterion(result):
        for k, kind in enumerate(KINDS):
            own = kinds == k
            if own.any():
                rows.append(
                    (
                        name, kind, f"{own.sum()}", f"{float(row['memorization'].values[own].mean()):.2f}",
                        f"{int(row['harmful'].values[own].sum())}", f"{int(row['atypical'].values[own].sum())}",
                    )
                )  # fmt: skip
    return Table(
        "Images by what was done to them: mean memorization, and how many are harmful and atypical beyond chance.",
        ("criterion", "kind", "images", "memorization", "harmful", "atypical"),
        rows,
        ("Harm is counted on typical test images, see `cgro.memorization.groups`.",),
    )


FIGURE = Figure(
    "Which images are memorized",
    "memorization-scores",
    {
        "criterion sample": "memorization error atypical harmful", "criterion test": "atypical_test",
        "criterion": "criterion memorization_threshold influence_threshold reliability",
        "sample": "label kind", "score_name view sample": "cheap", "score_name view criterion end": "rank",
        "score_name": "score_name", "view": "view", "end": "end", "detector changed": "detected",
        "detector": "detector", "changed": "changed", "criterion extreme place": "chosen", "extreme": "extreme",
        "criterion extreme place channel row column": "pixels",
    },
    draw,
    caption,
    numbers,
    attributes="data model width norm radius objective epochs models ratio chance tracked_runs",
    table=table,
    order=4,
)  # fmt: skip
