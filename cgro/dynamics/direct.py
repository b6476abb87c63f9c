"""The `direct` engine: the network with d-dimensional weights, trained by autograd and plain gradient descent.

It is the readable reference for the reduced dynamics, and the engine for attacks that leave the set A.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import softplus

from cgro.attacks.ball import Budget
from cgro.attacks.pgd import pgd
from cgro.base.errors import UserError
from cgro.dynamics.activations import require_function
from cgro.dynamics.crossings import Watch
from cgro.dynamics.memory import require_engine
from cgro.dynamics.patch_cnn import PatchCNN, initial_filters
from cgro.dynamics.runs import Runs, State, vector_draw
from cgro.dynamics.samples import PatchSamples
from cgro.dynamics.setting import Attack
from cgro.dynamics.signal_attack import by_sample, margins, points_of

PGD_STEPS = 10


class DirectEngine:
    """Trains a batch of runs (of one dimension d) on the samples themselves.

    Raises: UserError if the setting draws only the Gram matrix; ValueError if the dimensions differ.
    """

    def __init__(self, runs: Runs, device: torch.device | str = "cpu") -> None:
        setting = runs.common
        if len({s.dim for s in runs.settings}) > 1:
            raise ValueError("the direct engine trains runs of one dimension; run them apart")
        if setting.sampling == "gram":
            raise UserError("sampling must be vectors or auto with engine direct, which needs the patches, got 'gram'")
        if callable(setting.activation):
            require_function(setting.activation)
        require_engine(setting, runs=len(runs), draws=len(runs), direct=True)
        self.runs, self.device = runs, torch.device(device)
        draws = [vector_draw(s, seed) for s, seed in zip(runs.settings, runs.seeds, strict=True)]

        def stacked(arrays: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(arrays)).to(self.device)

        pairs = list(zip(draws, runs.settings, strict=True))
        self.samples = PatchSamples.of(draws, list(runs.settings), self.device)
        self.noise = stacked([s.noise * d.noise for d, s in pairs])
        start = initial_filters(stacked([s.init_scale * d.filters for d, s in pairs]), setting.activation)
        if setting.features == 2:
            start[:, :, 1] *= runs.values("visibility", self.device)[:, None]
        self.network = PatchCNN(start, setting.exponent, setting.activation).to(self.device)
        self.taken = 0
        self._watch = Watch(runs.values("signal", self.device), self.samples.unlearnable)

    def advance(self, steps: int) -> None:
        names = ("learning_rate", "adversarial_weight", "visibility")
        eta, lam, kappa = (self.runs.values(name, self.device) for name in names)
        y, weights = self.samples.labels, self.network.weights
        targets = torch.tensor([s.targets for s in self.runs.settings], dtype=weights.dtype, device=self.device)
        tau = targets.gather(1, self.samples.unlearnable.long())

        taught = bool((tau < 1).any())

        def losses(margin: Tensor) -> Tensor:
            if not taught:
                return softplus(-margin)
            return tau * softplus(-margin) + (1 - tau) * softplus(margin)

        for _ in range(steps):
            attacked = self.attack(self.runs.common.attack)
            outputs = self.network(self.samples.X)
            self._see(outputs.detach())
            loss = (1 - lam) * losses(y * outputs).mean(1)
            loss = loss + lam * losses(y * self.network(attacked)).mean(1)
            (gradient,) = torch.autograd.grad(loss.sum(), weights)
            if self.runs.common.features == 2:
                gradient[:, :, 1] *= kappa[:, None]
            with torch.no_grad():
                weights.sub_(eta[:, None, None] * gradient)
            self.taken += 1
        with torch.no_grad():
            self._see(self.network(self.samples.X))

    def _see(self, outputs: Float64[Tensor, "B N"]) -> None:
        """Show the current state to the watch; the noise part of a margin is the margin minus its signal part."""
        setting, u = self.runs.common, self._components()
        alpha = self.runs.values("signal", self.device)
        signal = by_sample(
            lambda u: margins(alpha, u, self.network.signs, setting.exponent, setting.activation),
            u, self.samples.labels, self.samples.unlearnable,
        )  # fmt: skip
        self._watch.see(self.taken, u[:, 0], self.samples.labels * outputs - signal)

    def times(self) -> np.ndarray:
        return self._watch.times()

    def attack(self, attack: Attack) -> Float64[Tensor, "B N P d"]:
        """Adversarial versions of the training samples for the current networks."""
        return attack_samples(self.network, self.samples, self.runs, attack)

    def state(self) -> State:
        W = self.network.weights.detach()
        inside = W[:, :, self.runs.common.features :]
        return State(
            u=self._components(),
            v=W @ self.noise.mT,
            K=inside @ inside.mT,
            labels=self.samples.labels,
            unlearnable=self.samples.unlearnable,
        )

    def _components(self) -> Float64[Tensor, "B features F"]:
        """The filters' components along the features."""
        return self.network.weights.detach()[:, :, : self.runs.common.features].mT.clone()

    def keep(self, indices: np.ndarray) -> None:
        chosen = torch.from_numpy(indices).to(self.device)
        self.samples = self.samples.select(chosen)
        self.noise = self.noise[chosen]
        kept = self.network.weights.detach()[chosen]
        setting = self.runs.common
        self.network = PatchCNN(kept, setting.exponent, setting.activation)
        self.runs = self.runs.select(indices)
        self._watch.keep(chosen)


