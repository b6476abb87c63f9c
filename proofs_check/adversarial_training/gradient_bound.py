"""K and K' computed: |grad L(u, x_u) - grad L(v, x_v)| <= K |u - v| + 2 eps K' for two smooth networks.

L = ln(1 + e^(-y f)), u and v are weights of norm at most R, and x_u, x_v any points of the ball |z - x| <= eps, for
example the worst ones for u and v. K bounds the Hessian in the weights and K' the mixed derivative in weights and
input over all these weights and points, so that the path (u, x_u), (v, x_u), (v, x_v) gives the inequality. The second
derivative of L in f is at most 1/4, and the first at most l = 1 / (1 + e^-F) where |f| <= F.

Two layers, f = sum_m a_m tanh <w_m, z> with a fixed: with |z| <= s = |x| + eps and b = max |tanh''| = 4 / (3 sqrt 3),

    F = |a| R s,   K = |a|^2 s^2 / 4 + l b max |a_m| s^2,   K' = |a|^2 R s / 4 + l (b max |a_m| R s + |a|).

Patches, f = sum_r sum_j <w_r, z_j>^3 (Li & Li, ICML 2025): with S_k = sum_j (|x_j| + eps)^k,

    F = R^3 S_3,   K = (3 R^2 S_3)^2 / 4 + 6 l R S_3,   K' = 9 R^5 S_3 sqrt(S_4) / 4 + 9 l R^2 sqrt(S_4).

All four are attained to within 1 %, by weights near 0: K by weights along the gradient, of heavy output weights in two
layers and of one filter along its patch, at a tiny eps (for given output weights, a smaller K may do in two layers); K'
of the patches by u = v and both ends of a small ball, which x_u and x_v may be. Where the weights of two layers pass
through 0, the worst point jumps from one side of the ball to the other, and the gradient by eps |a|: all of 2 eps K'.
Where two filters of the patch network are equally large, the worst point jumps from one to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Constant, Finding

BEND = 4 / (3 * np.sqrt(3))
"""Largest |tanh''|."""


@dataclass(frozen=True)
class Network:
    """f(w, z), its gradients in w and z, and K and K' for weights up to R and points z around x."""

    value: Callable[[np.ndarray, np.ndarray], float]
    in_weights: Callable[[np.ndarray, np.ndarray], np.ndarray]
    in_input: Callable[[np.ndarray, np.ndarray], np.ndarray]
    constants: Callable[[float, np.ndarray, float], tuple[float, float]]


def two_layers(a: np.ndarray) -> Network:
    """Weights (M, D), input (D,)."""

    def constants(R: float, x: np.ndarray, eps: float) -> tuple[float, float]:
        size, largest, s = float(np.linalg.norm(a)), float(np.abs(a).max()), float(np.linalg.norm(x)) + eps
        slope = 1 / (1 + np.exp(-size * R * s))
        K = size**2 * s**2 / 4 + slope * BEND * largest * s**2
        return K, size**2 * R * s / 4 + slope * (BEND * largest * R * s + size)

    return Network(
        lambda w, z: float(a @ np.tanh(w @ z)),
        lambda w, z: np.outer(a / np.cosh(w @ z) ** 2, z),
        lambda w, z: (a / np.cosh(w @ z) ** 2) @ w,
        constants,
    )


def patches() -> Network:
    """Weights (m, d), input (P, d)."""

    def constants(R: float, x: np.ndarray, eps: float) -> tuple[float, float]:
        sizes = np.linalg.norm(x, axis=1) + eps
        S3, S4 = float((sizes**3).sum()), float((sizes**4).sum())
        slope = 1 / (1 + np.exp(-(R**3) * S3))
        K = (3 * R**2 * S3) ** 2 / 4 + 6 * slope * R * S3
        return K, 9 * R**5 * S3 * np.sqrt(S4) / 4 + 9 * slope * R**2 * np.sqrt(S4)

    return Network(
        lambda w, z: float(((z @ w.T) ** 3).sum()),
        lambda w, z: 3 * ((z @ w.T) ** 2).T @ z,
        lambda w, z: 3 * (z @ w.T) ** 2 @ w,
        constants,
    )


def worst(net: Network, w: np.ndarray, x: np.ndarray, y: float, eps: float, start: np.ndarray) -> np.ndarray:
    """A point of the ball with a large loss, by projected gradient ascent from `start`."""
    z = start
    for _ in range(30):
        direction = -y * net.in_input(w, z)
        moved = z + 0.5 * eps * direction / max(float(np.linalg.norm(direction)), 1e-300) - x
        z = x + moved * min(1.0, eps / max(float(np.linalg.norm(moved)), 1e-300))
    return z


