"""Error of the networks of the reduced dynamics under PGD on the whole input, not inside A alone."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64

from cgro.attacks.ball import Budget
from cgro.attacks.pgd import pgd
from cgro.base.randomness import torch_generator
from cgro.dynamics.gram import GramEngine
from cgro.dynamics.patch_cnn import PatchCNN
from cgro.dynamics.samples import fresh_samples

PGD_STEPS = 20


def pgd_error(engine: GramEngine, norm: Literal["2", "inf"], *, samples: int) -> Float64[np.ndarray, " B"]:
    """Error of every run on fresh learnable samples under PGD with radius delta; NaN where weights are not finite.

    samples: fresh samples of each run. PGD takes PGD_STEPS steps of 2.5 delta / PGD_STEPS on the margin, whose gradient
    does not vanish, from a random start.

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
        attacked = pgd(
            lambda Z: -fresh.labels * network(Z),
            fresh.X,
            Budget(norm, setting.radius),
            steps=PGD_STEPS,
            step_size=2.5 * setting.radius / PGD_STEPS,
            start=torch_generator(np.random.SeedSequence([engine.taken, 3])),
            batch_dims=2,
        )
    with torch.no_grad():
        wrong = (fresh.labels * network(attacked) <= 0).double().mean(1)
    return torch.where(finite, wrong, torch.nan).cpu().numpy()
