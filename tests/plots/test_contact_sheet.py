"""Contact sheets: every image and caption is there and fits, and equal sheets have equal bytes."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cgro.plots.contact_sheet import Strip, contact_sheet, memorized_strips
from cgro.plots.output import picture

RNG = np.random.default_rng(0)


def strips() -> list[Strip]:
    colour = RNG.random((13, 3, 8, 8)).astype(np.float32)
    grey = RNG.integers(0, 256, (3, 1, 6, 8), dtype=np.uint8)
    names = ["a class with a long name\n0.50 ± 0.10", *("cat\n0.40 ± 0.10" for _ in range(12))]
    return [Strip("Colour", colour, names, [True] + 12 * [False]), Strip("Grey", grey, ["dog"] * 3)]


def boxes(fig: Figure) -> list[tuple[str, object]]:
    renderer = fig.canvas.get_renderer()  # type: ignore[attr-defined]
    return [(text.get_text(), text.get_window_extent(renderer)) for ax in fig.axes for text in ax.texts]


def test_every_image_has_its_caption_and_none_overlap() -> None:
    given = strips()
    fig = contact_sheet(given)
    assert len(fig.axes) == 16
    found = boxes(fig)
    assert found[0][0].endswith("…\n0.50 ± 0.10")
    assert found[1][0] == "cat\n0.40 ± 0.10"
    width, height = fig.bbox.width, fig.bbox.height
    for k, (_, box) in enumerate(found):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height  # type: ignore[attr-defined]  # noqa: PT018
        assert not [1 for _, other in found[k + 1 :] if box.overlaps(other)]  # type: ignore[attr-defined]
    assert [len(ax.patches) for ax in fig.axes] == [1] + 15 * [0]
    np.testing.assert_array_equal(fig.axes[3].images[0].get_array(), given[0].images[3].transpose(1, 2, 0))


def test_pixels_are_square_and_equal_sheets_have_equal_bytes() -> None:
    given = strips()
    shapes = [ax.get_window_extent().bounds[2:] for ax in contact_sheet(given).axes]
    for (width, height), ratio in zip(shapes, 13 * [1.0] + 3 * [6 / 8], strict=True):
        np.testing.assert_allclose(height / width, ratio, rtol=1e-6)
    one, other = (picture(lambda _: contact_sheet(given), xr.Dataset()) for _ in range(2))
    assert one == other


def test_the_extremes_of_every_criterion_are_shown_with_their_scores() -> None:
    scores = np.array([[0.5, np.nan, -0.25, 0.75, 0.0, 0.1], [0.0, np.nan, 0.2, 0.4, 0.3, 0.1]])
    dims = ("criterion", "sample")
    found = xr.Dataset(
        {
            "memorization": (dims, scores),
            "error": (dims, np.full_like(scores, 0.1)),
            "atypical": (dims, scores > 0.6),
            "memorization_threshold": ("criterion", [0.6, 0.6]),
            "label": ("sample", [0, 1, 0, 1, 0, 1]),
            "class_name": ("class", ["cat", "dog"]),
        },
        {"criterion": ["clean", "perturbed"]},
    )
    images = RNG.random((6, 1, 2, 2))
    shown = memorized_strips(found, images, most=2, least=1)
    assert [each.title for each in shown] == [
        "Most memorized, judged by clean images (framed: above 0.60, rare by chance)",
        "Least memorized, judged by clean images",
        "Most memorized, judged by perturbed images",
        "Least memorized, judged by perturbed images",
    ]
    assert list(shown[0].captions) == ["dog\n0.75 ± 0.10", "cat\n0.50 ± 0.10"]
    assert list(shown[0].framed) == [True, False]
    assert list(shown[1].captions) == ["cat\n−0.25 ± 0.10"]
    np.testing.assert_array_equal(shown[2].images, images[[3, 4]])
