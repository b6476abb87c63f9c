"""Points of balls where a memorizer is most likely to err, as rationals that provably lie in the ball."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from cgro.memorizers.task import Task


def facing_points(task: Task) -> Iterator[tuple[int, list[Fraction]]]:
    """(i, z): z in B_2(x_i, mu), exactly, close to the sphere, facing every point of another label and turned away
    from it."""
    x, radius = task.data.points, Fraction(task.radius)
    for i, center in enumerate(x):
        for j in np.flatnonzero(task.data.labels != task.data.labels[i]):
            direction = x[j] - center
            direction = direction / np.linalg.norm(direction)
            for sign in (1, -1):
                step = [Fraction(sign * float(v)) for v in direction]
                # Its squared length differs from 1 by rounding: shrink until it is inside, exactly.
                scale = radius
                while scale**2 * sum(v**2 for v in step) > radius**2:
                    scale *= 1 - Fraction(1, 2**50)
                yield i, [Fraction(float(c)) + scale * v for c, v in zip(center, step, strict=True)]
