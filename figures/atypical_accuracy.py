"""What atypical training images bring to atypical test images: clean and robust accuracy of groups over the epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, CRITERION_COLORS, band, panel_label, panels_beside
from cgro.plots.words import (
    FEWEST,
    injected_images,
    interval_ends,
    lines,
    points,
    short_training,
    sign_verdict,
    trained_by,
)

GROUP_COLORS = {"typical": COLORS["signal"], "atypical": COLORS["noise"], "mislabelled": COLORS["neutral"]}
PART_LOOKS: dict[str, dict[str, Any]] = {"train": {"ls": "-", "lw": 1.4}, "test": {"ls": "--", "lw": 1.4}}
WITHOUT: dict[str, Any] = {"ls": ":", "lw": 1.4}
CONTROLS = ("all", "without random")
"""Runs that are compared with those without atypical images; the second one has their size."""


def brought(result: xr.Dataset, training: str, criterion: str, against: str, group: str = "atypical") -> np.ndarray:
    """Points on test images of a group after the last epoch: runs of `CONTROLS` minus without atypical (seed)."""
    at = 100 * result["accuracy"].sel(training=training, criterion=criterion, part="test", group=group).isel(epoch=-1)
    return (at.sel(trained=against) - at.sel(trained="without atypical")).values


def contrast(result: xr.Dataset, training: str) -> np.ndarray:
    """Clean minus robust points that atypical training images bring to atypical test images (seed)."""
    return brought(result, training, "clean", "all") - brought(result, training, "perturbed", "all")


def cases(result: xr.Dataset) -> list[tuple[str, str]]:
    """Every method of training and criterion."""
    return [(str(name), str(each)) for name in result["training"].values for each in result["criterion"].values]


def caption(result: xr.Dataset) -> str:
    """What was trained, and what atypical images bring."""
    a, seeds = result.attrs, result.sizes["seed"]
    sizes = dict(zip(map(str, result["trained"].values), result["train_images"].values.tolist(), strict=True))
    final = result["accuracy"].isel(epoch=-1).mean("seed")
    fitted = "; ".join(
        f"{trained_by(a, method)} {100 * float(at.sel(criterion='clean')):.1f} % clean and "
        f"{100 * float(at.sel(criterion='perturbed')):.1f} % perturbed"
        for method in map(str, result["training"].values)
        for at in [final.sel(training=method, trained="all", part="train", group="atypical")]
    )
    found = "; ".join(
        f"{trained_by(a, method)}, {criterion} {points(brought(result, method, criterion, 'all'))} "
        f"(at equal size {points(brought(result, method, criterion, 'without random'))})"
        for method, criterion in cases(result)
    )
    more = "; ".join(
        f"{trained_by(a, method)} {points(contrast(result, method))}" for method in map(str, result["training"].values)
    )
    several = seeds >= FEWEST
    return (
        f"{injected_images(a, seeds)} Networks are trained on all {sizes['all']:,} images, or without the atypical "
        f"ones, or without as many random ones of the same labels ({sizes['without atypical']:,} images each). (a) "
        f"Accuracy of the groups. {lines(seeds)} At the end networks trained on all images give atypical training "
        f"images their label: {fitted}. (b) Atypical test "
        "images after the last epoch: what training on all images brings (filled), and what training without random "
        "images brings, which is of equal size (open), both against training without atypical images, paired by seed; "
        f"{'bars: 95 % t intervals over seeds' if several else 'bars: minimum to maximum over seeds'}. Points"
        f"{', mean ± half of the interval' if several else ' by seed'}: {found}. Clean minus robust gain of all "
        f"images: {more}."
    )


def draw(result: xr.Dataset) -> Drawing:
    """A panel for each method and criterion, and what atypical images bring."""
    methods, criteria = ([str(name) for name in result[dim].values] for dim in ("training", "criterion"))
    titles = [[f"{trained_by(result.attrs, method)}, {criterion}" for criterion in criteria] for method in methods]
    fig, panels, right = panels_beside(titles, ["training time (epochs)"] * len(criteria), height=4.9, beside=0.95)
    for r, method in enumerate(methods):
        for c, criterion in enumerate(criteria):
            _draw_curves(panels[r, c], result.sel(training=method, criterion=criterion))
    fig.supylabel("accuracy (%)", fontsize=8)
    _draw_brought(right, result)
    panel_label(right, "b", "gain on atypical test images")
    _key(fig)
    return fig


def _draw_curves(ax: Axes, one: xr.Dataset) -> None:
    epoch, at = one["epoch"].values, one["accuracy"]
    for part, look in PART_LOOKS.items():
        for group, color in GROUP_COLORS.items():
            values = at.sel(trained="all", part=part, group=group).values
            if np.isfinite(values).all():
                band(ax, epoch, values, color, **look)
    without = at.sel(trained="without atypical", part="test", group="atypical").values
    band(ax, epoch, without, GROUP_COLORS["atypical"], **WITHOUT)
    ax.set(xlim=(0, epoch[-1]), ylim=(-0.03, 1.03))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0))
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)


def _draw_brought(ax: Axes, result: xr.Dataset) -> None:
    rows = cases(result)
    looks: tuple[dict[str, Any], ...] = ({}, {"mfc": "white"})
    for y, (method, criterion) in enumerate(rows):
        for against, shift, look in zip(CONTROLS, (-0.13, 0.13), looks, strict=True):
            means, reach = interval_ends(brought(result, method, criterion, against)[None])
            color = CRITERION_COLORS[criterion]
            ax.errorbar(means, [y + shift], xerr=reach, fmt="o", ms=4, elinewidth=0.9, color=color, **look)
    names = [f"{short_training(result.attrs, method)},\n{criterion}" for method, criterion in rows]
    ax.set_yticks(range(len(rows)), names)
    ax.axvline(0, color=COLORS["neutral"], lw=0.6)
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel="gain (points)")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)


def _key(fig: Drawing) -> None:
    shown: list[tuple[str, dict[str, Any]]] = [
        ("(a) typical", {"color": GROUP_COLORS["typical"], "lw": 2}),
        ("(a) atypical", {"color": GROUP_COLORS["atypical"], "lw": 2}),
        ("(a) mislabelled", {"color": GROUP_COLORS["mislabelled"], "lw": 2}),
        ("(b) trained on all images", {"color": COLORS["neutral"], "ls": "", "marker": "o", "ms": 4}),
        ("(a) training images", {"color": "black", **PART_LOOKS["train"]}),
        ("(a) test images", {"color": "black", **PART_LOOKS["test"]}),
        ("(a) test images, trained without atypical", {"color": "black", **WITHOUT}),
        ("(b) without random images", {"color": COLORS["neutral"], "ls": "", "marker": "o", "ms": 4, "mfc": "white"}),
    ]
    handles = [Line2D([], [], **look) for _, look in shown]
    order = [0, 4, 1, 5, 2, 6, 3, 7]  # a legend is filled by columns: groups above, lines below
    words = [shown[k][0] for k in order]
    fig.legend([handles[k] for k in order], words, loc="outside lower center", ncols=4, columnspacing=1.2)


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each method, run, seed, criterion, part, group and epoch; groups without images are left out."""
    flat = result["accuracy"].to_series().dropna().reset_index()
    header = ["training", "trained", "seed", "criterion", "part", "group", "epoch", "accuracy"]
    return header, flat[header].values.tolist()


