"""K and K' computed: |grad L(u, x_u) - grad L(v, x_v)| <= K |u - v| + 2 eps K' for two smooth networks.

L = ln(1 + e^(-y f)), u and v are weights of norm at most R, and x_u, x_v any points of the ball |z - x| <= eps, for
example the worst ones for u and v. If f and its derivatives obey, for all these weights and points,

    |f| <= F,   |grad_w f| <= G,   |Hess_w f| <= H,   |grad_z f| <= g,   |d^2 f / dw dz| <= M,

then the Hessian of L in the weights is at most K = G^2/4 + l H, and its mixed derivative at most K' = G g/4 + l M, as
|L''| <= 1/4 and |L'| <= l = 1 / (1 + e^-F) as functions of f. The path (u, x_u), (v, x_u), (v, x_v) gives the
inequality.

Two layers, f = sum_m a_m tanh <w_m, z> with a fixed: with |z| <= s = |x| + eps and b = max |tanh''| = 4 / (3 sqrt 3),

    F = |a| R s,   G = |a| s,   H = b max |a_m| s^2,   g = |a| R,   M = b max |a_m| R s + |a|.

Patches, f = sum_r sum_j <w_r, z_j>^3 (Li & Li, ICML 2025): with S_k = sum_j (|x_j| + eps)^k,

    F = R^3 S_3,   G = 3 R^2 S_3,   H = 6 R S_3,   g = 3 R^3 sqrt(S_4),   M = 9 R^2 sqrt(S_4).

Each of these is attained: the second derivatives of two layers where tanh'' is largest, M for small and for large R,
those of the patches by one filter along all of them. So are both 1/4, by heavy output weights at f = 0; both l, by
light ones; and 2 eps K', where the worst point jumps from one side of the ball to the other. Where two filters of the
patch network are equally large, the worst point jumps from one to the other. Not all are attained at once: K and K' may
be too large for a given network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.special import expit

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Constant, Finding

BEND = 4 / (3 * np.sqrt(3))
"""Largest |tanh''|, where tanh is 1 / sqrt 3."""
ATTAINED = 0.99
"""Share of a bound that counts as attained."""
STEEPEST = float(np.arctanh(1 / np.sqrt(3)))
Factors = tuple[float, ...]
"""Of the bounds of one network's derivatives."""


@dataclass(frozen=True)
class Network:
    """f(w, z), its gradients, the norms of its derivatives, and bounds of these for weights up to R and points z of the
    ball around x."""

    value: Callable[[np.ndarray, np.ndarray], float]
    in_weights: Callable[[np.ndarray, np.ndarray], np.ndarray]
    in_input: Callable[[np.ndarray, np.ndarray], np.ndarray]
    second: Callable[[np.ndarray, np.ndarray], tuple[float, float]]
    """|Hess_w f| and |d^2 f / dw dz|, operator norms."""
    bounds: Callable[[float, np.ndarray, float], tuple[float, float, float, float, float]]
    """F, G, H, g, M from R, x and eps."""
    force: float = 1.0
    """Factor of F in l."""

    def norms(self, w: np.ndarray, z: np.ndarray) -> tuple[float, float, float, float]:
        """Of the four derivatives."""
        hessian, mixed = self.second(w, z)
        return float(np.linalg.norm(self.in_weights(w, z))), hessian, float(np.linalg.norm(self.in_input(w, z))), mixed

    def constants(self, R: float, x: np.ndarray, eps: float, quarters: Factors = (0.25, 0.25)) -> tuple[float, float]:
        """K and K'."""
        F, G, H, g, M = self.bounds(R, x, eps)
        slope = 1 / (1 + np.exp(-self.force * F))
        return quarters[0] * G**2 + slope * H, quarters[1] * G * g + slope * M


