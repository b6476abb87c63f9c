"""Adversarial training of many small ReLU networks at once, to find the smallest that memorizes robustly.

B networks of equal depth are one tensor program: weights are stacked (B, outputs, inputs), widths are masked and data
sets padded. Training gives an upper bound on the capacity that a data set needs: it may miss smaller networks.

Letters: B networks, N points, D dimensions, m neurons of a hidden layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from cgro.attacks.ball import Budget
from cgro.attacks.pgd import pgd
from cgro.base.norms import Norm
from cgro.networks.relu import ReluNetwork
from cgro.training.descent import Adam


@dataclass(frozen=True)
class Stack:
    """B binary data sets, padded to a common shape; coordinates are in units of each set's perturbation radius."""

    x: Float[Tensor, "B N D"]
    y: Float[Tensor, "B N"]
    """-1 or +1; 0 for padding."""
    radius: Float[Tensor, " B"]
    """Perturbation radius, in input units."""
    dims: Int[Tensor, " B"]
    """Number of coordinates that are not padding."""

    @classmethod
    def of(cls, sets: list[tuple[np.ndarray, np.ndarray, float]], device: torch.device | str = "cpu") -> Stack:
        """A stack from (points, labels -1 and +1, radius) of each set."""
        N, D = (max(points.shape[k] for points, *_ in sets) for k in (0, 1))
        x, y = torch.zeros(len(sets), N, D), torch.zeros(len(sets), N)
        for b, (points, labels, radius) in enumerate(sets):
            n, d = points.shape
            x[b, :n, :d], y[b, :n] = torch.tensor(points / radius), torch.tensor(labels)
        radii = torch.tensor([radius for *_, radius in sets])
        dims = torch.tensor([points.shape[1] for points, *_ in sets])
        return cls(x.to(device), y.to(device), radii.float().to(device), dims.to(device))

    def repeat(self, times: int) -> Stack:
        """Repeat each set `times` times in a row."""
        return Stack(*(part.repeat_interleave(times, 0) for part in (self.x, self.y, self.radius, self.dims)))


