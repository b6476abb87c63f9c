"""A contact sheet: strips of images with a title above each strip and a caption below each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from cgro.memorization.study import extremes
from cgro.plots.style import COLORS, house_style

WIDTH, MARGIN, GAP = 6.5, 0.06, 0.09
"""Of the sheet, around it, and between images, in inches."""
_TITLE, _LINE, _BELOW = 0.27, 0.105, 0.1
"""Heights of a title and of a line of a caption, and the space below a row, in inches."""
_CAPTION = 6.0
"""Size of captions in points."""


@dataclass(frozen=True)
class Strip:
    """Images in reading order under one title."""

    title: str
    images: np.ndarray
    """(k, C, H, W) with C 1 or 3: uint8, or floats in [0, 1]."""
    captions: Sequence[str]
    """Of each image, one or two lines."""
    framed: Sequence[bool] = field(default=())
    """Which images have a frame; by default none."""


def memorized_strips(found: xr.Dataset, images: np.ndarray, most: int = 20, least: int = 10) -> list[Strip]:
    """The most and the least memorized images by each criterion, with class, memorization and its standard error.

    found: the result of `cgro.memorization.study.studied`, with class_name (class) if classes have names. images: all
    training images, (N, C, H, W). Atypical images have a frame.
    """
    labels = found["label"].values
    names = found["class_name"].values if "class_name" in found else np.arange(labels.max() + 1)
    strips = []
    for criterion in found["criterion"].values.tolist():
        own = found.sel(criterion=criterion)
        scores, errors, atypical = (own[name].values for name in ("memorization", "error", "atypical"))
        top, bottom = extremes(scores, most)
        for words, chosen in (("Most memorized", top), ("Least memorized", bottom[:least])):
            numbers = [f"{scores[i]:.2f} ± {errors[i]:.2f}".replace("-", "\N{MINUS SIGN}") for i in chosen]
            captions = [f"{names[labels[i]]}\n{number}" for i, number in zip(chosen, numbers, strict=True)]
            title = f"{words}, judged by {criterion} images"
            if atypical[chosen].any():
                title += f" (framed: above {float(own['memorization_threshold']):.2f}, rare by chance)"
            strips.append(Strip(title, images[chosen], captions, atypical[chosen].tolist()))
    return strips


def contact_sheet(strips: Sequence[Strip], columns: int = 10) -> Figure:
    """The strips below each other, `columns` images in a row; captions that are too long lose their ends.

    Images have sharp pixels, and grey ones are shown from black at 0 to white at 1.
    """
    side = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
    rows = [-(-len(strip.images) // columns) for strip in strips]
    ratios = [strip.images.shape[2] / strip.images.shape[3] for strip in strips]
    lines = [max((text.count("\n") + 1 for text in strip.captions), default=0) for strip in strips]
    heights = [side * ratio + _LINE * count + _BELOW for ratio, count in zip(ratios, lines, strict=True)]
    total = 2 * MARGIN + sum(_TITLE + row * height for row, height in zip(rows, heights, strict=True))
    with house_style():
        fig = Figure(figsize=(WIDTH, total))
        FigureCanvasAgg(fig)
        top = total - MARGIN
        for strip, ratio, row, height in zip(strips, ratios, rows, heights, strict=True):
            title = fig.text(MARGIN / WIDTH, (top - 0.06) / total, strip.title, va="top", size=8.5)
            title.set_in_layout(False)
            for k, image in enumerate(strip.images):
                left = MARGIN + (k % columns) * (side + GAP)
                bottom = top - _TITLE - (k // columns) * height - side * ratio
                ax = fig.add_axes((left / WIDTH, bottom / total, side / WIDTH, side * ratio / total))
                show_image(ax, image, aspect="auto")
                if len(strip.framed) and strip.framed[k]:
                    ax.add_patch(
                        Rectangle((0, 0), 1, 1, transform=ax.transAxes, fill=False, ec=COLORS["accent"], lw=2.4)
                    )
                text = ax.text(
                    0.5, -0.035 / (side * ratio), strip.captions[k], transform=ax.transAxes, ha="center", va="top",
                    size=_CAPTION, linespacing=1.1,
                )  # fmt: skip
                _shorten(text, side + 0.8 * GAP, fig)
            top -= _TITLE + row * height
    return fig


def show_image(ax: Axes, image: np.ndarray, **options: Any) -> None:
    """Show an image (C, H, W), uint8 or floats in [0, 1], without axes. options: of `imshow`."""
    white = 255 if image.dtype == np.uint8 else 1
    pixels = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=white, interpolation="nearest", **options)
    ax.set_axis_off()


def _shorten(text: Text, width: float, fig: Figure) -> None:
    """Cut the first line, a name, until the text is no wider than this, in inches."""
    renderer = fig.canvas.get_renderer()  # type: ignore[attr-defined]
    name, *rest = text.get_text().split("\n")
    kept = len(name)
    while True:
        box: Bbox = text.get_window_extent(renderer)
        if box.width <= width * fig.dpi or kept <= 1:
            return
        kept -= 1
        text.set_text("\n".join([f"{name[:kept].rstrip()}…", *rest]))
