"""Learning-rate schedules of the literature: factors in [0, 1] of the largest rate, by progress in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

ScheduleName = Literal["cyclic", "piecewise", "cosine", "constant"]


def factor(name: ScheduleName, progress: float, drops: Sequence[float] = (0.5, 0.75)) -> float:
    """The factor of the largest learning rate at `progress` through the training.

    - cyclic: from 0 up to 1 at a fifth, then down to 0, linearly.
    - piecewise: a tenth at each of `drops`, shares of the training; by default at the half and at three quarters
      (Rice et al., ICML 2020: epochs 100 and 150 of 200).
    - cosine: (1 + cos(pi progress)) / 2.
    - constant: 1.
    """
    match name:
        case "cyclic":
            return triangle(progress)
        case "piecewise":
            return float(10.0 ** -sum(progress >= drop for drop in drops))
        case "cosine":
            return (1 + math.cos(math.pi * min(progress, 1.0))) / 2
        case _:
            return 1.0


def triangle(progress: float, peak: float = 0.2) -> float:
    """0 at progress 0, 1 at `peak`, 0 at progress 1, linear in between."""
    return progress / peak if progress < peak else (1 - progress) / (1 - peak)
