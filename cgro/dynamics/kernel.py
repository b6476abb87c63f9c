"""The reduced dynamics as one compiled loop: many gradient steps of one run within the L1 cache.

State of a run: u (features, F), v (F, n), A (F, n), where row r of A holds the accumulated coefficients of the noise
patches in filter r, times sigma^2. One step, with psi(z) = 1/(1 + e^z) - (1 - tau_i) at the clean and the attacked
margins of sample i and its target tau_i, is

    u_kr <- u_kr + (eta q / N) kappa_k sum_{i: f_i = k} y_i [(1-lambda) psi^c_i |alpha|^q + lambda psi^a_i |t_i|^q]
                   slope(u_kr)
    A    <- A + W,   W_rk = (eta q sigma^2 / N) psi~_k y_k slope(v_rk)
    v    <- v + W G

where sample i carries feature f_i, and kappa_k is 1 for w* and the visibility for v.

`slope` is the derivative of the activation divided by q, with the output sign. Every state, including the first and the
last, is checked for the ends of phases (see `crossings`). A run takes about 40 kB; training run by run keeps it in
cache, so the matrix product W G determines the speed. The numbers of a run do not depend on its batch, the number of
threads, or where the steps are interrupted.
"""

from __future__ import annotations

import numba as nb
import numpy as np

SIGNAL, RADIUS, WEIGHT, RATE, NOISE, VISIBILITY, DOUBT_LEARNABLE, DOUBT_UNLEARNABLE = range(8)
"""Columns of the parameter table: alpha, delta, lambda, eta, sigma, kappa, and 1 - tau of samples with w* and v."""

# Sums may be reordered and multiply-adds fused; NaN and infinity keep their meaning.
_FAST = {"reassoc", "contract", "nsz"}
_LOG2E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 6.93145751953125e-1, 1.42860682030941723212e-6
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, kept in the low bits


@nb.njit(nogil=True, cache=True)
def bounded_exp(x, e, bits):  # type: ignore[no-untyped-def]
    """e = exp(x) with x clipped to +-700; overwrites x; `bits` is `e` viewed as int64.

    A vectorizable exponential (Cody-Waite reduction, Taylor series to degree 13, error below 2 ulp): calling libm would
    cost a third of a step. Within the bound neither 1/(1+e) nor e * e' overflows for the pairs used below.
    """
    for i in range(x.size):
        z = min(max(x[i], -700.0), 700.0)
        e[i] = z * _LOG2E + _ROUND
        k = e[i] - _ROUND
        x[i] = (z - k * _LN2_HIGH) - k * _LN2_LOW
    for i in range(x.size):
        bits[i] = (bits[i] << 52) + (1023 << 52)
    for i in range(x.size):
        r = x[i]
        p = 1 / 6227020800.0
        p = p * r + 1 / 479001600.0
        p = p * r + 1 / 39916800.0
        p = p * r + 1 / 3628800.0
        p = p * r + 1 / 362880.0
        p = p * r + 1 / 40320.0
        p = p * r + 1 / 5040.0
        p = p * r + 1 / 720.0
        p = p * r + 1 / 120.0
        p = p * r + 1 / 24.0
        p = p * r + 1 / 6.0
        p = p * r + 0.5
        p = p * r + 1.0
        p = p * r + 1.0
        e[i] = p * e[i]