def _worst_of(net: Network, w: np.ndarray, x: np.ndarray, y: float, eps: float, starts: list[np.ndarray]) -> np.ndarray:
    found = [worst(net, w, x, y, eps, start) for start in starts]
    return min(found, key=lambda z: y * net.value(w, z))


def gradient(net: Network, w: np.ndarray, z: np.ndarray, y: float) -> np.ndarray:
    """Gradient of the loss in the weights."""
    return -y * expit(-y * net.value(w, z)) * net.in_weights(w, z)


Pair = tuple[np.ndarray, np.ndarray, np.ndarray, float, float, bool]
"""u, v, x, y, eps; whether x_u and x_v are the ends of the ball along x, or the worst points."""
Shares = tuple[float, ...]
"""Of K and K'."""


def random_pairs(
    generator: np.random.Generator, weights: tuple[int, int], inputs: tuple[int, ...], count: int
) -> Iterator[Pair]:
    """Pairs at all distances, near and far from 0."""
    for _ in range(count):
        u = generator.standard_normal(weights) * 10 ** generator.uniform(-2, 0)
        v = u + generator.standard_normal(weights) * 10 ** generator.uniform(-4, 0)
        x = generator.standard_normal(inputs) * generator.uniform(0, 1.5)
        yield u, v, x, float(generator.choice([-1, 1])), float(10 ** generator.uniform(-2, 0)), False


def tight(weights: tuple[int, int], inputs: tuple[int, ...], heavy: np.ndarray) -> Iterator[Pair]:
    """Weights R heavy_m e near those of slightly larger R, and equal ones at both ends of small and large balls."""
    w = np.outer(heavy, np.eye(weights[1])[0]) / np.linalg.norm(heavy)
    x = np.zeros(inputs)
    x.flat[0] = 0.5
    yield 1e-4 * w, 1.001e-4 * w, x, -1.0, 1e-12, False
    yield 1e-4 * w, 1e-4 * w, x, -1.0, 1e-3, True
    yield 1e-4 * w, 1e-4 * w, 0.4 * x, -1.0, 0.3, True


def through_zero(a: np.ndarray, dim: int, size: float) -> Iterator[Pair]:
    """Two layers: weights a_m e and their negatives, whose worst points lie on opposite sides of x = 0."""
    w = size * np.outer(a, np.eye(dim)[0])
    for eps in (0.1, 0.5, 1.0):
        yield w, -w, np.zeros(dim), 1.0, eps, False


def between_filters(filters: int, patch: tuple[int, int], size: float) -> Iterator[Pair]:
    """Patches: the first filter slightly larger than the second, and the other way round."""
    for eps in (0.3, 1.0):
        for large in (0.3, 1.0):
            u = np.zeros((filters, patch[1]))
            u[0, 0], u[1, 1] = large * (1 + size), large
            yield u, u[[1, 0, *range(2, filters)]][:, [1, 0, *range(2, patch[1])]], np.zeros(patch), 1.0, eps, False


def sides(net: Network, pair: Pair, shares: Shares, reach: float) -> tuple[float, float]:
    """Both sides of the inequality; worst points are the worst found, from the same few starts."""
    u, v, x, y, eps, ends = pair
    R = max(float(np.linalg.norm(u)), float(np.linalg.norm(v)))
    starts = [x + 0.5 * eps * s * axis.reshape(x.shape) for axis in np.eye(x.size)[:3] for s in (-1, 1)]
    if ends:
        axis = x / np.linalg.norm(x)
        x_u, x_v = x + eps * axis, x - eps * axis
    else:
        x_u, x_v = (_worst_of(net, w, x, y, eps, starts) for w in (u, v))
    K, K_mixed = net.constants(R, x, reach * eps)
    change = gradient(net, u, x_u, y) - gradient(net, v, x_v, y)
    bound = shares[0] * K * float(np.linalg.norm(u - v)) + shares[1] * 2 * eps * K_mixed
    return float(np.linalg.norm(change)), bound


