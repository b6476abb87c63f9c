"""Stochastic gradient descent on single samples with two features, as one compiled loop.

One step with sample i, attacked as in `two_features`, z_rp = max(<w_r, x_p>, 0) for its patches x_p, the margin
m = y sum_r a_r sum_p z_rp^3 and the output signs a_r:

    w_r <- w_r + 3 eta y (tau_i - s(m)) a_r sum_p z_rp^2 x_p

with the component along v multiplied by kappa. A step reads and writes the filters once; with temporal ensembling it
also reads them for the margin without the attack, which moves tau_i first. The numbers do not depend on where the steps
are interrupted.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from jaxtyping import Float64, Int64

from cgro.dynamics.two_features import Samples, TwoFeatureSetting, attacked_in_training

# Sums may be reordered and multiply-adds fused; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz"}


TOGETHER = 4
"""Patches of a sample that pass a filter at once: it is read and written once for all of them."""


def descend(
    W: Float64[np.ndarray, "F d"],
    samples: Samples,
    targets: Float64[np.ndarray, " N"],
    order: Int64[np.ndarray, " steps"],
    setting: TwoFeatureSetting,
    *,
    before: int = 0,
) -> None:
    """Take a step with each sample of `order`, indices of training samples; filters and targets move in place.

    targets: tau of each sample, at first those of `two_features.first_targets`; they stay without temporal ensembling.
    before: steps taken before, >= 0, from which temporal ensembling knows when to start.
    """
    # The attack does not depend on the network. Patches of zeros add nothing.
    missing = ((0, 0), (0, -samples.X.shape[1] % TOGETHER), (0, 0))
    attacked = np.pad(attacked_in_training(samples, setting), missing)
    rest = (samples.labels, targets, setting.learning_rate, setting.visibility)
    start = len(order)
    if setting.ensembling_momentum is not None:
        start = min(max(setting.ensembling_start - before, 0), start)
    _descend(W, attacked, None, order[:start], 0.0, *rest)
    if start < len(order):
        clean = np.pad(samples.X, missing)
        _descend(W, attacked, clean, order[start:], setting.ensembling_momentum, *rest)


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _products(w, a, b, c, d):  # type: ignore[no-untyped-def]
    """The inner products of w with four patches, where they are positive, else 0."""
    p = q = r = s = 0.0
    for k in range(w.size):
        p += w[k] * a[k]
        q += w[k] * b[k]
        r += w[k] * c[k]
        s += w[k] * d[k]
    return max(p, 0.0), max(q, 0.0), max(r, 0.0), max(s, 0.0)


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _add(w, a, b, c, d, p, q, r, s):  # type: ignore[no-untyped-def]
    """w += p a + q b + r c + s d."""
    for k in range(w.size):
        w[k] += p * a[k] + q * b[k] + r * c[k] + s * d[k]


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _output(W, x, z):  # type: ignore[no-untyped-def]
    """f(x), and in z its responses max(<w_r, x_p>, 0)."""
    half, output = len(W) // 2, 0.0
    for p in range(0, len(x), TOGETHER):
        e, f, g, h = x[p], x[p + 1], x[p + 2], x[p + 3]
        for r in range(len(W)):
            a, b, c, d = _products(W[r], e, f, g, h)
            z[r, p], z[r, p + 1], z[r, p + 2], z[r, p + 3] = a, b, c, d
            total = a * a * a + b * b * b + c * c * c + d * d * d
            output += total if r < half else -total
    return output


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _descend(W, X, clean, order, momentum, labels, targets, rate, visibility):  # type: ignore[no-untyped-def]
    """Steps with the attacked samples X; targets follow the predictions of the clean ones, unless these are None."""
    filters, patches = len(W), X.shape[1]
    half = filters // 2
    z = np.empty((filters, patches))
    for step in range(order.size):
        i = order[step]
        y = labels[i]
        if clean is not None:
            prediction = 1.0 / (1.0 + np.exp(-y * _output(W, clean[i], z)))
            targets[i] = momentum * targets[i] + (1.0 - momentum) * prediction
        pull = 3.0 * rate * y * (targets[i] - 1.0 / (1.0 + np.exp(-y * _output(W, X[i], z))))
        for p in range(0, patches, TOGETHER):
            e, f, g, h = X[i, p], X[i, p + 1], X[i, p + 2], X[i, p + 3]
            for r in range(filters):
                a, b, c, d = z[r, p], z[r, p + 1], z[r, p + 2], z[r, p + 3]
                if a + b + c + d > 0.0:
                    w, seen, own = W[r], W[r, 1], pull if r < half else -pull
                    _add(w, e, f, g, h, own * a * a, own * b * b, own * c * c, own * d * d)
                    w[1] = seen + visibility * (w[1] - seen)
