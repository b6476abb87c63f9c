"""The exact ends of the phases of a run: every step is checked, not only recorded ones.

    T_0   end of signal growth          alpha max_r |u_r| reaches 1
    T_n   start of noise memorization   the median over training samples of V_i reaches 0.1
    T_1   noise memorized               the median of V_i reaches 1
    T_u   an unlearnable sample         the largest V_i over the unlearnable samples reaches 1
          memorized

Times are interpolated linearly between the last step below the level and the first step at or above it, so that phases
of a few steps are resolved. The compiled loop does the same (`kernel`). Reference: Li & Li, ICML 2025,
arXiv:2306.01271, section 5.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

NAMES = ("T_0", "T_n", "T_1", "T_u")
LEVELS = (1.0, 0.1, 1.0, 1.0)
LONG_NAMES = (
    "end of signal growth",
    "start of noise memorization",
    "noise memorized",
    "an unlearnable sample memorized",
)
_TOGETHER = 64
"""States checked together: on a GPU, launching an operation costs more than computing it."""


class Watch:
    """Finds the first time at which each run of a batch reaches each level."""

    def __init__(self, signal: Float64[Tensor, " B"], unlearnable: Bool[Tensor, "B N"]) -> None:
        self._signal, self._unlearnable = signal, unlearnable
        self._levels = torch.tensor(LEVELS, dtype=torch.float64, device=signal.device)
        self._times = torch.full((len(signal), len(LEVELS)), torch.nan, dtype=torch.float64, device=signal.device)
        self._last: Tensor | None = None
        self._step = -1
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def see(self, step: int, u: Float64[Tensor, "B F"], V: Float64[Tensor, "B N"]) -> None:
        """Record the state after `step` steps. Steps must come one by one; the tensors must not be changed later."""
        if step == self._step:
            return
        self._step = step
        self._waiting.append((u, V))
        if len(self._waiting) == _TOGETHER:
            self._settle()

    def times(self) -> Float64[np.ndarray, "B 4"]:
        """T_0, T_n, T_1 and T_u of each run; NaN if not reached yet, or without an unlearnable sample."""
        self._settle()
        return self._times.cpu().numpy().copy()

    def keep(self, chosen: Int64[Tensor, " kept"]) -> None:
        """Continue with these runs only."""
        self._settle()
        self._signal, self._times, self._unlearnable = (
            x[chosen] for x in (self._signal, self._times, self._unlearnable)
        )
        self._last = None if self._last is None else self._last[chosen]

    def _settle(self) -> None:
        if not self._waiting:
            return
        u, V = (torch.stack(tensors) for tensors in zip(*self._waiting, strict=True))
        median = _median(V)
        first = torch.where(self._unlearnable, V, -torch.inf).amax(-1)
        now = torch.stack([self._signal * u.abs().amax(-1), median, median, first], dim=-1)
        # A level that the very first state has reached counts as reached at its step.
        before = torch.cat([now[:1] if self._last is None else self._last[None], now[:-1]])
        weight = torch.where(before < self._levels, (self._levels - before) / (now - before), 1.0)
        last_steps = torch.arange(self._step - len(now), self._step, dtype=now.dtype, device=now.device)
        at = torch.where(now >= self._levels, last_steps[:, None, None] + weight, torch.inf).amin(0)
        self._times = torch.where(self._times.isnan() & at.isfinite(), at, self._times)
        self._last = now[-1]
        self._waiting.clear()


def _median(V: Float64[Tensor, "*steps N"]) -> Float64[Tensor, "*steps"]:
    """The middle value, or the mean of the two middle values."""
    N = V.shape[-1]
    return V.sort(-1).values[..., (N - 1) // 2 : N // 2 + 1].mean(-1)
