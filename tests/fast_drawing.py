"""How the fixture `reproduced` draws: in a module with little to import, since its worker process reads it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import xarray as xr

from cgro.cli import reproduce
from cgro.plots.style import RC

AS_PDF = {"phase-diagram", "reference-points", "parameter-counts", "image-phases"}
"""Figures whose PDFs are compared, among them ones with maps, formulas and error bars."""


def draw(name: str, result: xr.Dataset, folder: Path) -> dict[str, Path]:
    """What `cgro reproduce` draws, with PDFs whose letters are drawings where no test compares the bytes.

    Choosing the letters that a PDF embeds takes longer than drawing it.
    """
    with patch.dict(RC, {} if name in AS_PDF else {"pdf.fonttype": 3}):
        return reproduce._draw(name, result, folder)
