"""ReLU networks as plain weights: evaluation, counts, composition.

    f(x) = W_L h_{L-1} + b_L,   h_l = relu(W_l h_{l-1} + b_l),   h_0 = x

The size of a network is counted in two ways, always both: its non-zero weights and biases (Li & Li; Yu, Gao &
Zhang; Vardi et al.) and all weights and biases of dense layers (Kim, Moon & Yun).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy import sparse

from cgro.base.arrays import real_array
from cgro.base.errors import UserError
from cgro.base.machine import available_cores

if TYPE_CHECKING:
    from torch import nn

Matrix = Any
"""A float64 array, or a float64 scipy csr_array, of shape (outputs, inputs)."""

_CHUNK = 2**24
"""Largest number of hidden values held at once by an evaluation."""


class PrecisionError(UserError):
    """A network that float64 cannot represent or evaluate accurately enough."""


@dataclass(frozen=True)
class Size:
    """The size of a network."""

    nonzero: int
    """Non-zero weights and biases."""
    total: int
    """Weights and biases of dense layers of the same widths, zeros included."""
    neurons: int
    """ReLUs."""
    depth: int
    """Affine layers: hidden layers + 1."""
    width: int
    """Neurons of the widest hidden layer; 0 without one."""


@dataclass(frozen=True, eq=False)
class ReluNetwork:
    """An immutable ReLU network with dense or sparse layers in float64.

    Args:
        weights: for each layer an array or scipy sparse array (outputs, inputs).
        biases: for each layer an array (outputs,).

    Raises: UserError for layers that do not fit each other, for no layer, and for NaN or infinite values.
    """

    weights: tuple[Matrix, ...]
    biases: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        if not self.weights or len(self.weights) != len(self.biases):
            raise UserError(
                "network must have at least one layer and one bias for each weight, got "
                f"{len(self.weights)} weights and {len(self.biases)} biases"
            )
        weights = tuple(_frozen_matrix(w, k) for k, w in enumerate(self.weights, 1))
        biases = tuple(_frozen(real_array(f"biases of layer {k}", b)) for k, b in enumerate(self.biases, 1))
        inputs = weights[0].shape[1]
        for k, (weight, bias) in enumerate(zip(weights, biases, strict=True), 1):
            if weight.shape[1] != inputs or bias.shape != weight.shape[:1]:
                raise UserError(
                    f"layer {k} must have {inputs} inputs and one bias for each output, got weight {weight.shape} and "
                    f"bias {bias.shape}"
                )
            if not (np.isfinite(_values(weight)).all() and np.isfinite(bias).all()):
                raise UserError(f"layer {k} must have finite weights and biases, got NaN or infinity")
            inputs = weight.shape[0]
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "biases", biases)

    @classmethod
    def of(cls, layers: Iterable[tuple[Matrix, Any]]) -> ReluNetwork:
        """The network of (weight, bias) pairs, first layer first."""
        pairs = list(layers)
        return cls(tuple(w for w, _ in pairs), tuple(b for _, b in pairs))

    @property
    def layers(self) -> list[tuple[Matrix, np.ndarray]]:
        """(weight, bias) of each layer."""
        return list(zip(self.weights, self.biases, strict=True))

    @property
    def inputs(self) -> int:
        """Input dimension D."""
        return int(self.weights[0].shape[1])

    @property
    def outputs(self) -> int:
        """Output dimension."""
        return int(self.weights[-1].shape[0])

    @property
    def depth(self) -> int:
        """Affine layers: hidden layers + 1."""
        return len(self.weights)

    @property
    def widths(self) -> tuple[int, ...]:
        """Neurons of each hidden layer."""
        return tuple(int(w.shape[0]) for w in self.weights[:-1])

    @cached_property
    def size(self) -> Size:
        """The counts."""
        nonzero = sum(np.count_nonzero(_values(w)) + np.count_nonzero(b) for w, b in self.layers)
        total = sum(w.shape[0] * (w.shape[1] + 1) for w in self.weights)
        return Size(int(nonzero), int(total), sum(self.widths), self.depth, max(self.widths, default=0))

    @property
    def largest_weight(self) -> float:
        """Largest |weight| or |bias|."""
        return max(float(np.abs(v).max(initial=0.0)) for w, b in self.layers for v in (_values(w), b))

    @cached_property
    def bits(self) -> int:
        """Bits of the widest weight or bias as a fixed-point number: all between its highest and its lowest bit."""
        return max(_fixed_point_bits(v) for w, b in self.layers for v in (_values(w), b))

    def __call__(self, x: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch outputs"]:
        """Outputs at points (*batch, D).

        Raises: UserError if the last dim of `x` is not the network's input dimension.
        """
        x = real_array("points", x)
        if x.ndim == 0 or x.shape[-1] != self.inputs:
            raise UserError(
                f"points must have last dimension {self.inputs}, the inputs of the network, got shape {x.shape}"
            )
        flat = x.reshape(-1, self.inputs)
        rows = max(1, _CHUNK // max(self.inputs, *self.widths, 1))
        chunks = [flat[start : start + rows] for start in range(0, len(flat), rows)]
        # Sparse products use one core each and release the GIL.
        with ThreadPoolExecutor(available_cores()) as pool:
            parts = list((map if len(chunks) < 2 else pool.map)(self._evaluate, chunks))
        out = np.concatenate(parts) if parts else np.empty((0, self.outputs))
        return out.reshape(*x.shape[:-1], self.outputs)

    def _evaluate(self, x: np.ndarray) -> np.ndarray:
        h = x.T
        for k, (weight, bias) in enumerate(self.layers, 1):
            h = weight @ h
            h += bias[:, None]
            if k < self.depth:
                np.maximum(h, 0, out=h)
        return h.T

    def module(self) -> nn.Module:
        """The same function as a torch module in float64, for attacks: (*batch, D) -> (*batch, outputs)."""
        from cgro.networks.relu_module import ReluModule

        return ReluModule(self)

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.inputs, *self.widths, self.outputs

    def same_as(self, other: Any) -> bool:
        """Are all weights and biases equal, bit by bit?"""
        if not isinstance(other, ReluNetwork) or self._shape != other._shape:
            return False
        return all(
            np.array_equal(b, c) and _difference_is_zero(w, v)
            for (w, b), (v, c) in zip(self.layers, other.layers, strict=True)
        )


def identity(dim: int, depth: int = 1) -> ReluNetwork:
    """x -> x in R^dim with that many layers: x = relu(x) - relu(-x) is carried through hidden layers of width 2 dim."""
    eye = sparse.eye_array(dim, format="csr")
    if depth == 1:
        return ReluNetwork((eye,), (np.zeros(dim),))
    split = sparse.vstack([eye, -eye], format="csr")
    join = sparse.hstack([eye, -eye], format="csr")
    carry = sparse.eye_array(2 * dim, format="csr")
    weights = (split, *[carry] * (depth - 2), join)
    return ReluNetwork(weights, tuple(np.zeros(w.shape[0]) for w in weights))


def compose(outer: ReluNetwork, inner: ReluNetwork) -> ReluNetwork:
    """x -> outer(inner(x)); the two affine maps that meet become one."""
    if outer.inputs != inner.outputs:
        raise UserError(
            f"outer network must take the {inner.outputs} outputs of the inner one, got {outer.inputs} inputs"
        )
    first, bias = outer.layers[0]
    last, last_bias = inner.layers[-1]
    joint = (_as_matrix(first @ last), first @ last_bias + bias)
    return ReluNetwork.of([*inner.layers[:-1], joint, *outer.layers[1:]])


def deepen(network: ReluNetwork, depth: int, *, nonnegative: bool = False) -> ReluNetwork:
    """The same function with `depth` layers: its outputs are carried on as relu(v) - relu(-v).

    Outputs known to be `nonnegative` are carried as relu(v) alone.
    """
    if depth < network.depth:
        raise UserError(f"depth must be at least {network.depth}, the depth of the network, got {depth}")
    extra = depth - network.depth
    if not extra:
        return network
    if nonnegative:
        eye = sparse.eye_array(network.outputs, format="csr")
        return ReluNetwork.of([*network.layers, *[(eye, np.zeros(network.outputs))] * extra])
    return compose(identity(network.outputs, extra + 1), network)


def stack(networks: Sequence[ReluNetwork]) -> ReluNetwork:
    """x -> all outputs one after the other; shallower networks are deepened."""
    inputs = {n.inputs for n in networks}
    if len(inputs) != 1:
        raise UserError(f"networks must be at least one and take the same number of inputs, got {sorted(inputs)}")
    depth = max(n.depth for n in networks)
    deep = [deepen(n, depth) for n in networks]
    layers = []
    for k in range(depth):
        blocks = [sparse.csr_array(n.weights[k]) for n in deep]
        joint = sparse.vstack(blocks, format="csr") if k == 0 else _block_diagonal(blocks)
        layers.append((_read_only(joint), np.concatenate([n.biases[k] for n in deep])))
    return ReluNetwork.of(layers)


def add(f: ReluNetwork, g: ReluNetwork, f_factor: float = 1.0, g_factor: float = 1.0) -> ReluNetwork:
    """x -> f_factor f(x) + g_factor g(x)."""
    if f.outputs != g.outputs:
        raise UserError(f"networks of a sum must have equal numbers of outputs, got {f.outputs} and {g.outputs}")
    eye = sparse.eye_array(f.outputs)
    total = sparse.hstack([f_factor * eye, g_factor * eye], format="csr")
    return compose(ReluNetwork((total,), (np.zeros(f.outputs),)), stack([f, g]))


def dense(weight: Matrix) -> np.ndarray:
    """The weight as an array."""
    return weight.toarray() if sparse.issparse(weight) else weight


def _block_diagonal(blocks: Sequence[sparse.csr_array]) -> sparse.csr_array:
    """Like scipy's block_diag, but without COO triples: layers for images have 10^8 weights."""
    columns = np.cumsum([0, *(b.shape[1] for b in blocks)])
    starts = np.cumsum([0, *(b.nnz for b in blocks)])
    kind = np.int32 if max(columns[-1], starts[-1]) < 2**31 else np.int64
    indices = np.concatenate([b.indices.astype(kind) + kind(c) for b, c in zip(blocks, columns, strict=False)])
    pointers = [b.indptr[1:].astype(kind) + kind(s) for b, s in zip(blocks, starts, strict=False)]
    return sparse.csr_array(
        (np.concatenate([b.data for b in blocks]), indices, np.concatenate([np.zeros(1, kind), *pointers])),
        shape=(sum(b.shape[0] for b in blocks), columns[-1]),
    )


