"""What the weights of a built CGRO classifier say about every point of the space, read in rational arithmetic.

The network sees x only through c = f_clean(x) and the soft indicators s_i(x), and s_i only through the distance of x to
x_i: `read` compares the layers with those that compute distances, entry by entry, and returns the distances up to
which each s_i is 1 and from which on it is 0. `gate` is what follows, as a z3 term of c and of the two sums of
indicators. A claim about all points of a ball, or about all points far from the training set, then becomes a
comparison of rational numbers and a formula in three real variables.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import z3
from scipy import sparse

from cgro.base.norms import Norm
from cgro.claims.solver import Formula, outputs, prove, relu
from cgro.memorizers.gated import cgro_classifier
from cgro.memorizers.indicators import Parts
from cgro.memorizers.task import Memorizer, memorization_task
from cgro.networks.exact import ExactNetwork
from cgro.networks.gadgets import sawtooth
from cgro.networks.relu import ReluNetwork, deepen

NORMS: tuple[Norm, ...] = ("1", "2", "inf")
Block = tuple[Any, np.ndarray]
Exact = list[Fraction]


@dataclass(frozen=True)
class Reading:
    """Distances in units of `power`: squared in l_2."""

    opens: Exact
    """s_i = 1 wherever x is at most this far from x_i."""
    closes: Exact
    """s_i = 0 wherever x is at least this far from x_i."""
    bound: Fraction
    """B, the weight that closes the gate."""
    tail: ExactNetwork
    """The three layers from (relu(c), relu(-c), T_-, T_+) to f^."""


def power(norm: Norm, distance: Fraction) -> Fraction:
    """The distance, squared in l_2."""
    return distance**2 if norm == "2" else distance


def measure(norm: Norm, step: Exact) -> Fraction:
    """The norm, squared in l_2."""
    sizes = [abs(v) for v in step]
    return (
        sum(sizes, Fraction(0))
        if norm == "1"
        else max(sizes)
        if norm == "inf"
        else sum((v * v for v in sizes), Fraction(0))
    )


def exact(row: np.ndarray) -> Exact:
    """float64 values as rational numbers."""
    return [Fraction(float(v)) for v in row]


def classifier(
    points: Any, labels: Any, norm: Norm, radius: float, clean: ReluNetwork, shell: float, parts: Parts | None = None
) -> Memorizer:
    """The library's CGRO classifier, in l_2 with a distance of its own for each point, which holds on all of R^D."""
    task = memorization_task(points, labels, norm, radius)
    return cgro_classifier(task, clean=clean, shell=shell, parts=parts or ("own" if norm == "2" else "shared"))


def far_example(parts: Parts) -> tuple[Memorizer, Exact]:
    """In l_2 around f_clean = -1/2 on the line, with training points 0 and 1 of labels +1 and -1, radius 0.3, shell
    0.1; and x = -4, which lies outside of the domain on which shared parts hold."""
    clean = ReluNetwork.of([(np.zeros((1, 1)), np.array([-0.5]))])
    points = np.array([[0.0], [1.0]])
    return classifier(points, np.array([1, -1]), "2", 0.3, clean, 0.1, parts), [Fraction(-4)]


def read(built: Memorizer) -> Reading:
    """The reading of a classifier with labels -1, +1 around a clean network of at most two layers.

    Raises: ValueError if a layer is not what its construction says.
    """
    network, clean = built.float_network, built.options["clean"]
    count = network.depth - 3
    carried = deepen(clean, count + 2)
    blocks = []
    for k in range(count):
        weight, bias = sparse.csr_array(network.weights[k]), network.biases[k]
        rows, columns = carried.widths[k], carried.widths[k - 1] if k else 0
        own = weight[rows:] if k == 0 else weight[rows:, columns:]
        of_clean = weight[:rows] if k == 0 else weight[:rows, :columns]
        _require(k == 0 or weight[rows:, :columns].nnz + weight[:rows, columns:].nnz == 0, "the two parts are apart")
        _require(_same(of_clean, carried.weights[k]) and (bias[:rows] == carried.biases[k]).all(), "f_clean is carried")
        blocks.append((own, bias[rows:]))
    x = built.task.data.points
    opens, closes = {"1": _sums, "2": _squares, "inf": _hinges}[built.task.norm](x, blocks)
    return Reading(opens, closes, *_tail(network, built.task.data.labels, len(x)))


