"""Rise and steepness of the loss around images against the radius, for training and test images at several epochs."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, SERIES, band, figure, panel_label
from cgro.plots.words import ball, lines, method

STYLES = {"train": "--", "test": "-"}


def caption(result: xr.Dataset) -> str:
    """What was measured, and the rise of the loss at the training radius for both parts."""
    a = result.attrs
    last = result["rise"].isel(epoch=-1).mean("seed")
    at = last.sel(ratio=last["ratio"][np.abs(last["ratio"].values - 1).argmin()])
    ratio = float(at["ratio"])
    where = "the training radius" if ratio == 1 else f"{ratio:g} training radii"
    return (
        f"{method(a)} of {a['model']} (width {a['width']:g}) on {a['train_images']:,} images "
        f"({a['data']}) at {ball(a)} (dotted). Largest rise of the loss (a) and largest l_1 norm of the input gradient "
        f"(b) that projected gradient ascent finds in a ball, averaged over {a['images']:,} training images (dashed) "
        f"and test images (solid). After epoch {int(last['epoch'])} the loss rises within {where} by "
        f"{float(at.sel(part='train')):.2g} nat around training images and by {float(at.sel(part='test')):.2g} nat "
        f"around test images. Final accuracy: clean test {_range(result['clean_test_accuracy'])}, robust test "
        f"{_range(result['robust_test_accuracy'])}, robust training {_range(result['robust_train_accuracy'])}. "
        f"{lines(result.sizes['seed'])}"
    )


def _range(values: xr.DataArray) -> str:
    """Percentages, minimum to maximum over seeds."""
    low, high = (f"{100 * float(v):.1f}" for v in (values.min(), values.max()))
    return f"{low} %" if low == high else f"{low} to {high} %"


def draw(result: xr.Dataset) -> Drawing:
    """Two panels over the radius: rise and steepness; a colour for each epoch, a line style for each part."""
    fig, axes = figure(6.8, 3.0, ncols=2)
    radii = result["ratio"].values * result.attrs["radius"]
    # Zeros are searches that found nothing; draw them at the smallest positive value.
    for ax, name, label, title in (
        (axes[0], "rise", "rise of the loss (nats)", "rise of the loss"),
        (axes[1], "steepness", "gradient norm (nats per pixel value)", "input gradient"),
    ):
        least = float(result[name].where(result[name] > 0).min())
        for k, epoch in enumerate(result["epoch"].values):
            for part, style in STYLES.items():
                values = result[name].sel(epoch=epoch, part=part).transpose("seed", "ratio").values
                band(ax, radii, np.maximum(values, least), SERIES[k], linestyle=style)
        ax.axvline(result.attrs["radius"], color=COLORS["neutral"], lw=0.8, ls=":")
        ax.set_yscale("log")
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.set(xlim=(0, radii[-1]), xlabel="radius of the ball (pixel value)", ylabel=label)
        panel_label(ax, "a" if ax is axes[0] else "b", title)
    epochs = [Line2D([], [], color=SERIES[k], label=f"epoch {e}") for k, e in enumerate(result["epoch"].values)]
    parts = [Line2D([], [], color="black", linestyle=s, label=p) for p, s in (("training", "--"), ("test", "-"))]
    axes[0].legend(handles=[*epochs, *parts], loc="lower right")
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[float | str]]]:
    """Header and rows of the plotted numbers: means over seeds by epoch, part and radius."""
    means = result.mean("seed")
    rows: list[list[float | str]] = []
    for epoch in result["epoch"].values:
        for part in result["part"].values:
            for ratio in result["ratio"].values:
                at = means.sel(epoch=epoch, part=part, ratio=ratio)
                rows.append(
                    [
                        float(epoch),
                        str(part),
                        float(ratio * result.attrs["radius"]),
                        *map(float, (at["rise"], at["steepness"])),
                    ]
                )
    return ["epoch", "part", "radius", "rise", "steepness"], rows


FIGURE = Figure(
    "Flatness of the loss against the radius",
    experiment="flatness",
    needs={
        "seed epoch part ratio": "rise steepness",
        "seed": "clean_test_accuracy robust_test_accuracy robust_train_accuracy",
        "epoch": "epoch",
        "part": "part",
        "ratio": "ratio",
    },
    attributes="data model width radius train_images images",
    draw=draw,
    caption=caption,
    numbers=numbers,
    order=6,
)
