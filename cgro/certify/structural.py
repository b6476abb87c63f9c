"""Tier 0: the certificate of a known construction.

The proof of a construction gives a margin in closed form (docstrings in `cgro.networks.memorizers`). It speaks of the
network that the construction builds, so the network in hand is compared with it bit by bit: nothing is taken on
trust but the proof itself, whose separation is searched again among all pairs.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from cgro.base.errors import UserError
from cgro.data.separation import Separation
from cgro.memorizers.constructions import build
from cgro.memorizers.task import Memorizer, memorization_task


def structural_margins(memorizer: Memorizer, *, separation: Separation | None = None) -> Float[np.ndarray, " N"]:
    """Proved lower bounds of the margin on the balls of all points: the construction's, or -inf if this is not it.

    `separation`, if it is known from an exact search (`byte_separation`), saves another one.
    """
    task = memorizer.task
    try:
        again = memorization_task(task.data, None, task.norm, task.radius, separation=separation)
        rebuilt = build(again, memorizer.construction, memorizer.options)
    except UserError:
        return np.full(task.data.size, -np.inf)
    known = rebuilt.readout == memorizer.readout and rebuilt.network.same_as(memorizer.network)
    return np.full(task.data.size, rebuilt.margin if known else -np.inf)
