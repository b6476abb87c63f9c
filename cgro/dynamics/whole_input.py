"""PGD on the whole input, not inside A alone, and the error of the networks of the reduced dynamics under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from cgro.attacks.ball import Budget, random_start
from cgro.attacks.pgd import pgd
from cgro.base.randomness import torch_generator
from cgro.dynamics.patch_cnn import PatchCNN
from cgro.dynamics.samples import fresh_samples

if TYPE_CHECKING:  # not needed to attack a network
    from cgro.dynamics.gram import GramEngine

PGD_STEPS = 20


def pgd_error(engine: GramEngine, norm: Literal["2", "inf"], *, samples: int) -> Float64[np.ndarray, " B"]:
    """Error of every run on fresh learnable samples under PGD with radius delta; NaN where weights are not finite.

    samples: fresh samples of each run. PGD is `margin_pgd`, from a start that depends on the run alone. In l_inf the
    ball depends on the axes, along which the features lie.

    Raises: ValueError if the runs have no patches, or more than one radius.
    """
    runs, setting = engine.runs, engine.runs.common
    if len({s.radius for s in runs.settings}) > 1:
        raise ValueError("the runs have several radii; attack them apart")
    filters = torch.stack([engine.filters(run) for run in range(len(runs))])
    finite = filters.isfinite().all(-1).all(-1)
    network = PatchCNN(torch.where(finite[:, None, None], filters, 0.0), setting.exponent, setting.activation)
    fresh = fresh_samples(runs, samples, engine.device, learnable=True)
    starts = [torch_generator(np.random.SeedSequence([seed, engine.taken, 3])) for seed in runs.seeds]
    attacked = margin_pgd(network, fresh.X, fresh.labels, norm, setting.radius, starts)
    with torch.no_grad():
        wrong = (fresh.labels * network(attacked) <= 0).double().mean(1)
    return torch.where(finite, wrong, torch.nan).cpu().numpy()


def margin_pgd(
    network: PatchCNN,
    X: Float64[Tensor, "B N P d"],
    labels: Shaped[Tensor, "B N"],
    norm: Literal["2", "inf"],
    radius: float,
    starts: Sequence[torch.Generator],
) -> Float64[Tensor, "B N P d"]:
    """The samples after PGD_STEPS steps of 2.5 radius / PGD_STEPS against their margins, as in the public code.

    Margins y f(X) keep a gradient where the logistic loss has none. starts: a generator for each run, which draws where
    it starts.
    """
    if radius == 0:
        return X
    budget = Budget(norm, radius)
    return pgd(
        lambda Z: -labels * network(Z),
        X,
        budget,
        steps=PGD_STEPS,
        step_size=2.5 * radius / PGD_STEPS,
        start=torch.stack([random_start(own, budget, start) for own, start in zip(X, starts, strict=True)]),
        batch_dims=2,
    )
