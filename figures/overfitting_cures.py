"""Cures of robust overfitting: robust test accuracy over the epochs, and best and last checkpoint of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from cgro.plots.figure import Figure, Table
from cgro.plots.style import COLORS, CURE_COLORS, band, figure, panel_label
from cgro.plots.words import FEWEST, ball, lines, mean_interval, sign_verdict, with_noise
from cgro.training.choices import CURE_WORDS

BASELINE = "#000000"


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
    """A panel of learning curves for each cure, with the baseline in all of them, and the checkpoints of all."""
    names = [str(name) for name in result["cure"].values]
    others = [name for name in names if name != "none"] or names
    columns = 1 if len(others) == 1 else 2
    rows = -(-len(others) // columns)
    ratios = [1.5 / columns] * columns + [1]
    fig, axes = figure(7.2, max(3.1, 1.2 * rows + 0.9), columns + 1, rows, width_ratios=ratios, squeeze=False)
    right = fig.add_subplot(axes[0, 0].get_gridspec()[:, columns])
    panels = list(axes[:, :columns].ravel()[: len(others)])
    for ax in axes.ravel():
        if ax not in panels:
            ax.remove()
    for ax in panels[1:]:
        ax.sharex(panels[0])
        ax.sharey(panels[0])
    _draw_curves(panels, result, others)
    for k, ax in enumerate(panels):
        ax.tick_params(labelbottom=k + columns >= len(others), labelleft=k % columns == 0)
        if k + columns >= len(others):
            ax.set_xlabel("training time (epochs)")
    fig.supylabel("robust test accuracy (%)", fontsize=8)
    _draw_checkpoints(right, result, names)
    panel_label(right, "b", "checkpoints")
    _key(fig)
    return fig


def _draw_curves(panels: list[Axes], result: xr.Dataset, names: list[str]) -> None:
    """The baseline is drawn last: some cures hardly differ from it."""
    epoch, curves = result["epoch"].values, result["robust_test_accuracy"]
    for k, (ax, name) in enumerate(zip(panels, names, strict=True)):
        for each in dict.fromkeys((name, "none")):
            if each in result["cure"].values:
                look: dict[str, Any] = {"lw": 1.0, "ls": "--"} if each == "none" else {}
                band(ax, epoch, curves.sel(cure=each).values, _color(each), **look)
        if k == 0:
            panel_label(ax, "a", _title(name))
        else:
            ax.set_title(_title(name), loc="left")
        ax.set(xlim=(0, epoch[-1]))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0))
        ax.grid(axis="y", lw=0.4, color="#DDDDDD")
        ax.set_axisbelow(True)


def _draw_checkpoints(ax: Axes, result: xr.Dataset, names: list[str]) -> None:
    at = result["accuracy"].sel(attack="ensemble")
    for row, name in enumerate(names):
        best, last = (at.sel(cure=name, checkpoint=which).values for which in ("best", "last"))
        for k, (b, e) in enumerate(zip(best, last, strict=True)):
            height = row + 0.5 * ((k + 0.5) / len(best) - 0.5)
            ax.plot([b, e], [height, height], color=_color(name), lw=1.0)
            ax.plot(b, height, "v", color=_color(name), ms=4)
            ax.plot(e, height, "o", color=_color(name), ms=3.2)
    ax.set_yticks(range(len(names)), [_title(name) for name in names])
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="accuracy under the ensemble (%)")
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0))
    ax.grid(axis="x", lw=0.4, color="#DDDDDD")
    ax.set_axisbelow(True)


def _key(fig: Drawing) -> None:
    """What the lines of (a) and the marks of (b) mean, in the colour of the baseline."""
    shown: list[tuple[str, dict[str, Any]]] = [
        ("(a) no cure", {"ls": "--", "lw": 1.0}),
        ("(a) with the cure", {"ls": "-", "color": COLORS["neutral"]}),
        ("(b) best checkpoint", {"ls": "", "marker": "v", "ms": 4}),
        ("(b) last checkpoint", {"ls": "", "marker": "o", "ms": 3.2}),
    ]
    handles = [Line2D([], [], **{"color": _color("none")} | look) for _, look in shown]
    fig.legend(handles, [label for label, _ in shown], loc="outside lower center", ncols=4)


def _color(name: str) -> str:
    return CURE_COLORS.get(name.partition(" from ")[0], BASELINE)


def _title(name: str) -> str:
    """The label, with its start in a line of its own."""
    return _label(name).replace(" (", "\n(")


def _label(name: str) -> str:
    """What a row is called; its start, if the result compares starts."""
    cure, _, start = name.partition(" from ")
    return CURE_WORDS.get(cure, "no cure") + (f" (from epoch {start})" if start else "")


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