class StackedNetworks:
    """B networks with hidden layers of `widths[b]` neurons; the other neurons are masked out."""

    def __init__(self, data: Stack, widths: Int[Tensor, " B"], depth: int, generator: torch.Generator) -> None:
        B, _, D = data.x.shape
        self.depth, self.radius = depth, data.radius
        m = int(widths.max())
        sizes = [D, *[m] * (depth - 1), 1]
        inputs = (torch.arange(D, device=data.x.device) < data.dims[:, None]).float()
        hidden = (torch.arange(m, device=data.x.device) < widths.to(data.x.device)[:, None]).float()
        self.masks = [inputs, *[hidden] * (depth - 1)]
        self.weights, self.biases = [], []
        for k in range(depth):
            draw = torch.randn(B, sizes[k + 1], sizes[k], generator=generator).to(data.x.device)
            fan_in = self.masks[k].sum(1).clamp_min(1)[:, None, None]
            spread = 1.0 if k == depth - 1 else 2.0
            self.weights.append((draw * (spread / fan_in).sqrt()).requires_grad_(True))
            shift = torch.randn(B, 1, sizes[k + 1], generator=generator).to(data.x.device)
            self.biases.append((0.5 * shift if k < depth - 1 else 0 * shift).requires_grad_(True))

    def __call__(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N"]:
        """Outputs for inputs in units of the radius; points of the unit cube are centred at 0."""
        h = (x * self.radius[:, None, None] - 0.5) * 3.0
        for k, (weight, bias, mask) in enumerate(zip(self.weights, self.biases, self.masks, strict=True)):
            h = torch.baddbmm(bias, h * mask[:, None, :], weight.transpose(1, 2))
            if k < self.depth - 1:
                h = h.relu()
        return h[..., 0]

    def network(self, b: int) -> ReluNetwork:
        """Network b in input units, without masked neurons."""
        layers = []
        for k in range(self.depth):
            kept_in = self.masks[k][b].bool()
            kept_out = self.masks[k + 1][b].bool() if k < self.depth - 1 else torch.ones(1, dtype=torch.bool)
            weight = self.weights[k][b].detach().double()[kept_out.to(kept_in.device)][:, kept_in].cpu().numpy()
            bias = self.biases[k][b, 0].detach().double()[kept_out.to(kept_in.device)].cpu().numpy()
            if k == 0:
                weight, bias = 3 * weight, bias - 1.5 * weight.sum(axis=1)
            layers.append((weight, bias))
        return ReluNetwork.of(layers)


def train_robustly(
    data: Stack,
    widths: Int[Tensor, " B"],
    *,
    norm: Norm,
    depth: int = 2,
    steps: int = 400,
    learning_rate: float = 0.03,
    attack_steps: int = 4,
    generator: torch.Generator,
) -> tuple[StackedNetworks, Float[Tensor, " B"]]:
    """Networks trained on PGD points, and the attacked training accuracy of each.

    Adam on the logistic loss of perturbed points with a cosine learning rate; training stops early once every network
    has attacked accuracy 1. Attacked accuracy uses a stronger attack: 20 steps, or as many as in training if more, from
    three starts.
    """
    networks = StackedNetworks(data, widths, depth, generator)
    optimizer = Adam([*networks.weights, *networks.biases], rate=learning_rate, steps=steps)
    there = data.y != 0
    count = there.sum(1).clamp_min(1)
    start = torch.Generator(data.x.device).manual_seed(int(torch.randint(2**31, (1,), generator=generator)))

    def attacked() -> Float[Tensor, " B"]:
        return robust_accuracy(networks, data, norm, start, steps=max(20, attack_steps))

    for step in range(1, steps + 1):
        z = _attack(networks, data, norm, attack_steps, None)
        loss = ((softplus(-data.y * networks(z)) * there).sum(1) / count).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0 and step < steps and bool((attacked() == 1).all()):
            break
    return networks, attacked()


@torch.no_grad()
def robust_accuracy(
    networks: Callable[[Tensor], Tensor],
    data: Stack,
    norm: Norm,
    generator: torch.Generator,
    starts: int = 3,
    steps: int = 20,
) -> Float[Tensor, " B"]:
    """Fraction of each set's points whose prediction no attack point changes to the wrong side."""
    right = networks(data.x) * data.y > 0
    for k in range(starts):
        z = _attack(networks, data, norm, steps, generator if k else None)
        right &= networks(z) * data.y > 0
    there = data.y != 0
    return (right & there).sum(1) / there.sum(1)


def _attack(
    networks: Callable[[Tensor], Tensor], data: Stack, norm: Norm, steps: int, generator: torch.Generator | None
) -> Float[Tensor, "B N D"]:
    return pgd(
        lambda z: -data.y * networks(z),
        data.x,
        Budget(norm, 1.0),
        steps=steps,
        step_size=1.0,
        decay=True,
        start=generator,
        batch_dims=2,
    )


def smallest_widths(
    data: Stack,
    ladder: tuple[int, ...],
    *,
    norm: Norm,
    depth: int = 2,
    restarts: int = 3,
    steps: int = 400,
    descents: int = 0,
    generator: torch.Generator,
    accept: Callable[[int, ReluNetwork], bool] = lambda _b, _network: True,
    after_round: Callable[[], None] = lambda: None,
) -> tuple[Int[np.ndarray, " B"], list[ReluNetwork | None]]:
    """For each data set, the smallest width of the ladder at which some restart memorizes robustly, and that network.

    Bisection for all sets at once, then `descents` rounds that retry the rung below the best so far: training succeeds
    by chance, so one failure in the bisection is not final. A restart succeeds if its attacked accuracy is 1 and
    `accept(b, network)` accepts its float64 network, e.g. because a second attack also fails.

    Returns: widths and networks; -1 and None where even the widest fails.
    """
    B = len(data.x)
    low, high = np.full(B, -1), np.full(B, len(ladder))
    found: list[ReluNetwork | None] = [None] * B
    many = data.repeat(restarts)
    bisections = rounds(ladder)
    for k in range(bisections + descents):
        middle = (low + high) // 2 if k < bisections else high - 1
        open_: Bool[np.ndarray, " B"] = (high - low > 1) if k < bisections else high > 0
        # Sets that are already decided train the narrowest network, which keeps the shapes at little cost.
        widths = torch.tensor([ladder[m] if o else ladder[0] for m, o in zip(middle, open_, strict=True)])
        networks, accuracy = train_robustly(
            many, widths.repeat_interleave(restarts), norm=norm, depth=depth, steps=steps, generator=generator
        )
        success = (accuracy == 1).reshape(B, restarts).cpu().numpy()
        for b in np.flatnonzero(open_):
            candidates = (networks.network(int(b * restarts + r)) for r in np.flatnonzero(success[b]))
            winner = next((network for network in candidates if accept(int(b), network)), None)
            if winner is not None:
                high[b], found[b] = middle[b], winner
            else:
                low[b] = middle[b]
        after_round()
    return np.array([ladder[h] if h < len(ladder) else -1 for h in high]), found


def rounds(ladder: tuple[int, ...]) -> int:
    """Training rounds of a bisection over the ladder, including the outcomes below and above it."""
    return len(ladder).bit_length()


def attacked_accuracy(
    network: ReluNetwork,
    points: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    budget: Budget,
    *,
    steps: int = 50,
    starts: int = 5,
    generator: torch.Generator,
) -> float:
    """Fraction of points that PGD cannot move to the wrong side, for the float64 network in input units.

    An upper bound on robust accuracy, measured on the given network: PGD starts at the point itself and at `starts` - 1
    random points of its ball.
    """
    module = network.module()
    x, y = torch.tensor(points), torch.tensor(labels)
    right = module(x)[:, 0] * y > 0
    for k in range(starts):
        z = pgd(
            lambda z: -y * module(z)[:, 0],
            x,
            budget,
            steps=steps,
            step_size=budget.radius,
            decay=True,
            start=generator if k else None,
        )
        right &= module(z)[:, 0] * y > 0
    return float(right.double().mean())
