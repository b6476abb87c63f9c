"""Error of the networks of the reduced dynamics under PGD on the whole input, not inside A alone."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from cgro.attacks.ball import Budget, random_start
from cgro.attacks.pgd import pgd
from cgro.base.randomness import torch_generator
from cgro.dynamics.gram import GramEngine
from cgro.dynamics.patch_cnn import PatchCNN
from cgro.dynamics.samples import fresh_samples

PGD_STEPS = 20


def pgd_error(engine: GramEngine, norm: Literal["2", "inf"], *, samples: int) -> Float64[np.ndarray, " B"]:
    """Error of every run on fresh learnable samples under PGD with radius delta; NaN where weights are not finite.

    samples: fresh samples of each run. PGD takes PGD_STEPS steps of 2.5 delta / PGD_STEPS on the margin, whose gradient
    does not vanish, from a random start that depends on the run alone. In l_inf the ball depends on the axes, along
    which the features lie.

    Raises: ValueError if the runs have no patches, or more than one radius.
    """
    runs, setting = engine.runs, engine.runs.common
    if len({s.radius for s in runs.settings}) > 1:
        raise ValueError("the runs have several radii; attack them apart")
    filters = torch.stack([engine.filters(run) for run in range(len(runs))])
    finite = filters.isfinite().all(-1).all(-1)
    network = PatchCNN(torch.where(finite[:, None, None], filters, 0.0), setting.exponent, setting.activation)
    fresh = fresh_samples(runs, samples, engine.device, learnable=True)
    attacked = fresh.X
    if setting.radius > 0:
        budget = Budget(norm, setting.radius)
        attacked = pgd(
            lambda Z: -fresh.labels * network(Z),
            fresh.X,
            budget,
            steps=PGD_STEPS,
            step_size=2.5 * setting.radius / PGD_STEPS,
            start=torch.stack(
                [_start(X, budget, seed, engine.taken) for X, seed in zip(fresh.X, runs.seeds, strict=True)]
            ),
            batch_dims=2,
        )
    with torch.no_grad():
        wrong = (fresh.labels * network(attacked) <= 0).double().mean(1)
    return torch.where(finite, wrong, torch.nan).cpu().numpy()


def _start(X: Float64[Tensor, "N P d"], budget: Budget, seed: int, step: int) -> Float64[Tensor, "N P d"]:
    return random_start(X, budget, torch_generator(np.random.SeedSequence([seed, step, 3])))
