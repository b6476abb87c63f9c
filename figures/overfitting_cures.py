"""Cures of robust overfitting: robust test accuracy over the epochs, and best and last checkpoint of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import PercentFormatter

from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, SERIES, band, figure, panel_label
from cgro.plots.words import FEWEST, ball, lines, mean_interval, sign_verdict, with_noise
from cgro.training.choices import CURE_WORDS


def lost(result: xr.Dataset, attack: str = "ensemble") -> xr.DataArray:
    """Best minus last robust test accuracy (cure, seed), as a fraction."""
    at = result["accuracy"].sel(attack=attack)
    return at.sel(checkpoint="best") - at.sel(checkpoint="last")


def caption(result: xr.Dataset) -> str:
    """What was trained, and what the baseline and temporal ensembling lose."""
    a, seeds = result.attrs, result.sizes["seed"]
    parts = [
        f"{_label(name)} {_points(lost(result).sel(cure=name).values)}" for name in map(str, result["cure"].values)
    ]
    objective = {"adversarial": "PGD-AT", "trades": "TRADES"}.get(a["objective"], a["objective"])
    return (
        f"{objective} of {a['model']} (width {a['width']:g}) on {a['train_images']:,} images of {a['data']}"
        f"{with_noise(a)}, {ball(a)}, {a['epochs']} epochs, with one cure at a time. (a) Robust test accuracy under "
        f"the attack of the learning curves, on {a['test_images']:,} images. {lines(seeds)} (b) Test accuracy on "
        f"{a['judged_images']:,} images under the strong ensemble: the best checkpoint on held-out images (triangle) "
        "and the last one (dot), a "
        f"pair for each seed. Points lost from best to last, "
        f"{'mean with 95 % t interval' if seeds >= FEWEST else 'by seed'}: {'; '.join(parts)}."
    )


def _points(values: np.ndarray) -> str:
    """Points lost: the mean with its interval, or every value where there are too few for one."""
    mean, half = mean_interval(100 * values)
    return f"{mean:.1f} ± {half:.1f}" if len(values) >= FEWEST else ", ".join(f"{100 * value:.1f}" for value in values)


def draw(result: xr.Dataset) -> Drawing:
    """Learning curves of the cures, and their checkpoints."""
    names = [str(name) for name in result["cure"].values]
    fig, (left, right) = figure(7.2, 0.22 * len(names) + 2.6, ncols=2, width_ratios=(1.5, 1))
    others = [name for name in names if name != "none"]
    colors = {name: SERIES[k % 6] for k, name in enumerate(others)} | {"none": COLORS["neutral"]}
    dashes = {name: "--" if k >= 6 else "-" for k, name in enumerate(others)}
    epoch = result["epoch"].values
    for name in names:
        curves = result["robust_test_accuracy"].sel(cure=name).values
        band(left, epoch, curves, colors[name], label=_label(name), linestyle=dashes.get(name, "-"))
    left.set(xlim=(0, epoch[-1]), xlabel="training time (epochs)", ylabel="robust test accuracy (%)")
    at = result["accuracy"].sel(attack="ensemble")
    for row, name in enumerate(names):
        best, last = (at.sel(cure=name, checkpoint=which).values for which in ("best", "last"))
        for k, (b, e) in enumerate(zip(best, last, strict=True)):
            height = row + 0.5 * ((k + 0.5) / len(best) - 0.5)
            right.plot([b, e], [height, height], color=colors[name], lw=1.0)
            right.plot(b, height, "v", color=colors[name], ms=4)
            right.plot(e, height, "o", color=colors[name], ms=3.2)
    right.set_yticks(range(len(names)), [_label(name) for name in names])
    right.set(ylim=(len(names) - 0.5, -0.5), xlabel="accuracy under the ensemble (%)")
    right.tick_params(axis="y", length=0)
    for ax, axis in ((left, left.yaxis), (right, right.xaxis)):
        axis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0))
        ax.grid(axis="x" if ax is right else "y", lw=0.4, color="#DDDDDD")
        ax.set_axisbelow(True)
    panel_label(left, "a", "learning curves")
    panel_label(right, "b", "best and last checkpoint")
    left.legend(loc="best")
    return fig


def _label(name: str) -> str:
    return CURE_WORDS.get(name, "no cure")


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """A row for each cure, seed, checkpoint and attack."""
    flat = result["accuracy"].to_series().reset_index()
    header = ["cure", "seed", "checkpoint", "attack", "accuracy"]
    return header, flat[header].values.tolist()


def table(result: xr.Dataset) -> Table:
    """Best and last under every attack, and what is lost, with intervals over seeds."""
    rows = []
    for name in map(str, result["cure"].values):
        at = result["accuracy"].sel(cure=name)
        cells = [
            f"{100 * float(at.sel(attack=attack, checkpoint='best').mean()):.1f} / "
            f"{100 * float(at.sel(attack=attack, checkpoint='last').mean()):.1f}"
            for attack in result["attack"].values
        ]
        rows.append((_label(name), *cells, _points(lost(result).sel(cure=name).values), _verdict(result, name)))
    return Table(
        f"Test accuracy in per cent, best / last checkpoint, means over {result.sizes['seed']} seeds. Lost: best minus "
        "last under the ensemble, in points, with a 95 % t interval over seeds. A cure halves what "
        "is lost if it loses less than half of what the baseline loses, paired by seed, with its whole 95 % interval.",
        header=("cure", *map(str, result["attack"].values), "points lost", "halves them"),
        rows=rows,
    )


def _verdict(result: xr.Dataset, name: str) -> str:
    if name == "none" or "none" not in result["cure"].values:
        return "-"
    margin = 0.5 * lost(result).sel(cure="none").values - lost(result).sel(cure=name).values
    return sign_verdict(margin)


FIGURE = Figure(
    "Cures of robust overfitting",
    experiment="overfitting-cures",
    needs={
        "cure seed epoch": "robust_test_accuracy",
        "cure seed checkpoint attack": "accuracy",
        "cure": "cure",
        "seed": "seed",
        "checkpoint": "checkpoint",
        "attack": "attack",
        "epoch": "epoch",
    },
    attributes="data model width radius train_images judged_images objective epochs",
    draw=draw,
    caption=caption,
    numbers=numbers,
    table=table,
    order=4,
)
