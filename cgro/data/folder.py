"""The folder of image data sets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_chosen: ContextVar[Path | None] = ContextVar("data_folder", default=None)


@contextmanager
def reading_from(folder: Path | None) -> Iterator[None]:
    """Read data sets from this folder within the block; None changes nothing."""
    before = _chosen.set(folder if folder is not None else _chosen.get())
    try:
        yield
    finally:
        _chosen.reset(before)


def data_folder() -> Path | None:
    """The folder of `reading_from` or of the environment variable CGRO_DATA; None: the user's cache."""
    given = _chosen.get() or os.environ.get("CGRO_DATA")
    return Path(given) if given else None
