"""The two-layer convolutional network of Li & Li (ICML 2025, arXiv:2306.01271), section 5, on patch-structured inputs.

    f_W(X) = sum_r a_r sum_j phi(<w_r, X[j]>)

Two versions: "odd" with phi(z) = sgn(z)|z|^q and all a_r = 1 (cubic at q = 3), and "relu" with phi(z) = max(z, 0)^q,
2m filters trained separately, fixed signs a_r = +1 (first half) and -1 (second half), and symmetric initialization
w_{m+r}(0) = -w_r(0), so that both versions are the same function at initialization.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from cgro.dynamics.activations import Activation, activation


def output_signs(filters: int, kind: Activation) -> Float64[Tensor, " F"]:
    """a_r: F = 2m, m ones and m minus ones ("relu"), or F = m ones ("odd" or your own function)."""
    ones = torch.ones(filters, dtype=torch.float64)
    return torch.cat([ones, -ones]) if kind == "relu" else ones


def initial_filters(drawn: Float64[Tensor, "*rest m d"], kind: Activation) -> Float64[Tensor, "*rest F d"]:
    """The drawn filters ("odd"), or the drawn filters and their negatives ("relu", symmetric initialization)."""
    return torch.cat([drawn, -drawn], dim=-2) if kind == "relu" else drawn


class PatchCNN(nn.Module):
    """A batch of B independent networks, one for each run; weights (B, F, d) in float64."""

    signs: Tensor

    def __init__(self, weights: Float64[Tensor, "B F d"], exponent: float, kind: Activation) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights.clone())
        self.exponent, self.kind = exponent, kind
        width = weights.shape[1] // 2 if kind == "relu" else weights.shape[1]
        self.register_buffer("signs", output_signs(width, kind).to(weights.device))

    def forward(self, X: Float64[Tensor, "B N P d"]) -> Float64[Tensor, "B N"]:
        """f_W(X) of each run on its own samples."""
        B, N, P, d = X.shape
        z = X.reshape(B, N * P, d) @ self.weights.mT
        return (activation(z, self.exponent, self.kind) @ self.signs).view(B, N, P).sum(2)