@nb.njit(nogil=True, cache=True, inline="always")
def _power(base, exponent):  # type: ignore[no-untyped-def]
    if exponent == 2.0:
        return base * base
    if exponent == 1.0:
        return base
    if exponent == 3.0:
        return base * base * base
    if exponent == 1.5:
        return base * np.sqrt(base)
    return base**exponent


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _forward(v, change, W, total, signs, q, rectified):  # type: ignore[no-untyped-def]
    """v += change; total_k = sum_r a_r phi(v_rk); W = slope(v), except in the case of the papers."""
    filters, n = v.shape
    total[:] = 0.0
    for r in range(filters):
        vr, cr, wr, sign = v[r], change[r], W[r], signs[r]
        if q == 3.0 and not rectified:  # the case of the papers: _accumulate computes W on the fly
            for k in range(n):
                x = vr[k] + cr[k]
                vr[k] = x
                total[k] += x * x * x
            continue
        for k in range(n):
            x = vr[k] + cr[k]
            vr[k] = x
            base = max(x, 0.0) if rectified else abs(x)
            wr[k] = sign * _power(base, q - 1.0)
        for k in range(n):
            total[k] += wr[k] * vr[k]


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _accumulate(v, W, coefficient, A, q, rectified):  # type: ignore[no-untyped-def]
    """W_rk = coefficient_k slope(v_rk); A += W."""
    filters, n = W.shape
    for r in range(filters):
        vr, wr, ar = v[r], W[r], A[r]
        if q == 3.0 and not rectified:
            for k in range(n):
                x = vr[k] * vr[k] * coefficient[k]
                wr[k] = x
                ar[k] += x
            continue
        for k in range(n):
            x = wr[k] * coefficient[k]
            wr[k] = x
            ar[k] += x


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _memorized(total, y, V):  # type: ignore[no-untyped-def]
    """V_i = y_i sum_j total_ij."""
    N = y.size
    noise_patches = total.size // N
    if noise_patches == 1:  # for speed: this loop is vectorized
        for i in range(N):
            V[i] = total[i] * y[i]
        return
    for i in range(N):
        s = 0.0
        for j in range(noise_patches):
            s += total[i * noise_patches + j]
        V[i] = s * y[i]


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _margins(V, y, attacked, margin):  # type: ignore[no-untyped-def]
    """Attacked margin of each sample with w*: V_i + attacked[y_i]."""
    for i in range(y.size):
        margin[i] = V[i] + (attacked[1] if y[i] > 0 else attacked[0])


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _respond(e, y, here, ratio, lam, doubt, weight):  # type: ignore[no-untyped-def]
    """weight_i = y_i psi~_i for the samples of a feature, where `here` is 1, and unchanged for others, where it is 0.

    Returns the sums of (1-lambda) psi^c and lambda psi^a over each label.
    """
    low, high = ratio[0], ratio[1]
    clean_low = clean_high = attacked_low = attacked_high = 0.0
    for i in range(y.size):
        positive = here[i] if y[i] > 0 else 0.0
        clean = (1.0 - lam) * (1.0 / (1.0 + e[i] * (high if y[i] > 0 else low)) - doubt)
        attacked = lam * (1.0 / (1.0 + e[i]) - doubt)
        clean_high += positive * clean
        clean_low += (here[i] - positive) * clean
        attacked_high += positive * attacked
        attacked_low += (here[i] - positive) * attacked
        weight[i] = (clean + attacked) * y[i] if here[i] > 0 else weight[i]
    return clean_low, clean_high, attacked_low, attacked_high


@nb.njit(nogil=True, cache=True)
def _meeting(step, before, now, level):  # type: ignore[no-untyped-def]
    """Where the line from `before` at step - 1 to `now` at `step` meets the level; `step` if it does not."""
    weight = (level - before) / (now - before)
    return step - 1 + weight if 0.0 <= weight <= 1.0 else step