def _sums(x: np.ndarray, blocks: list[Block]) -> tuple[Exact, Exact]:
    """l_1: the neurons relu(+-(x_k - x_ik)) of each i, added up."""
    (n, dim), (first, bias), last = x.shape, blocks[0], blocks[-1]
    eye = sparse.eye_array(dim)
    expected = sparse.kron(np.ones((n, 1)), sparse.vstack([eye, -eye]), format="csr")
    _require(_same(first, expected) and (bias == np.concatenate([-x, x], axis=1).ravel()).all(), "|x_k - x_ik|")
    rows = sparse.kron(sparse.eye_array(n), np.ones((1, 2 * dim)), format="csr")
    return _soft(last, rows)


def _squares(x: np.ndarray, blocks: list[Block]) -> tuple[Exact, Exact]:
    """l_2: v_i = sum_k t_k - A_i, t_k = scale |x_k - x_ik|, between sum_k t_k^2 and that plus D 4^-(m+1) where all t_k
    <= 1 (the claim square-error), and at least 1, which counts as closed, where some t_k > 1 (`closed_beyond`)."""
    (n, dim), (first, bias), last = x.shape, blocks[0], blocks[-1]
    pairs = sparse.kron(sparse.eye_array(n * dim), [[1.0], [-1.0]])
    tiled = sparse.kron(np.ones((n, 1)), sparse.eye_array(dim))
    _require(_same(first, pairs @ tiled) and (bias == np.stack([-x, x], axis=-1).ravel()).all(), "|x_k - x_ik|")
    scale, levels = float(blocks[1][0].data[0]), len(blocks) - 2
    absolute = sparse.kron(sparse.eye_array(n * dim), [[scale, scale]], format="csr")
    layers, tau = sawtooth(n * dim, levels, (absolute, np.zeros(n * dim)), groups=n)
    for (weight, bias), (found, offset) in zip(layers[:-1], blocks[1:-1], strict=True):
        _require(_same(weight, found) and (bias == offset).all(), "squares")
    _require(closed_beyond(levels), "squares beyond 1")
    total = sparse.hstack([sparse.kron(sparse.eye_array(n), np.ones((1, dim))), -sparse.eye_array(n)])
    low, high = _soft(last, sparse.csr_array(total @ layers[-1][0]))
    _require(max(high) <= 1 and not layers[-1][1].any(), "squares stay above the threshold beyond 1")
    square = Fraction(scale) ** 2
    return [(v - Fraction(tau)) / square for v in low], [v / square for v in high]


@cache
def closed_beyond(levels: int) -> bool:
    """Whether sum_k t_k - A >= 1 if t_k >= 0, one of them at least 1.

    A is carried by ReLUs of sums over k, at most the sums of ReLUs for each k: so it suffices that a coordinate alone
    gives at least 0, and at least 1 beyond 1, which z3 decides for the library's squares.
    """
    layers, _ = sawtooth(1, levels)
    t = z3.Real("t")
    value = outputs(ExactNetwork.of(ReluNetwork.of([*layers, (np.array([[1.0, -1.0]]), np.zeros(1))])), [t])[0]
    return bool(prove(value >= 0, t >= 0).holds and prove(value >= 1, t >= 1).holds)