def table(result: xr.Dataset) -> Table:
    """Accuracy on atypical test images, with and without atypical training images, and what they bring."""
    rows, a = [], result.attrs
    for method, criterion in cases(result):
        at = 100 * result["accuracy"].sel(training=method, criterion=criterion, part="test").isel(epoch=-1)
        for group in ("atypical", "rotated", "blended", "typical"):
            own = at.sel(group=group)
            if not np.isfinite(own.values).all():
                continue
            without, every = (float(own.sel(trained=name).mean()) for name in ("without atypical", "all"))
            gain = brought(result, method, criterion, "all", group)
            same = brought(result, method, criterion, "without random", group)
            rows.append(
                (
                    trained_by(a, method), criterion, group, f"{without:.1f} / {every:.1f}", points(gain),
                    points(same), sign_verdict(gain), sign_verdict(same),
                )
            )  # fmt: skip
    contrasts = {str(name): contrast(result, str(name)) for name in result["training"].values}
    more = "; ".join(f"{trained_by(a, name)} {points(own)} ({sign_verdict(own)})" for name, own in contrasts.items())
    return Table(
        "Accuracy in per cent on test images after the last epoch, trained without / with the atypical images, and "
        f"gains in points with 95 % t intervals over {result.sizes['seed']} seeds, paired by seed. Gain: all images "
        "against none of the atypical ones. At equal size: without random images of the same labels against without "
        "the atypical ones. The verdicts say whether each is above 0 by its whole interval.",
        (
            "training", "criterion", "test images", "without / with", "gain", "gain at equal size", "gains",
            "gains at equal size",
        ),
        rows,
        (
            f"Is the clean gain on atypical test images larger than the robust one? Difference in points: {more}.",
            "Each interval is for one comparison: of twenty without any effect, one is expected to exclude 0.",
            "Atypical is what was rotated or blended, whatever its memorization score.",
        ),
    )  # fmt: skip


FIGURE = Figure(
    "What does memorizing atypical images bring?",
    "atypical-accuracy",
    {
        "training trained seed criterion part group epoch": "accuracy", "trained": "trained train_images",
        "training": "training", "seed": "seed", "criterion": "criterion", "part": "part", "group": "group",
        "epoch": "epoch",
    },
    draw,
    caption,
    numbers,
    attributes="data model width norm radius objective epochs rotated blended mislabelled",
    table=table,
    order=4,
)  # fmt: skip