def two_layers(a: np.ndarray, factors: Factors = (1.0,) * 5) -> Network:
    """Weights (M, D), input (D,); factors of G, H, g and of both terms of M."""
    size, largest = float(np.linalg.norm(a)), float(np.abs(a).max())

    def second(w: np.ndarray, z: np.ndarray) -> tuple[float, float]:
        t = np.tanh(w @ z)
        slope, bend = a * (1 - t**2), -2 * a * t * (1 - t**2)
        mixed = slope[:, None, None] * np.eye(len(z)) + bend[:, None, None] * z[:, None] * w[:, None, :]
        return float(np.abs(bend).max() * (z @ z)), float(np.linalg.norm(mixed.reshape(-1, len(z)), 2))

    def bounds(R: float, x: np.ndarray, eps: float) -> tuple[float, float, float, float, float]:
        s, (G, H, g, bent, straight) = float(np.linalg.norm(x)) + eps, factors
        M = bent * BEND * largest * R * s + straight * size
        return size * R * s, G * size * s, H * BEND * largest * s**2, g * size * R, M

    return Network(
        lambda w, z: float(a @ np.tanh(w @ z)),
        lambda w, z: np.outer(a / np.cosh(w @ z) ** 2, z),
        lambda w, z: (a / np.cosh(w @ z) ** 2) @ w,
        second,
        bounds,
    )


