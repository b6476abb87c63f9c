"""Averages of the weights over a training, batch-norm statistics included: EMA and SWA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def _moved_average(share: Callable[[int], float]) -> Callable[[Any, Any, Any], None]:
    """For AveragedModel: moves the average a fraction of the way to the current tensors; counts are copied."""

    @torch.no_grad()
    def move(averaged: Any, current: Any, done: Any) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, share(int(done)))
        else:
            torch._foreach_copy_(averaged, current)

    return move


AVERAGES: dict[str, Callable[[Any, Any, Any], None]] = {
    "ema": _moved_average(lambda done: 1 - min(0.999, (1 + done) / (10 + done))),
    "swa": _moved_average(lambda done: 1 / (done + 1)),
}