def _hinges(x: np.ndarray, blocks: list[Block]) -> tuple[Exact, Exact]:
    """l_inf: s_i = relu(1 - slope sum of hinges beyond the sides of a box); the farthest coordinate alone decides."""
    (n, dim), (first, bias), (second, ones) = x.shape, blocks[0], blocks[1]
    slope = Fraction(-float(second.data[0]))
    counts = (np.diff(first.indptr) == 1).all() and (np.diff(second.indptr) == 2 * dim).all()
    _require(counts and (abs(first.data) == 1).all() and (ones == 1).all() and len(blocks) == 2, "hinges")
    _require((second.data == second.data[0]).all() and slope > 0, "one slope")
    hinge = second.indices.reshape(n, 2 * dim)
    axis, sign = first.indices[hinge], first.data[hinge]
    sides = 2 * axis + (sign > 0)
    _require((np.sort(sides, axis=1) == np.arange(2 * dim)).all(), "two sides for each coordinate")
    side, center = -(sign * bias[hinge]), np.take_along_axis(x, axis, axis=1)
    opens, closes = [], []
    for s, a, b in zip(sign, side, center, strict=True):
        reach = [
            int(t) * (Fraction(c) - Fraction(d))
            for t, c, d in set(zip(s.tolist(), a.tolist(), b.tolist(), strict=True))
        ]
        opens.append(min(reach))
        closes.append(max(reach) + 1 / slope)
    return opens, closes


def _soft(layer: Block, rows: Any) -> tuple[Exact, Exact]:
    """relu(1 + b_i - slope v_i) - relu(b_i - slope v_i), v_i = rows[i] h: the values of v_i where s_i leaves 1 and
    reaches 0."""
    weight, bias = layer
    place = int(rows.indices[0])
    slope = -float(weight[0, place]) / float(rows[0, place])
    _require(slope > 0 and _same(weight, sparse.vstack([-slope * rows, -slope * rows])), "soft indicators")
    n = rows.shape[0]
    upper, lower = exact(bias[:n]), exact(bias[n:])
    _require(all(a == 1 + b for a, b in zip(upper, lower, strict=True)), "soft indicators of height 1")
    return [b / Fraction(slope) for b in lower], [a / Fraction(slope) for a in upper]


def _tail(network: ReluNetwork, labels: np.ndarray, n: int) -> tuple[Fraction, ExactNetwork]:
    """B, and the last three layers once indicators are replaced by their sums over either label."""
    weight, bias = network.layers[-3]
    weight = sparse.csr_array(weight)
    of_clean, s = weight[:, :2].toarray(), weight[:, 2 : 2 + n].toarray()
    _require(weight.shape[1] == 2 + n or _same(weight[:, 2 + n :], -weight[:, 2 : 2 + n]), "s_i is a difference")
    member = np.vstack([np.zeros((2, n)), labels == -1, labels == 1])
    _require((s == member).all() and not of_clean[2:].any(), "sums of indicators")
    sums = np.vstack([np.zeros((2, 2)), np.eye(2)])
    layers = [(sparse.csr_array(w).toarray(), b) for w, b in network.layers[-2:]]
    tail = ReluNetwork.of([(np.hstack([of_clean, sums]), bias), *layers])
    return Fraction(-layers[0][0][0, 2]), ExactNetwork.of(tail)


def gate(reading: Reading, c: Formula, minus: Formula, plus: Formula) -> Formula:
    """f^ as a z3 term of c = f_clean(x), T_- and T_+."""
    return outputs(reading.tail, [relu(c), relu(-c), minus, plus])[0]


def _same(a: Any, b: Any) -> bool:
    return a.shape == b.shape and (sparse.csr_array(a) != sparse.csr_array(b)).nnz == 0


def _require(condition: Any, what: str) -> None:
    if not condition:
        raise ValueError(f"the network is not read as expected: {what}")


def random_classifier(norm: Norm, case: int, seed: int) -> Memorizer:
    """2 to 9 random points with random labels in dimension 1 to 8, at a random radius and shell, around a random clean
    network of one hidden layer."""
    generator = np.random.default_rng([seed, case, NORMS.index(norm)])
    dim, n = int(generator.integers(1, 9)), int(generator.integers(2, 10))
    points, labels = generator.random((n, dim)), generator.choice([-1, 1], n)
    labels[0], labels[1] = -1, 1
    clean = ReluNetwork.of([(generator.normal(size=s), generator.normal(size=s[0])) for s in ((4, dim), (1, 4))])
    separation = memorization_task(points, labels, norm, 1e-12).separation.lower
    radius = float(generator.uniform(0.3, 0.95)) * separation / 2
    shell = float(generator.uniform(0.1, 0.99)) * min(separation - 2 * radius, radius)
    return classifier(points, labels, norm, radius, clean, shell)
