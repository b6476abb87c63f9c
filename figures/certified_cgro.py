"""Figure: the certified CGRO classifier on real images."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from cgro.plots.figure import Figure
from cgro.plots.style import COLORS, figure, legend, panel_label

_BARS = (
    ("clean_test_accuracy", "clean\ntest"),
    ("robust_train_accuracy", "robust\ntraining"),
    ("robust_test_accuracy", "robust\ntest"),
)
_NAMES = {"digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10"}


def caption(result: xr.Dataset) -> str:
    """What the figure shows, with the numbers of this result."""
    mean, attrs = result.mean(("seed", "classifier")), result.attrs
    clean = result["clean_test_accuracy"].mean("seed")
    return (
        f"{_NAMES[attrs['data']]}, {attrs['train_images']:,} training images, l_inf radius {_radius(attrs['radius'])}. "
        "(a) The closest training images with different labels, "
        f"{float(mean['separation']):.3f} apart in l_inf; below half of that distance a robust memorizer exists. "
        "(b) A convolutional network trained on clean images, and the same network gated by the memorizer. Clean "
        f"accuracy on {attrs['test_images']:,} {attrs['test_name']}: {float(clean.sel(classifier='clean')):.3f} and "
        f"{float(clean.sel(classifier='cgro')):.3f}. The gated network is certified robust on "
        f"{float(mean['certified_train_accuracy']):.0%} of the training images (checked again from the weights alone: "
        f"{int(mean['verified'])} of {attrs['verified_of']}); its robust test accuracy is that of the clean network "
        f"under PGD. It has {int(mean['nonzero']):,} non-zero parameters. (c) Distance of test images to the nearest "
        f"training image: {float(mean['coverage']):.1%} are within 2 delta + gamma, where the gate can have an effect."
    )


def draw(result: xr.Dataset) -> Drawing:
    """The closest pair, the accuracies, and the distances of test images to training images."""
    fig, axes = figure(6.8, 2.5, ncols=4, width_ratios=(0.62, 0.62, 1.5, 1.3))
    one = result.isel(seed=0)
    for k, ax in enumerate(axes[:2]):
        _image(ax, one["closest_pair"].values[k])
        ax.set_xlabel(f"label {int(one['closest_labels'][k])}")
    axes[0].set_title(r"$\bf{a}$  closest pair", loc="left")
    middle, right = axes[2], axes[3]
    for k, (classifier, color, text) in enumerate(
        (("clean", COLORS["neutral"], r"$f_{\mathrm{clean}}$"), ("cgro", COLORS["clean"], "gated (CGRO)"))
    ):
        values = [result[name].sel(classifier=classifier).mean("seed").item() for name, _ in _BARS]
        places = np.arange(3) + 0.4 * (k - 0.5)
        middle.bar(places, values, 0.38, color=color, label=text)
        for place, value in zip(places, values, strict=True):
            middle.text(place, value + 0.015, f"{value:.2f}", ha="center", fontsize=6.5)
    middle.set_xticks(range(3), [label for _, label in _BARS])
    middle.set_ylim(0, 1.32)
    middle.set_yticks(np.linspace(0, 1, 6))
    middle.set_ylabel("accuracy (fraction)")
    legend(middle, "upper right", (1.0, 1.02), ncols=2)
    panel_label(middle, "b", _NAMES[result.attrs["data"]])
    nearest = np.sort(result["nearest_training_image"].values.ravel())
    right.plot(nearest, np.arange(1, len(nearest) + 1) / len(nearest), color=COLORS["accent"], drawstyle="steps-post")
    radius = result.attrs["radius"]
    right.axvline(radius, color=COLORS["neutral"], ls="-", lw=0.9)
    right.axvline(2 * radius, color=COLORS["neutral"], ls=":", lw=1.2)
    right.text(radius, 1.02, r"$\delta$", ha="right", va="bottom")
    right.text(2 * radius, 1.02, r"$2\delta$", ha="left", va="bottom")
    right.set_xlim(0, 1)
    right.set_ylim(0, 1.0)
    right.set_xlabel(r"$\ell_\infty$ distance to training set")
    right.set_ylabel("fraction of test images")
    right.set_title(r"$\bf{c}$  coverage", loc="left", pad=14)
    return fig


def numbers(result: xr.Dataset) -> tuple[list[str], list[list[Any]]]:
    """One row per run."""
    scalars = (
        *("separation", "certified_train_accuracy", "verified", "coverage", "nonzero", "nonzero_claimed"),
        *("nonzero_clean", "total", "neurons", "depth"),
    )
    header = ["seed", *(f"{name}_{c}" for name, _ in _BARS for c in ("clean", "cgro")), *scalars]
    rows = [
        [
            int(seed),
            *(float(result[n].sel(seed=seed, classifier=c)) for n, _ in _BARS for c in ("clean", "cgro")),
            *(float(result[n].sel(seed=seed)) for n in scalars),
        ]
        for seed in result["seed"].values
    ]
    return header, rows


def _image(ax: Axes, pixels: np.ndarray) -> None:
    """An image (C, H, W) of pixels in [0, 1], without axes."""
    if len(pixels) == 1:
        ax.imshow(1 - pixels[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        ax.imshow(pixels.transpose(1, 2, 0), interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _radius(radius: float) -> str:
    grey = radius * 255
    return f"{round(grey)}/255" if abs(grey - round(grey)) < 1e-9 and grey < 30 else f"{radius:g}"


FIGURE = Figure(
    "Certified clean generalization and robust overfitting on real images",
    experiment="certified-cgro",
    needs={
        "seed classifier": "clean_test_accuracy robust_train_accuracy robust_test_accuracy",
        "seed": (
            "certified_train_accuracy verified coverage separation nonzero nonzero_claimed nonzero_clean total neurons "
            "depth"
        ),
        "seed member channel row column": "closest_pair",
        "seed member": "closest_labels",
        "seed test_image": "nearest_training_image",
        "classifier": "classifier",
    },
    attributes="data radius train_images test_images verified_of test_name",
    draw=draw,
    caption=caption,
    numbers=numbers,
    order=7,
)
