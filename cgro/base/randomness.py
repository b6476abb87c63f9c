"""Named independent streams of random numbers, spawned from one seed, and draws addressed by counters.

A draw addressed by (stream, step) needs no state: an interrupted run resumes with the same numbers, and processes that
share a batch draw the same ones.
"""

from __future__ import annotations

import numpy as np
import torch

from cgro.base.errors import UserError

STREAMS = ("subset", "weights", "order", "attack", "evaluation", "augmentation", "labels")
"""Sources of randomness of one training run. Only append: streams are identified by position."""

Stream = np.random.SeedSequence


def spawn_streams(seed: int) -> dict[str, Stream]:
    """One independent stream for each name in `STREAMS`."""
    return dict(zip(STREAMS, np.random.SeedSequence(seed).spawn(len(STREAMS)), strict=True))


def at(stream: Stream, *counters: int) -> Stream:
    """The part of a stream that belongs to these counters, e.g. an epoch or a step.

    Raises: UserError for anything but a stream.
    """
    if not isinstance(stream, np.random.SeedSequence):
        raise UserError(f"stream must be a numpy.random.SeedSequence, got {stream!r}")
    return np.random.SeedSequence(stream.entropy, spawn_key=(*stream.spawn_key, *counters))


def torch_generator(stream: Stream, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator seeded by a stream."""
    return torch.Generator(device).manual_seed(int(stream.generate_state(1, np.uint64)[0] >> 1))
