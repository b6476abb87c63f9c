"""Whether atypical or mislabelled training images harm typical test images, beside a control of equal size."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D

from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, CRITERION_COLORS, panel_label, panels_beside
from cgro.plots.words import FEWEST, injected_images, interval_ends, points, short_training, sign_verdict, trained_by

LOOKS: dict[str, dict[str, Any]] = {
    "treatment": {"ls": "-", "marker": "o"},
    "control": {"ls": ":", "marker": "o", "mfc": "white"},
}


def typical(result: xr.Dataset, method: str, added: str) -> xr.DataArray:
    """Accuracy on typical test images in per cent (rule, fraction, criterion, seed)."""
    return 100 * result["accuracy"].sel(training=method, added=added, judged="typical", drop=True)


def change(result: xr.Dataset, method: str, added: str, criterion: str, rule: str) -> np.ndarray:
    """What the last images bring (seed), in points: all images against those of the smallest fraction, by a rule."""
    at = typical(result, method, added).sel(criterion=criterion, rule=rule)
    return (at.isel(fraction=-1) - at.isel(fraction=0)).values


def by_kind(result: xr.Dataset, method: str, added: str, criterion: str) -> np.ndarray:
    """Runs without the group minus runs without as many random images (seed), in points."""
    at = typical(result, method, added).sel(criterion=criterion).isel(fraction=0)
    return (at.sel(rule="treatment") - at.sel(rule="control")).values


def cases(result: xr.Dataset) -> list[tuple[str, str, str]]:
    """Every method, group that is added, and criterion."""
    return [
        (method, added, criterion)
        for method in map(str, result["training"].values)
        for added in map(str, result["added"].values)
        for criterion in map(str, result["criterion"].values)
    ]


def caption(result: xr.Dataset) -> str:
    """What was trained, and the changes."""
    a, seeds = result.attrs, result.sizes["seed"]
    sizes = "; ".join(
        f"{int(row[0])} without and {int(row[-1])} with all {added}"
        for added, row in zip(result["added"].values, result["train_images"].values, strict=True)
    )
    none = "; ".join(
        f"{trained_by(result.attrs, method)} {float(at.sel(criterion='clean').mean()):.1f} % clean and "
        f"{float(at.sel(criterion='perturbed').mean()):.1f} % perturbed"
        for method in map(str, result["training"].values)
        for at in [typical(result, method, str(result["added"].values[0])).isel(fraction=0).sel(rule="treatment")]
    )
    changes = "; ".join(
        f"{trained_by(a, method)}, {added}, {criterion} "
        f"{points(change(result, method, added, criterion, 'treatment'))} "
        f"(control {points(change(result, method, added, criterion, 'control'))})"
        for method, added, criterion in cases(result)
    )
    spread = (
        "means with 95 % t intervals over seeds, paired by seed" if seeds >= FEWEST else "means over seeds, too few for"
        " intervals; bars: minimum to maximum"
    )  # fmt: skip
    return (
        f"{injected_images(a, seeds)} Training images: {sizes}. (a) Accuracy on "
        "typical test images against the fraction of the group that is trained on, as the difference to training on "
        f"typical images alone ({none}). Filled: that fraction of the group and all typical images; open: as many "
        f"random images of the same labels, drawn from both together. Marks: {spread}. (b) What it changes to train on "
        "all images: filled, against training without the group; open, against training without as many random images. "
        f"Points{', mean ± half of the interval' if seeds >= FEWEST else ' by seed'}: {changes}."
    )


def draw(result: xr.Dataset) -> Drawing:
    """A panel for each method and group, and the changes of all."""
    methods, groups = ([str(name) for name in result[dim].values] for dim in ("training", "added"))
    titles = [[f"{trained_by(result.attrs, method)},\n{added} images" for added in groups] for method in methods]
    fig, panels, right = panels_beside(
        titles, [f"fraction of the {added}" for added in groups], height=4.6, beside=1.15
    )
    for r, method in enumerate(methods):
        for c, added in enumerate(groups):
            _draw_curves(panels[r, c], result, method, added)
    fig.supylabel("change of accuracy on typical test images (points)", fontsize=8)
    _draw_changes(right, result)
    panel_label(right, "b", "all images against some")
    handles = [Line2D([], [], color=color, lw=2) for color in CRITERION_COLORS.values()]
    handles += [Line2D([], [], color=COLORS["neutral"], ms=4, **look) for look in LOOKS.values()]
    words = ["clean", "perturbed", "group left out", "as many random images left out"]
    fig.legend(handles, words, loc="outside lower center", ncols=4)
    return fig


def _mark(ax: Axes, x: Any, y: Any, reach: Any, *, along: str, color: str, rule: str, line: bool) -> None:
    look = LOOKS[rule] if line else LOOKS[rule] | {"ls": ""}
    ax.errorbar(x, y, **{f"{along}err": reach}, color=color, ms=4, lw=1.1, elinewidth=0.9, **look)


def _draw_curves(ax: Axes, result: xr.Dataset, method: str, added: str) -> None:
    at = typical(result, method, added)
    fractions = at["fraction"].values
    width = 0.012 * (fractions[-1] - fractions[0])
    ax.axhline(0, color=COLORS["neutral"], lw=0.6)
    for k, (criterion, color) in enumerate(CRITERION_COLORS.items()):
        own = at.sel(criterion=criterion)
        base = own.sel(rule="treatment").isel(fraction=0)
        for rule in ("control", "treatment"):
            means, reach = interval_ends((own.sel(rule=rule) - base).transpose("fraction", "seed").values)
            shift = width * ((1 if rule == "control" else -1) + 2 * (2 * k - 1))
            _mark(ax, fractions + shift, means, reach, along="y", color=color, rule=rule, line=True)
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)


def _draw_changes(ax: Axes, result: xr.Dataset) -> None:
    rows = cases(result)
    for y, (method, added, criterion) in enumerate(rows):
        for rule, shift in (("treatment", -0.15), ("control", 0.15)):
            means, reach = interval_ends(change(result, method, added, criterion, rule)[None])
            color = CRITERION_COLORS[criterion]
            _mark(ax, means, [y + shift], reach, along="x", color=color, rule=rule, line=False)
    every = result.sizes["criterion"]
    ticks = np.arange(0, len(rows), every) + (every - 1) / 2
    ax.set_yticks(ticks, [f"{short_training(result.attrs, method)},\n{added}" for method, added, _ in rows[::every]])
    for edge in range(every, len(rows), every):
        ax.axhline(edge - 0.5, color="#DDDDDD", lw=0.6)
    ax.axvline(0, color=COLORS["neutral"], lw=0.6)
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel="change (points)")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each method, group, rule, fraction, criterion, group of test images, and seed."""
    flat = result["accuracy"].to_series().reset_index()
    header = ["training", "added", "rule", "fraction", "criterion", "judged", "seed", "accuracy"]
    return header, flat[header].values.tolist()


