"""Clean and robust test error from the distribution of a fresh sample [D], without d-dimensional test points.

Given the filters, the vector (<w_r, xi>)_r of a fresh noise patch is N(0, sigma^2 K), so a fresh sample has margin

    y f(X) = h_y(t) + y Z,    Z = sum_{j<P} sum_r a_r phi(g_jr),    g_j ~ N(0, sigma^2 K) independent,

with h_y(alpha) clean and min_t h_y(t) under attack, for the feature that it carries. Only Z is sampled, S times. Each
draw is used for both labels; for the odd activation this is the antithetic pair Z, -Z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from cgro.dynamics.activations import Activation, activation


@dataclass(frozen=True)
class ErrorEstimate:
    """A Monte-Carlo estimate of a probability with its standard error (never zero: see `estimate_error`)."""

    value: Float64[Tensor, " B"]
    standard_error: Float64[Tensor, " B"]


def noise_response(
    K: Float64[Tensor, "F F"],
    sigma: float,
    signs: Float64[Tensor, " F"],
    exponent: float,
    kind: Activation,
    *,
    noise_patches: int,
    draws: int,
    seed: int,
) -> Float64[Tensor, " S"]:
    """S = `draws` independent values of Z for one network; the same seed gives the same underlying normals."""
    eigenvalues, vectors = torch.linalg.eigh(K)
    # K is positive semidefinite, and singular if there are more filters than dimensions.
    root = vectors * eigenvalues.clamp(min=0.0).sqrt()
    normal = _normals(seed, draws * noise_patches, len(K), str(K.device))
    g = sigma * normal @ root.T
    return (activation(g, exponent, kind) @ signs).view(draws, noise_patches).sum(1)


@lru_cache(maxsize=16)
def _normals(seed: int, rows: int, columns: int, device: str) -> Float64[Tensor, "rows columns"]:
    """Standard normals of a seed's test stream; cached, since all steps and settings of a seed use the same ones."""
    stream = int(np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)[0] >> 1)
    generator = torch.Generator(device).manual_seed(stream)
    return torch.randn(rows, columns, dtype=torch.float64, device=device, generator=generator)


def estimate_error(margin: Float64[Tensor, "B 2"], Z: Float64[Tensor, "B S"]) -> ErrorEstimate:
    """P[h_y + y Z <= 0] over both labels (columns y = -1, +1) and over Z.

    The standard error is that of S independent coin flips, with one success and one failure added to the estimate: an
    upper bound for averages over the two labels, and not zero when no error was seen.
    """
    S = Z.shape[1]
    wrong = (margin[:, :1] - Z <= 0).double() + (margin[:, 1:] + Z <= 0).double()
    value = wrong.mean(1) / 2
    smoothed = (S * value + 1) / (S + 2)
    return ErrorEstimate(value, (smoothed * (1 - smoothed) / S).sqrt())


def mixed(estimates: Sequence[ErrorEstimate], share: Float64[Tensor, "B features"]) -> ErrorEstimate:
    """The error of a sample that carries each feature with these probabilities.

    The estimates share their draws, so their standard errors add up.
    """
    if len(estimates) == 1:
        return estimates[0]
    value = sum(share[:, k] * e.value for k, e in enumerate(estimates))
    error = sum(share[:, k] * e.standard_error for k, e in enumerate(estimates))
    return ErrorEstimate(value, error)  # type: ignore[arg-type]
