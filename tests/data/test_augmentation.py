"""Augmentation: every image is a shifted, possibly mirrored, possibly masked copy; draws belong to their images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tools import images

from cgro.base.errors import UserError
from cgro.data.batches import AUGMENTATIONS, Augmentation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("augmentation", [Augmentation(pad=3, flip=True), Augmentation(pad=2), Augmentation(flip=True)])
def test_crops_and_mirrors_against_numpy(augmentation: Augmentation) -> None:
    pixels = images(12, channels=3).pixels
    drawn = augmentation.draw(12, 8, generator())
    found = augmentation.apply(pixels, drawn, grey=127)
    pad = augmentation.pad
    for image, (down, right, mirrored, *_), result in zip(pixels.numpy(), drawn.tolist(), found.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
        expected = padded[:, down : down + 8, right : right + 8]
        np.testing.assert_array_equal(result, expected[:, :, ::-1] if mirrored else expected)


def test_draws_cover_every_shift_and_both_directions() -> None:
    drawn = AUGMENTATIONS["crop-flip-cutout"].draw(4000, 8, generator())
    assert drawn.min(0).values.tolist() == [0, 0, 0, 0, 0]
    assert drawn.max(0).values.tolist() == [8, 8, 1, 7, 7]
    assert abs(float(drawn[:, 2].double().mean()) - 0.5) < 5 * 0.5 / 4000**0.5
    assert AUGMENTATIONS["crop"].draw(50, 8, generator())[:, 2].max() == 0


def test_cutout_hides_a_square_that_may_leave_the_image() -> None:
    augmentation = Augmentation(cutout=4)
    pixels = torch.full((500, 1, 8, 8), 200, dtype=torch.uint8)
    drawn = augmentation.draw(500, 8, generator())
    hidden = (augmentation.apply(pixels, drawn, grey=127) == 127).sum((1, 2, 3))
    assert set(hidden.tolist()) <= {h * w for h in range(2, 5) for w in range(2, 5)}
    assert hidden.max() == 16
    assert hidden.min() == 4


def test_a_part_of_a_batch_is_augmented_as_in_the_whole() -> None:
    augmentation, pixels = AUGMENTATIONS["crop-flip-cutout"], images(10).pixels
    drawn = augmentation.draw(10, 8, generator())
    whole = augmentation.apply(pixels, drawn, grey=100)
    part = torch.tensor([1, 5, 9])
    assert torch.equal(augmentation.apply(pixels[part], drawn[part], grey=100), whole[part])


def test_none_leaves_images_alone_and_impossible_sizes_are_named() -> None:
    pixels = images(3).pixels
    none = AUGMENTATIONS["none"]
    assert none.apply(pixels, none.draw(3, 8, generator()), grey=0) is pixels
    with pytest.raises(UserError, match="pad and cutout must be at least 0 pixels, got -1 and 0"):
        Augmentation(pad=-1)
    wide = Augmentation(pad=8)
    with pytest.raises(UserError, match="pad must be less than 8, the pixels of a side, got 8"):
        wide.apply(pixels, wide.draw(3, 8, generator()), grey=0)
