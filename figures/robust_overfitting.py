"""Robust overfitting: learning curves, and how much the last checkpoint has lost compared with the best."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, band, figure, panel_label, spread
from cgro.plots.words import ball, lines, method, with_noise

CURVES = {
    "clean_test_accuracy": ("clean test", "clean", "-"),
    "robust_train_accuracy": ("robust training", "robust", "--"),
    "robust_test_accuracy": ("robust test", "robust", "-"),
}


def best_and_last(result: xr.Dataset, name: str = "robust_test_accuracy") -> tuple[np.ndarray, np.ndarray]:
    """Accuracy of the checkpoint that is best on held-out images, and of the last one, for each seed."""
    at = [float(result[name].isel(seed=k).sel(epoch=int(e))) for k, e in enumerate(result["best_epoch"].values)]
    return np.array(at), result[name].isel(epoch=-1).values


def standard_error(result: xr.Dataset) -> float:
    """Standard error of the mean difference of best and last, as a fraction, if their errors were independent."""
    shares, n = np.stack(best_and_last(result)), int(result.attrs["test_images"])
    return float(np.sqrt((shares * (1 - shares)).sum() / n) / shares.shape[1])


def caption(result: xr.Dataset) -> str:
    """What was trained, and the best and last robust accuracy."""
    a, (best, last) = result.attrs, best_and_last(result)
    train = 100 * float(result["robust_train_accuracy"].isel(epoch=-1).mean())
    return (
        f"{method(a)} of {a['model']} (width {a['width']:g}) on {a['train_images']:,} images of {a['data']}"
        f"{with_noise(a)}, {ball(a)}. (a) Accuracy on training images (dashed) and on "
        f"{a['test_images']:,} test images (solid); triangles mark the best epochs on {a['held_out_images']:,} "
        f"held-out images. (b) Robust test accuracy of these checkpoints and of the last ones: "
        f"{100 * best.mean():.1f} % and {100 * last.mean():.1f} % (standard error of the difference over test images: "
        f"at most {100 * standard_error(result):.1f} points). Robust training accuracy ends at {train:.1f} %. "
        f"{lines(result.sizes['seed'])}"
    )


def highlight(result: xr.Dataset) -> tuple[str, str]:
    """Best and last robust test accuracy, for the top of the report."""
    best, last = best_and_last(result)
    return f"{100 * best.mean():.0f} % to {100 * last.mean():.0f} %", "robust test accuracy, best to last checkpoint"


def draw(result: xr.Dataset) -> Drawing:
    """Learning curves, and best against last for each seed."""
    fig, (left, right) = figure(6.8, 3.1, ncols=2, width_ratios=(3.2, 1))
    epoch = result["epoch"].values
    for name, (_, color, style) in CURVES.items():
        band(left, epoch, result[name].values, COLORS[color], linestyle=style)
    ends = {name: float(result[name].isel(epoch=-1).mean("seed")) for name in CURVES}
    for name, height in spread(ends).items():
        label, color, _ = CURVES[name]
        left.text(epoch[-1] * 1.015, height, label, color=COLORS[color], va="center", fontsize=8)
    best, last = best_and_last(result)
    left.plot(result["best_epoch"].values, best, "v", color=COLORS["robust"], ms=5)
    left.set(xlim=(0, epoch[-1]), ylim=(0, 1.02), xlabel="training time (epochs)", ylabel="accuracy (% of images)")
    for k in range(len(best)):
        right.plot([0, 1], [best[k], last[k]], "-o", color=COLORS["robust"], ms=3.5, lw=1.0, alpha=0.8)
    low, high = min(*best, *last), max(*best, *last)
    right.set(xlim=(-0.3, 1.3), ylim=(low - 0.3 * (high - low) - 0.01, high + 0.3 * (high - low) + 0.01))
    right.set_xticks([0, 1], ["best", "last"])
    right.set(xlabel="checkpoint", ylabel="robust test accuracy (%)")
    right.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    for ax in (left, right):
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol="", decimals=0 if high - low > 0.04 else 1))
    panel_label(left, "a", "learning curves")
    panel_label(right, "b", "best and last")
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[float | str]]]:
    """Header and rows of the plotted numbers: mean, minimum and maximum of each curve, by epoch."""
    header = ["epoch", *(f"{name}_{s}" for name in CURVES for s in ("mean", "min", "max"))]
    rows: list[list[float | str]] = []
    for epoch in result["epoch"].values:
        values = [f(result[name].sel(epoch=epoch).values) for name in CURVES for f in (np.mean, np.min, np.max)]
        rows.append([float(epoch), *map(float, values)])
    return header, rows


FIGURE = Figure(
    "Robust overfitting: best against last checkpoint",
    experiment="robust-overfitting",
    needs={
        "seed epoch": "robust_train_accuracy clean_test_accuracy robust_test_accuracy",
        "epoch": "epoch",
        "seed": "best_epoch",
    },
    attributes="data model width radius train_images held_out_images test_images",
    draw=draw,
    caption=caption,
    numbers=numbers,
    highlight=highlight,
    order=4,
)
