"""Stochastic gradient descent with momentum and weight decay."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Descent:
    """v <- momentum v + (gradient + weight_decay w), w <- w - rate v, for all parameters w at once.

    v begins as the first gradient. Bit for bit the updates of `torch.optim.SGD`, whose base class imports torch's
    compiler: two seconds that every short run would spend.
    """

    def __init__(self, parameters: Iterable[Tensor], *, rate: float, momentum: float, weight_decay: float) -> None:
        self.parameters = list(parameters)
        self.rate, self.momentum, self.weight_decay = rate, momentum, weight_decay
        self.momenta: dict[Tensor, Tensor] = {}
        """The v of each parameter, once it has been updated; none without momentum."""

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        gradients = {parameter: parameter.grad for parameter in self.parameters if parameter.grad is not None}
        if not gradients:
            return
        moving, change = list(gradients), list(gradients.values())
        if self.weight_decay:
            change = list(torch._foreach_add(change, moving, alpha=self.weight_decay))
        if self.momentum:
            first = [k for k, parameter in enumerate(moving) if parameter not in self.momenta]
            later = [k for k, parameter in enumerate(moving) if parameter in self.momenta]
            if later:
                kept = [self.momenta[moving[k]] for k in later]
                torch._foreach_mul_(kept, self.momentum)
                torch._foreach_add_(kept, [change[k] for k in later])
            self.momenta |= {moving[k]: change[k].clone() for k in first}
            change = [self.momenta[parameter] for parameter in moving]
        torch._foreach_add_(moving, change, alpha=-self.rate)
