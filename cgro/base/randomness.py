"""Named independent streams of random numbers, spawned from one seed, and draws addressed by counters.

A draw that is addressed by (stream, step) needs no state: a run that is interrupted goes on with the same numbers,
and processes that share a batch draw the same ones.
"""

from __future__ import annotations

import numpy as np
import torch

from cgro.base.errors import UserError

STREAMS = ("subset", "weights", "order", "attack", "evaluation", "augmentation", "labels")
"""Sources of randomness of one training run. Append to them only: a stream is known by its position."""

Stream = np.random.SeedSequence


def spawn_streams(seed: int) -> dict[str, Stream]:
    """One independent stream for each name in `STREAMS`."""
    return dict(zip(STREAMS, np.random.SeedSequence(seed).spawn(len(STREAMS)), strict=True))


def at(stream: Stream, *counters: int) -> Stream:
    """The part of a stream that belongs to these counters, an epoch or a step, say.

    Raises: UserError for anything but a stream.
    """
    if not isinstance(stream, np.random.SeedSequence):
        raise UserError(f"stream must be a numpy.random.SeedSequence, got {stream!r}; make one of a seed")
    return np.random.SeedSequence(stream.entropy, spawn_key=(*stream.spawn_key, *counters))


def torch_generator(stream: Stream, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of torch that is seeded by a stream."""
    return torch.Generator(device).manual_seed(int(stream.generate_state(1, np.uint64)[0] >> 1))
