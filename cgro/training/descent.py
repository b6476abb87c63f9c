"""Stochastic gradient descent with momentum and weight decay, and Adam with a cosine learning rate."""

from __future__ import annotations

import math
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


class Adam:
    """m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, w <- w - rate m' / (sqrt v' + eps), b1 = .9, b2 = .999.

    m' = m / (1 - b1^t), v' = v / (1 - b2^t) after t updates, eps = 1e-8. The rate falls from `rate` to 0 over `steps`
    updates, the most that there can be, as half a cosine. Bit for bit the updates of `torch.optim.Adam` with the
    schedule CosineAnnealingLR, which import torch's compiler. Source: Kingma & Ba, ICLR 2015, arXiv:1412.6980.
    """

    def __init__(self, parameters: Iterable[Tensor], *, rate: float, steps: int) -> None:
        self.parameters = list(parameters)
        self.rate, self.steps, self.step_count = rate, steps, 0
        self._mean = [torch.zeros_like(p) for p in self.parameters]
        self._square = [torch.zeros_like(p) for p in self.parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter, each of which has a gradient, and lower the rate."""
        self.step_count += 1
        t, root = self.step_count, (1 - 0.999**self.step_count) ** 0.5
        for parameter, mean, square in zip(self.parameters, self._mean, self._square, strict=True):
            gradient = parameter.grad
            assert gradient is not None
            mean.lerp_(gradient, 1 - 0.9)
            square.mul_(0.999).addcmul_(gradient, gradient, value=1 - 0.999)
            parameter.addcdiv_(mean, (square.sqrt() / root).add_(1e-8), value=-self.rate / (1 - 0.9**t))
        now, before = (1 + math.cos(math.pi * k / self.steps) for k in (t, t - 1))
        self.rate = now / before * self.rate