def check(
    *,
    pairs: int = 60,
    layers: tuple[float, ...] = (1.0, 1.0),
    patched: tuple[float, ...] = (1.0, 1.0),
    reach: float = 1.0,
    seed: int = 0,
) -> Finding:
    """Random pairs of weights, pairs on both sides of a jump of the worst point, and pairs that attain K and K'.

    Args:
        pairs: random pairs for each network.
        layers: claimed constants of two layers, as shares of K and of K'.
        patched: claimed constants of the patches, as shares of K and of K'.
        reach: points are taken to be at most |x| + reach eps long.
        seed: seed of the pairs.
    """
    generator = np.random.default_rng(seed)
    a = generator.standard_normal(3)
    heavy, single = 1000 * a, np.ones(1)
    layered_cases = [*through_zero(a, 4, 1e-6), *random_pairs(generator, (3, 4), (4,), pairs)]
    patched_cases = [*between_filters(3, (2, 4), 1e-6), *random_pairs(generator, (3, 4), (2, 4), pairs)]
    first = scan(layered_cases, lambda pair: sides(two_layers(a), pair, layers, reach))
    second = scan(patched_cases, lambda pair: sides(patches(), pair, patched, reach))
    third = scan(tight((3, 4), (4,), heavy), lambda pair: sides(two_layers(heavy), pair, layers, reach))
    fourth = scan(tight((1, 4), (1, 4), single), lambda pair: sides(patches(), pair, patched, reach))
    scans = (first, second, third, fourth)
    violation = next((each.violation for each in scans if each.violation is not None), None)
    return Finding(
        holds=all(each.holds for each in scans),
        slack=min(each.slack for each in scans),
        tested=f"{sum(each.count for each in scans)} pairs of weights, eps 0.01 to 1: tanh in two layers (3 neurons, "
        "dimension 4), cubic patches (3 filters, 2 patches of dimension 4)",
        bound="K |u - v| + 2 eps K'; two layers: K = |a|^2 s^2/4 + l b max|a_m| s^2, K' = |a|^2 R s/4 + l (b max|a_m| "
        "R s + |a|), s = |x| + eps, b = max|tanh''|, l = 1/(1 + e^(-|a| R s)); patches: K = (3 R^2 S_3)^2/4 + 6 l R S_3"
        ", K' = 9 R^5 S_3 sqrt(S_4)/4 + 9 l R^2 sqrt(S_4), S_k = sum_j (|x_j| + eps)^k, l = 1/(1 + e^(-R^3 S_3))"
        + ("" if (*layers, *patched) == (1, 1, 1, 1) else f", times {layers} in two layers, {patched} with patches"),
        measured=f"slack of the closest pair: {min(first.slack, third.slack):.4g} in two layers, {fourth.slack:.4g} "
        f"with patches; {second.slack:.3g} where the worst point jumps between filters",
        counterexample="" if violation is None else _words(violation),
    )


def _words(pair: Pair) -> str:
    u, v, x, _, eps, _ = pair
    sizes = (np.linalg.norm(each) for each in (u, u - v, x))
    return "|u| = {:.3g}, |u - v| = {:.3g}, |x| = {:.3g}, eps = {:.3g}".format(*sizes, eps)


def _constant(network: str, place: int) -> Constant:
    return Constant(
        lambda f: {network: tuple(f if k == place else 1.0 for k in range(2))},
        refuted=(0.95,),
        otherwise="a larger constant is a weaker claim",
    )


CLAIM = Claim(
    statement="for the logistic loss L of a network of two layers with tanh and of one of cubic patches, weights u and "
    "v of norm at most R, and any x_u and x_v at most eps from x, |grad L(u, x_u) - grad L(v, x_v)| <= K |u - v| + 2 "
    "eps K' with the K and K' of this check; no smaller multiple of K or K' holds for all networks, R and eps",
    source="Dong et al., ICLR 2022, arXiv:2106.01606, stability of gradients; constants derived here",
    tag="[D]",
    evidence="numerical",
    check=check,
    hypotheses={"pairs >= 0": lambda pairs: pairs >= 0},
    deep={"pairs": 3000},
    constants={
        "K of two layers": _constant("layers", 0),
        "2 eps K' of two layers": _constant("layers", 1),
        "K of the patches": _constant("patched", 0),
        "2 eps K' of the patches": _constant("patched", 1),
    },
    controls={
        "0.98 of K in two layers": {"layers": (0.98, 1.0), "pairs": 0},
        "0.99 of K' in two layers": {"layers": (1.0, 0.99), "pairs": 0},
        "without K'": {"layers": (1.0, 0.0), "patched": (1.0, 0.0), "pairs": 0},
        "constants of the clean image instead of the ball": {"reach": 0.0, "pairs": 0},
    },
)
