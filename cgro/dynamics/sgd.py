"""Stochastic gradient descent on single samples with two features, as one compiled loop.

One step with sample i, attacked as in `two_features`, z_rp = max(<w_r, x_p>, 0) for its patches x_p, the margin
m = y sum_r a_r sum_p z_rp^3 and the output signs a_r:

    w_r <- w_r + 3 eta y (tau_i - s(m)) a_r sum_p z_rp^2 x_p

with the component along v multiplied by kappa. A step reads and writes the filters once. The numbers do not depend on
where the steps are interrupted.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from jaxtyping import Float64, Int64

from cgro.dynamics.two_features import Samples, TwoFeatureSetting

# Sums may be reordered and multiply-adds fused; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz"}


def descend(
    W: Float64[np.ndarray, "F d"], samples: Samples, order: Int64[np.ndarray, " steps"], setting: TwoFeatureSetting
) -> None:
    """Take a step in place with each sample of `order`, indices of training samples."""
    targets = np.where(samples.unlearnable, *reversed(setting.targets))
    _descend(W, samples.X, samples.labels, targets, order, setting.radius, setting.learning_rate, setting.visibility)


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _descend(W, X, labels, targets, order, radius, rate, visibility):  # type: ignore[no-untyped-def]
    filters, d = W.shape
    patches = X.shape[1]
    half = filters // 2
    z = np.empty((filters, patches))
    for step in range(order.size):
        i = order[step]
        y, output = labels[i], 0.0
        for r in range(filters):
            w, shift = W[r], -y * radius * (W[r, 0] + W[r, 1])
            total = 0.0
            for p in range(patches):
                x, response = X[i, p], shift
                for k in range(d):
                    response += w[k] * x[k]
                response = max(response, 0.0)
                z[r, p] = response
                total += response * response * response
            output += total if r < half else -total
        residual = targets[i] - 1.0 / (1.0 + np.exp(-y * output))
        for r in range(filters):
            w, sign = W[r], (1.0 if r < half else -1.0)
            for p in range(patches):
                if z[r, p] == 0.0:
                    continue
                c, x = 3.0 * rate * y * residual * sign * z[r, p] * z[r, p], X[i, p]
                seen = w[1]
                for k in range(d):
                    w[k] += c * x[k]
                w[0] -= c * y * radius
                w[1] = seen + visibility * c * (x[1] - y * radius)
