"""Which images of a study are changed, and how; read without torch. `cgro.data.atypical` changes them."""

from __future__ import annotations

from dataclasses import dataclass

from cgro.base.errors import UserError
from cgro.base.validate import between

KINDS = ("unchanged", "rotated", "blended", "mislabelled")


@dataclass(frozen=True)
class Tampering:
    """Fractions of the images that are changed, each 0 to 1 and together at most 1.

    rotated: by a quarter turn. blended: the mean of the image and one of another class, with its own label.
    mislabelled: with a label drawn among the others.

    Raises: UserError for other fractions.
    """

    rotated: float = 0.0
    blended: float = 0.0
    mislabelled: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rotated", "blended", "mislabelled"):
            between(name, getattr(self, name), 0, 1)
        if self.total > 1 + 1e-9:
            raise UserError(f"rotated, blended and mislabelled must be at most 1 together, got {self.total:g}")

    @property
    def total(self) -> float:
        """The fraction that is changed."""
        return self.rotated + self.blended + self.mislabelled