def patches(factors: Factors = (1.0,) * 4) -> Network:
    """Weights (m, d), input (P, d); factors of G, H, g and M."""

    def second(w: np.ndarray, z: np.ndarray) -> tuple[float, float]:
        along = w @ z.T
        hessians = 6 * np.einsum("rj,jk,jl->rkl", along, z, z)
        mixed = 6 * np.einsum("rj,jk,rl->rkjl", along, z, w)
        mixed += 3 * np.einsum("rj,kl->rkjl", along**2, np.eye(w.shape[1]))
        norms = np.linalg.norm(hessians, 2, axis=(1, 2))
        return float(norms.max()), float(np.linalg.norm(mixed.reshape(w.size, z.size), 2))

    def bounds(R: float, x: np.ndarray, eps: float) -> tuple[float, float, float, float, float]:
        sizes, (G, H, g, M) = np.linalg.norm(x, axis=1) + eps, factors
        S3, S4 = float((sizes**3).sum()), float((sizes**4).sum())
        return R**3 * S3, G * 3 * R**2 * S3, H * 6 * R * S3, g * 3 * R**3 * np.sqrt(S4), M * 9 * R**2 * np.sqrt(S4)

    return Network(
        lambda w, z: float(((z @ w.T) ** 3).sum()),
        lambda w, z: 3 * ((z @ w.T) ** 2).T @ z,
        lambda w, z: 3 * (z @ w.T) ** 2 @ w,
        second,
        bounds,
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


@dataclass(frozen=True)
class Pair:
    """Two weights and a ball."""

    net: Network
    u: np.ndarray
    v: np.ndarray
    x: np.ndarray
    y: float
    eps: float
    along: np.ndarray | None = None
    """x_u and x_v are the ends of the ball along this direction; without one, the worst points."""
    attains: bool = False
    """Whether a term of K or K' is attained."""

    def __str__(self) -> str:
        sizes = (np.linalg.norm(each) for each in (self.u, self.u - self.v, self.x))
        return "|u| = {:.3g}, |u - v| = {:.3g}, |x| = {:.3g}, eps = {:.3g}".format(*sizes, self.eps)


def random_pairs(
    net: Network, weights: tuple[int, int], inputs: tuple[int, ...], count: int, generator: np.random.Generator
) -> Iterator[Pair]:
    """Pairs at all distances, near and far from 0."""
    for _ in range(count):
        u = generator.standard_normal(weights) * 10 ** generator.uniform(-2, 0)
        v = u + generator.standard_normal(weights) * 10 ** generator.uniform(-4, 0)
        x = generator.standard_normal(inputs) * generator.uniform(0, 1.5)
        yield Pair(net, u, v, x, float(generator.choice([-1, 1])), float(10 ** generator.uniform(-2, 0)))


@dataclass(frozen=True)
class Point:
    """Weights and a point z of the ball of radius eps around x."""

    net: Network
    w: np.ndarray
    z: np.ndarray
    x: np.ndarray
    eps: float
    attains: str = ""
    """Which of G, H, g and M."""

    @property
    def bounds(self) -> tuple[float, float, float, float, float]:
        """F, G, H, g, M for weights of this norm."""
        return self.net.bounds(float(np.linalg.norm(self.w)), self.x, self.eps)

    def __str__(self) -> str:
        return f"|w| = {np.linalg.norm(self.w):.3g}, |z| = {np.linalg.norm(self.z):.3g}"


def random_points(pairs: list[Pair], generator: np.random.Generator) -> Iterator[Point]:
    """The first weights of pairs at random points of their balls."""
    for pair in pairs:
        step = generator.standard_normal(pair.x.shape)
        z = pair.x + pair.eps * generator.uniform() * step / np.linalg.norm(step)
        yield Point(pair.net, pair.u, z, pair.x, pair.eps)


E1, E2 = np.eye(4)[:2]


def extreme_points(layered: Network, a: np.ndarray, patched: Network) -> Iterator[Point]:
    """Where the bounds are attained: at the end of a ball along e_1, by weights along it (all but one of two layers'),
    the heaviest neuron where tanh bends most, for a short and for a long input, and one filter."""
    x, eps = 0.5 * E1, 0.3
    z = (0.5 + eps) * E1
    heaviest = np.outer(np.arange(len(a)) == np.abs(a).argmax(), 1.0)
    bent = STEEPEST / 0.8 * E1
    for w, attains in ((1e-6 * np.outer(a, E1), "GgM"), (heaviest * bent, "H"), (heaviest * (bent + 1e6 * E2), "M")):
        yield Point(layered, w, z, x, eps, attains)
    lengths = np.array([[1.0], [0.4]])
    for R in (0.1, 1.0, 3.0):
        yield Point(patched, R * np.eye(3, 1) * E1, lengths * E1, lengths * E1, 0.0, "GHgM")


def extreme_pairs(a: np.ndarray, layers: Factors, patched: Network) -> Iterator[Pair]:
    """Where terms of K and K' are attained: heavy output weights at f = 0, light ones, and one small filter."""
    heavy, light = two_layers(1e5 * a, layers), two_layers(1e-6 * a, layers)
    x, small = 0.5 * E1, 1e-9
    w = 1e-8 * np.outer(a, E1)
    yield Pair(heavy, w, 1.001 * w, x, -1.0, 1e-12, attains=True)
    across = np.outer(a, E2)
    yield Pair(heavy, across, across, x, 1.0, small, E2, attains=True)
    heaviest = np.outer(np.arange(len(a)) == np.abs(a).argmax(), 1.0)
    bent = 2 * STEEPEST * heaviest * E1
    yield Pair(light, bent, (1 + 1e-6) * bent, x, 1.0, 1e-12, attains=True)
    long = bent + 1e3 * heaviest * E2
    yield Pair(light, long, long, x, 1.0, small, E2, attains=True)
    filters = 1e-4 * np.eye(1, 4)
    yield Pair(patched, filters, 1.001 * filters, x[None], -1.0, 1e-12, attains=True)
    # l at f = F: one filter along its patch, with the other label.
    filters = 0.3 ** (1 / 3) * np.eye(1, 4)
    yield Pair(patched, filters, (1 + 1e-6) * filters, 2 * x[None], -1.0, 1e-12, attains=True)
    filters = 1e-4 * np.eye(1, 4)
    for y, eps in ((x, 1e-3), (0.4 * x, 0.3)):
        yield Pair(patched, filters, filters, y[None], -1.0, eps, np.eye(1, 4), attains=eps < 0.01)


def through_zero(net: Network, a: np.ndarray) -> Iterator[Pair]:
    """Two layers: weights a_m e and their negatives, whose worst points lie on opposite sides of x = 0."""
    w = 1e-6 * np.outer(a, E1)
    for eps in (0.1, 0.5, 1.0):
        yield Pair(net, w, -w, np.zeros(4), 1.0, eps, attains=True)


def between_filters(net: Network) -> Iterator[Pair]:
    """Patches: the first filter slightly larger than the second, and the other way round."""
    for eps in (0.3, 1.0):
        for large in (0.3, 1.0):
            u = np.zeros((3, 4))
            u[0, 0], u[1, 1] = large * (1 + 1e-6), large
            yield Pair(net, u, u[[1, 0, 2]][:, [1, 0, 2, 3]], np.zeros((2, 4)), 1.0, eps)


def sides(pair: Pair, quarters: Factors, two: float, reach: float) -> tuple[float, float]:
    """Both sides of the inequality; worst points are the worst found, from the same few starts."""
    u, v, x, y, eps = pair.u, pair.v, pair.x, pair.y, pair.eps
    R = max(float(np.linalg.norm(u)), float(np.linalg.norm(v)))
    if pair.along is None:
        starts = [x + 0.5 * eps * s * axis.reshape(x.shape) for axis in np.eye(x.size)[:3] for s in (-1, 1)]
        x_u, x_v = (_worst_of(pair.net, w, x, y, eps, starts) for w in (u, v))
    else:
        x_u, x_v = x + eps * pair.along, x - eps * pair.along
    K, K_mixed = pair.net.constants(R, x, reach * eps, quarters)
    change = gradient(pair.net, u, x_u, y) - gradient(pair.net, v, x_v, y)
    return float(np.linalg.norm(change)), K * float(np.linalg.norm(u - v)) + two * eps * K_mixed


def check(
    *,
    pairs: int = 60,
    layers: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0),
    patched: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    quarters: tuple[float, ...] = (0.25, 0.25),
    two: float = 2.0,
    force: float = 1.0,
    reach: float = 1.0,
    seed: int = 0,
) -> Finding:
    """Bounds of the derivatives at random points and where they are attained; the inequality for random pairs of
    weights, pairs on both sides of a jump of the worst point, and pairs that attain terms of K and K'.

    Args:
        pairs: random pairs for each network.
        layers: claimed bounds of two layers, as shares of G, H, g and both terms of M.
        patched: claimed bounds of the patches, as shares of G, H, g and M.
        quarters: claimed factors of G^2 in K and of G g in K'.
        two: claimed factor of eps K'.
        force: claimed factor of F in l.
        reach: points are taken to be at most |x| + reach eps long.
        seed: seed of the pairs.
    """
    generator = np.random.default_rng(seed)
    a = generator.standard_normal(3)
    nets = replace(two_layers(a, layers), force=force), replace(patches(patched), force=force)
    drawn = [
        *random_pairs(nets[0], (3, 4), (4,), pairs, generator),
        *random_pairs(nets[1], (3, 4), (2, 4), pairs, generator),
    ]
    # Rounding decides nothing: bounds that are attained may be passed by it.
    points = [*extreme_points(nets[0], a, nets[1]), *random_points(drawn, generator)]
    norms = [scan(points, partial(_of_derivative, k)) for k in range(4)]
    extreme = [*extreme_pairs(a, layers, nets[1]), *through_zero(nets[0], a), *between_filters(nets[1])]
    pairwise = [scan(c, lambda p: _shrunk(*sides(p, quarters, two, reach))) for c in (extreme, drawn) if c]
    slack = min(*(found.slack for found in norms), *(found.slack for found in pairwise))
    violations = [f"{name} at {scan.violation}" for name, scan in zip("GHgM", norms, strict=True) if not scan.holds]
    violations += [str(scan.violation) for scan in pairwise if not scan.holds]
    reached = [
        (p.net.norms(p.w, p.z)["GHgM".index(k)] / max(p.bounds[1 + "GHgM".index(k)], 1e-300), f"{k} at {p}")
        for p in points
        for k in p.attains
    ]
    for pair in (each for each in extreme if each.attains):
        change, bound = sides(pair, quarters, two, reach)
        reached.append((change / max(bound, 1e-300), str(pair)))
    lowest, where = min(reached)
    violations += [f"not attained: {lowest:.4f} of the bound, {where}"] if lowest < ATTAINED else []
    return Finding(
        holds=not violations,
        slack=min(slack, lowest) if violations else slack,
        tested=f"{len(points)} points, {len(extreme) + len(drawn)} pairs of weights, eps up to 1: tanh in two layers "
        "(3 neurons, dimension 4), cubic patches (1 or 3 filters, 1 or 2 patches of dimension 4)",
        bound="G, H, g, M, and K |u - v| + 2 eps K'",
        measured=f"at least {lowest:.4f} of each bound attained"
        + (f"; random pairs are below by a factor of {pairwise[1].slack:.3g} or more" if drawn else ""),
        counterexample=violations[0] if violations else "",
    )