@nb.njit(nogil=True, cache=True)
def _median(V):  # type: ignore[no-untyped-def]
    """Median of V; NaN unless all values are finite."""
    if not np.isfinite(V).all():
        return np.nan
    ordered, N = np.sort(V), V.size
    return 0.5 * (ordered[(N - 1) // 2] + ordered[N // 2])


@nb.njit(nogil=True, cache=True)
def _watch(step, blind, u, alpha, levels, V, last, largest, times):  # type: ignore[no-untyped-def]
    """Record in `times` the levels reached at this step; returns alpha max_r |u_r|,
    or 0 once T_0 is known.

    blind: 1 for unlearnable samples, else 0. V: V_i of this step. last, largest: V_i and alpha max_r |u_r| of the
    previous step, NaN before the first. The level of T_n is below that of T_1.
    """
    now = 0.0
    if np.isnan(times[0]):
        for r in range(u.size):
            now = max(now, abs(u[r]))
        now *= alpha
        if now >= levels[0]:
            times[0] = _meeting(step, largest, now, levels[0])

    N = V.size
    if np.isnan(times[1]) or np.isnan(times[2]):
        lowest, above = levels[1] if np.isnan(times[1]) else levels[2], 0
        for i in range(N):
            above += V[i] >= lowest
        # Sort for the median only if it may have reached a level.
        if 2 * above >= N:
            median = _median(V)
            for k in range(1, 3):
                if np.isnan(times[k]) and median >= levels[k]:
                    times[k] = _meeting(step, _median(last), median, levels[k])
    if np.isnan(times[3]):
        before = first = -np.inf
        for i in range(N):
            if blind[i] > 0:
                # NaN once some V_i is, whatever their order.
                first = max(first, V[i]) if V[i] - V[i] == 0 and first == first else np.nan
                before = max(before, last[i])
        if first >= levels[3]:
            times[3] = _meeting(step, before, first, levels[3])
    return now


@nb.njit(nogil=True, cache=True)
def _train(  # type: ignore[no-untyped-def]
    v, A, u, G, labels, unlearnable, signs, parameters, q, rectified, worst, taken, steps, levels, times
):
    filters, n = v.shape
    N = labels.size
    noise_patches = n // N
    alpha, delta, lam = parameters[SIGNAL], parameters[RADIUS], parameters[WEIGHT]
    rate = parameters[RATE] * q / N
    variance = parameters[NOISE] ** 2
    W, change = np.empty((filters, n)), np.zeros((filters, n))
    total, coefficient = np.empty(n), np.empty(n)
    exponential = np.empty(N)
    bits = exponential.view(np.int64)
    margin, weight = np.empty(N), np.empty(N)
    y, features = labels.astype(np.float64), len(u)
    blind = unlearnable.astype(np.float64)
    carries = np.stack((1.0 - blind, blind))
    any_unlearnable = unlearnable.any()
    doubt = np.array([parameters[DOUBT_LEARNABLE], parameters[DOUBT_UNLEARNABLE]])
    seen = np.array([1.0, parameters[VISIBILITY]])
    U, attacked, ratio, pull = np.empty(2), np.empty((2, 2)), np.empty((2, 2)), np.empty(2)
    gap, extreme = np.empty((2, 2)), np.empty(N)
    attacked_power, attacked_side = np.empty((2, 2)), np.empty((2, 2), np.int64)
    slopes = np.empty((2, 2, filters))
    # Signals t that may attain the worst case, transfer attack first; index 0 or 1 of U for each t and label.
    candidates = np.array([alpha - delta, alpha + delta, max(alpha - delta, 0.0)])
    tried = 3 if worst else 1
    power, clean_power = np.abs(candidates) ** q, alpha**q
    V, last, largest = np.full(N, np.nan), np.full(N, np.nan), np.nan

    for step in range(steps):
        _forward(v, change, W, total, signs, q, rectified)
        V, last = last, V
        _memorized(total, y, V)
        sought = np.isnan(times[0]) or np.isnan(times[1]) or np.isnan(times[2])
        if sought or (any_unlearnable and np.isnan(times[3])):
            largest = _watch(taken + step, blind, u[0], alpha, levels, V, last, largest, times)

        # What the network has learned of each feature, and the attack on it, for y = -1 and y = +1.
        for k in range(features):
            U[:] = 0.0
            for r in range(filters):
                x = u[k, r]
                if rectified:
                    slopes[k, 0, r] = -signs[r] * _power(max(-x, 0.0), q - 1.0)
                    slopes[k, 1, r] = signs[r] * _power(max(x, 0.0), q - 1.0)
                    U[0] += slopes[k, 0, r] * x
                else:
                    slopes[k, 1, r] = signs[r] * _power(abs(x), q - 1.0)
                    slopes[k, 0, r] = -slopes[k, 1, r]
                U[1] += slopes[k, 1, r] * x
            if not rectified:
                U[0] = -U[1]
            for label in range(1, -1, -1):
                if label == 0 and not rectified:  # the odd activation treats both labels alike
                    attacked[k, 0], attacked_power[k, 0] = attacked[k, 1], attacked_power[k, 1]
                    ratio[k, 0], attacked_side[k, 0] = ratio[k, 1], 1 - attacked_side[k, 1]
                    gap[k, 0] = gap[k, 1]
                    break
                sign = 2.0 * label - 1.0
                for c in range(tried):
                    side = label if candidates[c] >= 0 else 1 - label
                    h = sign * power[c] * U[side]
                    # Always accept the first, even if infinite: an unset side would index out of bounds.
                    if c == 0 or not h >= attacked[k, label]:
                        attacked[k, label], attacked_power[k, label], attacked_side[k, label] = h, power[c], side
                gap[k, label] = sign * clean_power * U[label] - attacked[k, label]
                ratio[k, label] = np.exp(min(gap[k, label], 700.0))

        _margins(V, y, attacked[0], margin)
        if features == 2:
            for i in range(N):
                label = 1 if y[i] > 0 else 0
                margin[i] += blind[i] * (attacked[1, label] - attacked[0, label])
        lowest = 0.0
        for i in range(N):
            lowest = min(lowest, margin[i])
        if lowest < -700.0:
            extreme[:] = margin
        bounded_exp(margin, exponential, bits)
        if lowest < -700.0:
            # A bounded exponential times the ratio would be that of another clean margin; at most e^-40 is lost here.
            for i in range(N):
                if extreme[i] < -700.0:
                    apart = gap[1 if blind[i] > 0 else 0, 1 if y[i] > 0 else 0]
                    exponential[i] = np.exp(min(extreme[i] + apart, 660.0) - min(apart, 700.0))
        for k in range(features):
            clean_low, clean_high, attacked_low, attacked_high = _respond(
                exponential, y, carries[k], ratio[k], lam, doubt[k], weight
            )
            pull[0], pull[1] = -clean_power * clean_low, clean_power * clean_high
            pull[attacked_side[k, 0]] -= attacked_power[k, 0] * attacked_low
            pull[attacked_side[k, 1]] += attacked_power[k, 1] * attacked_high
            for r in range(filters):
                u[k, r] += rate * seen[k] * (pull[0] * slopes[k, 0, r] + pull[1] * slopes[k, 1, r])
        if noise_patches == 1:
            for i in range(N):
                coefficient[i] = rate * variance * weight[i]
        else:
            for i in range(N):
                for j in range(noise_patches):
                    coefficient[i * noise_patches + j] = rate * variance * weight[i]

        _accumulate(v, W, coefficient, A, q, rectified)
        np.dot(W, G, change)
    _forward(v, change, W, total, signs, q, rectified)
    V, last = last, V
    _memorized(total, y, V)
    _watch(taken + steps, blind, u[0], alpha, levels, V, last, largest, times)


@nb.njit(nogil=True, cache=True)
def advance(  # type: ignore[no-untyped-def]
    v,
    A,
    u,
    G,
    labels,
    unlearnable,
    draw,
    signs,
    parameters,
    q,
    rectified,
    worst,
    taken,
    steps,
    levels,
    times,
    first,
    last,
):
    """Take `steps` gradient steps in place with runs first..last-1, which have taken `taken` steps before.

    v, A (B, F, n); u (B, features, F); unlearnable (B, N); G (S, n, n) and labels (S, N) of S draws, where run b uses
    draw[b]; signs (F,); parameters (B, 8); q the exponent; rectified: relu activation; worst: worst case inside A, else
    transfer attack; levels (4,) and times (B, 4) as in `crossings`, NaN if not reached yet.
    """
    for b in range(first, last):
        s = draw[b]
        _train(
            v[b], A[b], u[b], G[s], labels[s], unlearnable[b], signs, parameters[b], q, rectified, worst, taken, steps,
            levels, times[b],
        )  # fmt: skip
