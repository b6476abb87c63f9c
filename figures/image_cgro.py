"""Learning curves of adversarial training on real images: the clean gap closes, the robust gap stays open."""

from __future__ import annotations

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import PercentFormatter

from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, band, figure, spread
from cgro.plots.words import ball, lines, method

CURVES = {
    "clean_train_accuracy": ("clean training", "clean", "--"),
    "clean_test_accuracy": ("clean test", "clean", "-"),
    "robust_train_accuracy": ("robust training", "robust", "--"),
    "robust_test_accuracy": ("robust test", "robust", "-"),
}
"""Variables drawn: label, colour, line style."""


def gaps(result: xr.Dataset) -> dict[str, float]:
    """Training minus test accuracy after the last epoch, mean over seeds, for 'clean' and 'robust'."""
    last = result.isel(epoch=-1).mean("seed")
    return {kind: float(last[f"{kind}_train_accuracy"] - last[f"{kind}_test_accuracy"]) for kind in ("clean", "robust")}


def caption(result: xr.Dataset) -> str:
    """What was trained and measured, and the two generalization gaps."""
    a, gap = result.attrs, gaps(result)
    return (
        f"{method(a)} of a small convolutional network on {a['train_images']:,} images "
        f"({a['data']}), {ball(a)} for pixels in [0, 1]: accuracy on these images (dashed) and on {_tested(a)} "
        f"(solid), clean and under PGD. {lines(result.sizes['seed'])} After the last epoch, training accuracy exceeds "
        f"test accuracy by {100 * gap['clean']:.1f} points on clean images and by {100 * gap['robust']:.1f} points on "
        "perturbed images."
    )


def _tested(attrs: dict) -> str:
    name, count = attrs["test_name"], f"{attrs['test_images']:,}"
    return f"the {name}" if count in name else f"{count} {name}"


def highlight(result: xr.Dataset) -> tuple[str, str]:
    """Final accuracies, for the top of the report."""
    last = result.isel(epoch=-1).mean("seed")
    names = ("clean_test", "robust_train", "robust_test")
    value = " / ".join(f"{100 * float(last[f'{name}_accuracy']):.0f} %" for name in names)
    return value, "accuracy on real images: clean test / robust train / robust test"


def message(result: xr.Dataset) -> str:
    """The phenomenon."""
    last = result.isel(epoch=-1).mean("seed")
    clean, train, test = (
        f"{100 * float(last[f'{name}_accuracy']):.0f} %" for name in ("clean_test", "robust_train", "robust_test")
    )
    return (
        f"A network that was trained against attacks on {result.attrs['train_images']:,} images "
        f"({result.attrs['data']}) classifies {clean} of clean test images correctly. Under attack it still classifies "
        f"{train} of its training images correctly, but only {test} of test images."
    )


def draw(result: xr.Dataset) -> Drawing:
    """Accuracy over epochs: four curves, labelled at their ends, and the gaps between their ends."""
    fig, ax = figure(6.5, 3.6)
    epoch = result["epoch"].values
    for name, (_label, color, style) in CURVES.items():
        band(ax, epoch, result[name].values, COLORS[color], linestyle=style)
    ends = {name: float(result[name].isel(epoch=-1).mean("seed")) for name in CURVES}
    width = epoch[-1] - min(epoch[0], 0)
    for name, height in spread(ends).items():
        label, color, _style = CURVES[name]
        text = f"{label} {100 * ends[name]:.1f} %"
        ax.text(epoch[-1] + 0.015 * width, height, text, color=COLORS[color], va="center", fontsize=8)
    _annotate_gap(ax, result, epoch[-1] - 0.03 * width, ends)
    ax.set(xlim=(min(epoch[0], 0), epoch[-1]), ylim=(0, 1.02))
    ax.set_xlabel("training time (epochs)")
    ax.set_ylabel("accuracy (% of images)")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    return fig


def _annotate_gap(ax: Axes, result: xr.Dataset, at: float, ends: dict[str, float]) -> None:
    """An arrow between the ends of the robust curves, labelled with both gaps, if there is room."""
    low, high = ends["robust_test_accuracy"], ends["robust_train_accuracy"]
    if high - low < 0.1:
        return
    arrow = {"arrowstyle": "<->", "color": COLORS["neutral"], "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", (at, high), (at, low), arrowprops=arrow)
    gap = gaps(result)
    text = f"robust gap {100 * gap['robust']:.1f} points\nclean gap {100 * gap['clean']:.1f} points"
    ax.annotate(text, (at, (low + high) / 2), (-5, 0), textcoords="offset points", ha="right", va="center", fontsize=8)


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[float | str]]]:
    """Header and rows of the plotted numbers: mean, minimum and maximum of each curve, by epoch."""
    header = ["epoch"] + [f"{name}_{part}" for name in CURVES for part in ("mean", "min", "max")]
    rows: list[list[float | str]] = []
    for epoch in result["epoch"].values:
        row: list[float | str] = [float(epoch)]
        for name in CURVES:
            values = result[name].sel(epoch=epoch).values
            row += [float(values.mean()), float(values.min()), float(values.max())]
        rows.append(row)
    return header, rows


FIGURE = Figure(
    "Learning curves of adversarial training on real images",
    experiment="image-cgro",
    needs={
        "seed epoch": "clean_train_accuracy robust_train_accuracy clean_test_accuracy robust_test_accuracy",
        "epoch": "epoch",
    },
    attributes="data radius train_images test_images test_name",
    draw=draw,
    caption=caption,
    numbers=numbers,
    highlight=highlight,
    message=message,
    order=2,
)