def _read_only(weight: sparse.csr_array) -> sparse.csr_array:
    """A matrix created here, which can be made immutable without a copy."""
    for part in (weight.data, weight.indices, weight.indptr):
        part.flags.writeable = False
    return weight


def _values(weight: Matrix) -> np.ndarray:
    return weight.data if sparse.issparse(weight) else weight


def _as_matrix(weight: Matrix) -> Matrix:
    return sparse.csr_array(weight) if sparse.issparse(weight) else np.asarray(weight)


def _frozen(array: np.ndarray) -> np.ndarray:
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array


def _frozen_matrix(weight: Matrix, layer: int) -> Matrix:
    if not sparse.issparse(weight):
        weight = real_array(f"weights of layer {layer}", weight)
        if weight.ndim != 2:
            raise UserError(f"weight of layer {layer} must have shape (outputs, inputs), got {weight.shape}")
        return _frozen(weight)
    if weight.format == "csr" and weight.dtype == np.float64 and not weight.data.flags.writeable:
        return weight
    real_array(f"weights of layer {layer}", weight.dtype.type(0))
    weight = sparse.csr_array(weight, dtype=np.float64, copy=True)
    weight.sum_duplicates()
    return _read_only(weight)


def _difference_is_zero(a: Matrix, b: Matrix) -> bool:
    if sparse.issparse(a) or sparse.issparse(b):
        return (sparse.csr_array(a) != sparse.csr_array(b)).nnz == 0
    return bool(np.array_equal(a, b))


def _fixed_point_bits(values: np.ndarray) -> int:
    values = np.unique(np.abs(values[values != 0]))
    if not values.size:
        return 0
    fraction, exponent = np.frexp(values)
    whole = (fraction * 2.0**53).astype(np.int64)
    trailing = np.log2((whole & -whole).astype(np.float64)).astype(np.int64)
    lowest = exponent - 53 + trailing
    return int((np.maximum(exponent, 0) - np.minimum(lowest, 0)).max())