def attack_samples(network: PatchCNN, samples: PatchSamples, runs: Runs, attack: Attack) -> Float64[Tensor, "B N P d"]:
    """Adversarial samples: inside A by trying its end points, or by PGD on the whole input.

    The l_2 budget is delta; the l_inf budget is delta / sqrt(P d), the largest cube inside that ball. PGD takes
    PGD_STEPS steps of 2.5 delta / PGD_STEPS, starting from the sample itself.
    """
    X = samples.X
    delta = runs.values("radius", X.device)
    if attack in ("transfer", "worst"):
        if attack == "transfer":
            return _moved(samples, -delta)
        with torch.no_grad():
            # End points of the segment, and no signal at all if the budget allows it.
            ends = [-delta, delta, -torch.minimum(delta, runs.values("signal", X.device))]
            if callable(runs.common.activation):
                ends = list(points_of(torch.zeros_like(delta), delta))
            options = [_moved(samples, c) for c in ends]
            found = torch.stack([samples.labels * network(option) for option in options])
            return torch.stack(options).gather(0, found.argmin(0)[None, :, :, None, None].expand(1, *X.shape))[0]

    def losses(Z: Tensor) -> Tensor:
        return -samples.labels * network(Z)  # the logistic loss has no gradient at margins above 700

    radii = delta if attack == "pgd-l2" else delta / (X.shape[2] * X.shape[3]) ** 0.5
    adversarial = X.clone()
    for radius in radii.unique():
        chosen = radii == radius
        if radius == 0:
            continue
        budget = Budget("2" if attack == "pgd-l2" else "inf", float(radius))
        step = 2.5 * float(radius) / PGD_STEPS
        moved_all = pgd(losses, X, budget, steps=PGD_STEPS, step_size=step, batch_dims=2)
        adversarial[chosen] = moved_all[chosen]
    return adversarial


def _moved(samples: PatchSamples, c: Float64[Tensor, " B"]) -> Float64[Tensor, "B N P d"]:
    """The samples with c y times their feature added to their signal patches."""
    X = samples.X
    index = samples.position[:, :, None, None].expand(-1, -1, 1, X.shape[3])
    shift = torch.zeros_like(index, dtype=X.dtype)
    size = (c[:, None] * samples.labels)[:, :, None, None]
    shift.scatter_(3, samples.unlearnable[:, :, None, None].long(), size)
    return X.scatter_add(2, index, shift)
