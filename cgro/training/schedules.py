"""Learning-rate schedules from the literature: factors in [0, 1] of the peak rate, against progress in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

ScheduleName = Literal["cyclic", "piecewise", "cosine", "constant"]


def factor(name: ScheduleName, progress: float, drops: Sequence[float] = (0.5, 0.75)) -> float:
    """The learning rate at `progress` through the training, as a fraction of its peak.

    - cyclic: linearly from 0 up to 1 at a fifth of the training, then down to 0.
    - piecewise: divided by 10 at each of `drops`, fractions of the training; by default 1/2 and 3/4
      (Rice et al., ICML 2020, arXiv:2002.11569: epochs 100 and 150 of 200).
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
    """0 at progress 0, 1 at `peak`, 0 at progress 1, and linear in between."""
    return progress / peak if progress < peak else (1 - progress) / (1 - peak)
