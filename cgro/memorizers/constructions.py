"""All robust memorizers by name, and `memorize`, which chooses one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cgro.base.machine import require_memory
from cgro.base.norms import Norm
from cgro.base.validate import one_of
from cgro.data.separation import LabelledPoints
from cgro.memorizers.ball_sum import ball_sum
from cgro.memorizers.cells import grid_cells
from cgro.memorizers.gated import cgro_classifier
from cgro.memorizers.grouped_cells import grouped_cells
from cgro.memorizers.hinges import absolute_sum, hinge_sum, shared_hinges
from cgro.memorizers.lipschitz import lipschitz
from cgro.memorizers.projected import projected_ball_sum
from cgro.memorizers.sequential import sequential
from cgro.memorizers.shared_powers import even_power, shallow_ball_sum
from cgro.memorizers.task import Memorizer, Task, memorization_task

CONSTRUCTIONS: dict[str, Callable[..., Memorizer]] = {
    f.__name__: f
    for f in (
        ball_sum,
        shallow_ball_sum,
        projected_ball_sum,
        hinge_sum,
        shared_hinges,
        sequential,
        lipschitz,
        even_power,
        absolute_sum,
        grid_cells,
        grouped_cells,
        cgro_classifier,
    )
}
"""The function that builds each construction, by name."""

NORMS: dict[Norm, tuple[str, ...]] = {
    "2": ("ball_sum", "shallow_ball_sum", "projected_ball_sum"),
    "inf": ("hinge_sum", "shared_hinges", "sequential", "lipschitz", "even_power"),
    "1": ("absolute_sum",),
}
"""The constructions for each norm, the default first. For all: `grid_cells` at
tiny radii and `grouped_cells` at small ones, in exact arithmetic, and `cgro_classifier` around a clean classifier."""

EXACT = ("grid_cells", "grouped_cells")
"""Constructions with exact rational weights, for every norm."""

BYTES = {
    "hinge_sum": 200,
    "shared_hinges": 120,
    "sequential": 360,
    "lipschitz": 400,
    "absolute_sum": 96,
    "ball_sum": 24,
    "shallow_ball_sum": 32,
    "even_power": 24,
}
"""Bytes that building and certifying need for each coordinate of a stored point, measured and rounded down; other
constructions need less."""


def memorize(
    points: Any, labels: Any, norm: str, radius: float, *, construction: str | None = None, **options: Any
) -> Memorizer:
    """A ReLU network that gives every point of the balls B_p(x_i, radius) the label y_i.

        >>> import cgro
        >>> memorizer = cgro.memorize([[0.1, 0.2], [0.8, 0.9]], [-1, 1], "inf", radius=0.1)
        >>> memorizer.network.size == memorizer.claimed
        True

    Args:
        points: (N, D), finite.
        labels: (N,) integers. -1 and +1 are read from the sign of the output, others are the output itself.
        norm: '1', '2' or 'inf'.
        radius: > 0, below half the smallest distance between points of different labels.
        construction: a key of `CONSTRUCTIONS`; default: the first in `NORMS` for the norm.
        options: for the construction.

    Raises: UserError if the task or the construction excludes the arguments, naming pair and limit; PrecisionError if
        float64 is too coarse for the network.
    """
    task = memorization_task(points, labels, norm, radius)
    return build(task, construction or NORMS[task.norm][0], options)


def build(task: Task, construction: str, options: dict[str, Any]) -> Memorizer:
    """The memorizer of that construction. Raises: UserError for an unknown name, and what the construction raises."""
    one_of("construction", construction, CONSTRUCTIONS)
    return CONSTRUCTIONS[construction](task, **options)


def require_room(construction: str, data: LabelledPoints) -> None:
    """Refuse points and networks that do not fit into memory, by a lower estimate. Raises: UserError."""
    stored = data.size - max((data.labels == label).sum() for label in data.classes)
    needed = (float(BYTES.get(construction, 0)) * stored + 16.0 * data.size) * data.dim
    require_memory(needed, f"{construction} for {data.size:,} points in {data.dim:,} dimensions")
