"""Images are changed as told, as many as told, and which ones depends on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tools import images

from cgro.base.errors import UserError
from cgro.data.atypical import tampered
from cgro.data.batches import Images
from cgro.data.tampering import KINDS, Tampering

STREAM = np.random.SeedSequence(3)


def test_each_kind_is_what_it_says() -> None:
    own = images(count=40, size=8)
    found, kinds = tampered(own, Tampering(0.1, 0.2, 0.3), 3, STREAM)
    assert np.bincount(kinds.numpy()).tolist() == [16, 4, 8, 12]
    for i, kind in enumerate(KINDS[k] for k in kinds.tolist()):
        before, after = own.pixels[i], found.pixels[i]
        if kind == "rotated":
            assert torch.equal(after, torch.rot90(before, dims=(1, 2)))
        elif kind == "blended":
            means = (before.double() + own.pixels.double()) / 2
            partners = (means.to(torch.uint8) == after).flatten(1).all(1).nonzero()[:, 0]
            assert len(partners) == 1
            assert own.labels[partners[0]] != own.labels[i]
        else:
            assert torch.equal(after, before)
        assert (found.labels[i] == own.labels[i]) == (kind != "mislabelled")
    again, _ = tampered(own, Tampering(0.1, 0.2, 0.3), 3, STREAM)
    assert torch.equal(again.pixels, found.pixels)
    other, _ = tampered(own, Tampering(0.1, 0.2, 0.3), 3, np.random.SeedSequence(4))
    assert not torch.equal(other.pixels, found.pixels)


def test_wrong_labels_are_all_others_equally_often() -> None:
    """600 wrong labels among 4 others: a share of 1/4 within .09, five standard errors."""
    own = Images(torch.zeros(600, 1, 2, 2), torch.zeros(600, dtype=torch.int64), 1)
    found, _ = tampered(own, Tampering(mislabelled=1.0), 5, STREAM)
    shares = np.bincount(found.labels.numpy(), minlength=5) / 600
    assert shares[0] == 0
    assert np.abs(shares[1:] - 0.25).max() < 0.09


def test_what_cannot_be_changed_is_refused() -> None:
    own = images(count=10, size=8)
    alone = Images(own.pixels, torch.zeros(10, dtype=torch.int64), 255)
    with pytest.raises(UserError, match="classes must be at least 2 to give wrong labels, got 1"):
        tampered(alone, Tampering(mislabelled=0.5), 1, STREAM)
    with pytest.raises(UserError, match="images must be of two or more classes to be blended, got one class"):
        tampered(alone, Tampering(blended=0.5), 3, STREAM)
    with pytest.raises(UserError, match="images must be square to be rotated, got 8 x 4"):
        tampered(Images(own.pixels[..., :4], own.labels, 255), Tampering(rotated=0.5), 3, STREAM)
    with pytest.raises(UserError, match=r"rotated must be in \[0, 1\], got -0.1"):
        Tampering(rotated=-0.1)
    with pytest.raises(UserError, match=r"must be at most 1 together, got 1\.2"):
        Tampering(0.6, 0.6)