def table(result: xr.Dataset) -> Table:
    """Accuracies, changes by the group and by the control, and their verdicts."""
    rows = []
    for method, added, criterion in cases(result):
        at = typical(result, method, added).sel(criterion=criterion)
        none, every = (float(at.sel(rule="treatment").isel(fraction=k).mean()) for k in (0, -1))
        treated, control = (change(result, method, added, criterion, rule) for rule in ("treatment", "control"))
        same = by_kind(result, method, added, criterion)
        rows.append(
            (
                trained_by(result.attrs, method), added, criterion, f"{none:.1f} / {every:.1f}",
                points(treated), points(control), points(same), sign_verdict(-treated), sign_verdict(same),
            )
        )  # fmt: skip
    return Table(
        "Accuracy in per cent on typical test images, without / with all images of a group, and changes in points with "
        f"95 % t intervals over {result.sizes['seed']} seeds, paired by seed. Harms: accuracy falls when the group is "
        "added, by the whole interval. Worse than random: runs without the group are more accurate than runs without "
        "as many random images of the same labels, by the whole interval.",
        (
            "training", "added", "test images", "without / with", "adding the group", "adding random",
            "left out: group minus random", "harms", "worse than random",
        ),
        rows,
        (
            "Each interval is for one comparison: of twenty without any effect, one is expected to exclude 0.",
            "Atypical is what was rotated or blended, whatever its memorization score.",
        ),
    )  # fmt: skip


FIGURE = Figure(
    "Do atypical images harm typical ones?",
    "atypical-harm",
    {
        "training added rule fraction criterion judged seed": "accuracy", "added fraction": "train_images",
        "training": "training", "added": "added", "rule": "rule", "fraction": "fraction", "criterion": "criterion",
        "judged": "judged", "seed": "seed",
    },
    draw,
    caption,
    numbers,
    attributes="data model width norm radius objective epochs rotated blended mislabelled",
    table=table,
    order=4,
)  # fmt: skip
