"""Samples of the patch model as tensors: those of training, and fresh ones."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from cgro.data.patches import PatchDraw, draw_patches
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting


@dataclass(frozen=True)
class PatchSamples:
    """Samples of every run of a batch."""

    X: Float64[Tensor, "B N P d"]
    labels: Int64[Tensor, "B N"]
    """-1 or +1."""
    position: Int64[Tensor, "B N"]
    """Index in 0..P-1 of the signal patch."""
    unlearnable: Bool[Tensor, "B N"]
    """Which samples carry v in place of w*."""

    def select(self, runs: Int64[Tensor, " kept"]) -> PatchSamples:
        """The samples of some of the runs."""
        return PatchSamples(*(getattr(self, field.name)[runs] for field in fields(self)))

    @classmethod
    def of(cls, draws: list[PatchDraw], settings: list[PatchSetting], device: torch.device) -> PatchSamples:
        """The samples of one draw and one setting for each run."""
        pairs = list(zip(draws, settings, strict=True))
        arrays = (
            [d.patches(s.signal, s.noise, s.unlearnable) for d, s in pairs],
            [d.labels for d, _ in pairs],
            [d.signal_position for d, _ in pairs],
            [d.rank < s.unlearnable for d, s in pairs],
        )
        return cls(*(torch.from_numpy(np.stack(each)).to(device) for each in arrays))


def fresh_samples(runs: Runs, count: int, device: torch.device, *, learnable: bool = False) -> PatchSamples:
    """`count` samples for each run, independent of every seed's training draw.

    learnable: without unlearnable samples, which a network that is blind to v can only guess.
    """
    draws = []
    for setting, seed in zip(runs.settings, runs.seeds, strict=True):
        stream = int(np.random.SeedSequence([seed, 2]).generate_state(1)[0])
        sizes = {"patches": setting.patches, "dim": setting.dim, "features": setting.features}
        draw = draw_patches(stream, samples=count, filters=1, **sizes)
        if learnable:
            draw.rank[:] = 1.0
        draws.append(draw)
    return PatchSamples.of(draws, list(runs.settings), device)