def _of_derivative(k: int, point: Point) -> tuple[float, float]:
    return _shrunk(point.net.norms(point.w, point.z)[k], point.bounds[k + 1])


def _shrunk(measured: float, bound: float) -> tuple[float, float]:
    return measured * (1 - 1e-9), bound


def _share(network: str, place: int, count: int) -> Constant:
    return Constant(
        lambda f: {network: tuple(f if k == place else 1.0 for k in range(count))},
    )


def _quarter(place: int) -> Constant:
    return Constant(
        lambda f: {"quarters": tuple(f / 4 if k == place else 0.25 for k in range(2))},
    )


CLAIM = Claim(
    statement="for the logistic loss L of two networks f, weights u and v of norm at most R, and any x_u and x_v at "
    "most eps from x, |grad L(u, x_u) - grad L(v, x_v)| <= K |u - v| + 2 eps K', K = G^2/4 + l H, K' = G g/4 + l M, l "
    "= 1/(1 + e^-F), where there |f| <= F, |grad_w f| <= G, |Hess_w f| <= H, |grad_z f| <= g, |d^2 f/dw dz| <= M: two "
    "layers sum_m a_m tanh(w_m z), |z| <= s, with F = G R, G = |a| s, H = 4/(3 sqrt 3) max |a_m| s^2, g = |a| R, M = H "
    "R / s + |a|; patches sum_rj (w_r z_j)^3, S_k >= sum_j |z_j|^k, with F = R^3 S_3, G = 3 R^2 S_3, H = 6 R S_3, g = "
    "3 R^3 sqrt(S_4), M = 9 R^2 sqrt(S_4); over all sizes G, H, g, both terms of M, both 1/4, l and 2 eps are attained "
    "up to 1 %",
    source="Dong et al., ICLR 2022, arXiv:2106.01606, stability of gradients; constants derived here",
    tag="[D]",
    evidence="numerical",
    check=check,
    hypotheses={"pairs >= 0": lambda pairs: pairs >= 0},
    deep={"pairs": 1000},
    constants={
        "G^2/4 in K": _quarter(0),
        "G g/4 in K'": _quarter(1),
        "2 eps K'": Constant(lambda f: {"two": 2 * f}),
        "l = 1/(1 + e^-F)": Constant(
            lambda f: {"force": f}, refuted=(0.95,), otherwise="a larger F is a weaker claim, and hardly changes l here"
        ),
        "G = |a| s": _share("layers", 0, 5),
        "H = 4/(3 sqrt 3) max |a_m| s^2": _share("layers", 1, 5),
        "g = |a| R": _share("layers", 2, 5),
        "H R / s in M": _share("layers", 3, 5),
        "|a| in M": _share("layers", 4, 5),
        "G = 3 R^2 S_3, f cubic, (..)^3, up to 1 %": _share("patched", 0, 4),
        "H = 6 R S_3": _share("patched", 1, 4),
        "g = 3 R^3 sqrt(S_4)": _share("patched", 2, 4),
        "M = 9 R^2 sqrt(S_4)": _share("patched", 3, 4),
    },
    controls={
        "bounds 5 % larger, not attained": {"layers": (1.05, 1.0, 1.0, 1.0, 1.0), "pairs": 0},
        "1 % less of G^2/4": {"quarters": (0.2475, 0.25), "pairs": 0},
        "1 % less of G g/4": {"quarters": (0.25, 0.2475), "pairs": 0},
        "without l M": {"layers": (1.0, 1.0, 1.0, 0.0, 0.0), "pairs": 0},
        "tanh without a second derivative": {"layers": (1.0, 0.0, 1.0, 0.0, 1.0), "pairs": 0},
        "constants of the clean image instead of the ball": {"reach": 0.0, "pairs": 0},
    },
)
