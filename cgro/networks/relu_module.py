"""A ReluNetwork as a torch module in float64, and torch Sequential networks as ReluNetworks."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64
from scipy import sparse
from torch import Tensor, nn

from cgro.base.errors import UserError
from cgro.networks.relu import Matrix, ReluNetwork
from cgro.networks.torch_layers import layers_of, require_plain, scale_and_shift, unknown, weight_and_bias
from cgro.networks.torch_values import require_equal


class ReluModule(nn.Module):
    """Evaluates the network; gradients flow to the points, its weights are fixed buffers."""

    def __init__(self, network: ReluNetwork) -> None:
        super().__init__()
        self.depth = network.depth
        for k, (weight, bias) in enumerate(network.layers):
            self.register_buffer(f"weight{k}", _tensor(weight))
            self.register_buffer(f"bias{k}", torch.tensor(bias))

    def forward(self, x: Float64[Tensor, "*batch D"]) -> Float64[Tensor, "*batch outputs"]:
        h = x.reshape(-1, x.shape[-1]).T
        for k in range(self.depth):
            weight, bias = self.get_buffer(f"weight{k}"), self.get_buffer(f"bias{k}")
            h = (torch.sparse.mm(weight, h) if weight.is_sparse else weight @ h) + bias[:, None]
            if k < self.depth - 1:
                h = h.relu()
        return h.T.reshape(*x.shape[:-1], -1)


def from_torch(model: nn.Module) -> ReluNetwork:
    """The ReluNetwork of a plain torch network: Sequential, Linear, ReLU, Flatten, Identity, nested at will.

    Weights are taken exactly (float32 fits into float64). Batch norms in evaluation mode are folded into the nearest
    Linear, which rounds in float64; dropout in evaluation mode is left out. Convolutions and the like are refused by
    name: unroll them first. The module itself is evaluated at random points and compared with what was read.

    Raises: UserError for a module that is not one of these, or is not what its class says (subclasses, hooks, patches,
        computed weights, training mode), which it names; and where the module's outputs are not those of its layers.
    """
    network = _from_relu_module(model) if type(model) is ReluModule else _from_layers(layers_of(model))
    require_equal(model, network, np.random.default_rng(0).standard_normal((_TRIED, network.inputs)))
    return network


_TRIED = 16
"""Random points at which a module is compared with the network read from it."""


def _from_relu_module(model: ReluModule) -> ReluNetwork:
    require_plain("model", model)
    tensors = [(model.get_buffer(f"weight{k}"), model.get_buffer(f"bias{k}")) for k in range(model.depth)]
    kinds = {str(tensor.dtype) for pair in tensors for tensor in pair}
    if not kinds <= {"torch.float32", "torch.float64"}:
        raise UserError(
            f"the network's buffers must be float32 or float64, got {', '.join(sorted(kinds))}: use .double()"
        )
    return ReluNetwork.of((_matrix(weight), bias.cpu().numpy()) for weight, bias in tensors)


def _from_layers(steps: list[tuple[str, nn.Module]]) -> ReluNetwork:
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    affine: tuple[np.ndarray, np.ndarray] | None = None
    before: tuple[np.ndarray, np.ndarray] | None = None
    """Scale and shift of batch norms that precede their Linear."""
    for name, module in steps:
        if type(module) is nn.Linear:
            if affine is not None:
                raise UserError(
                    f"module {name} follows another Linear: merging them would round their product; put a ReLU between "
                    "them or merge them yourself"
                )
            affine = weight, bias = weight_and_bias(module)
            if before is not None:
                _require_features(name, weight.shape[1], before)
                affine, before = (weight * before[0], bias + weight @ before[1]), None
        elif type(module) is nn.BatchNorm1d:
            scale, shift = scale_and_shift(module)
            inner = affine if affine is not None else before
            if inner is not None:
                _require_features(name, len(inner[1]), (scale, shift))
                matrix = scale[:, None] if affine is not None else scale
                scale, shift = matrix * inner[0], scale * inner[1] + shift
            affine, before = (None, (scale, shift)) if affine is None else ((scale, shift), None)
        elif type(module) is nn.ReLU:
            if affine is None:
                raise UserError(f"module {name} is a ReLU that follows no Linear: remove it")
            layers.append(affine)
            affine = None
        elif type(module) is not nn.Flatten:
            raise unknown(name, module)
    if affine is None:
        raise UserError("the torch network must end in a Linear: add the read-out layer")
    return ReluNetwork.of([*layers, affine])


def _require_features(name: str, features: int, step: tuple[np.ndarray, np.ndarray]) -> None:
    if len(step[1]) != features:
        raise UserError(f"module {name} meets {features} and {len(step[1])} features: both must be the same number")


def _tensor(weight: Matrix) -> Tensor:
    if not sparse.issparse(weight):
        return torch.tensor(weight)
    coo = weight.tocoo()
    places = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    return torch.sparse_coo_tensor(places, torch.tensor(coo.data), coo.shape, check_invariants=False).coalesce()


def _matrix(tensor: Tensor) -> Matrix:
    if not tensor.is_sparse:
        return tensor.cpu().numpy()
    tensor = tensor.cpu().coalesce()
    return sparse.csr_array((tensor.values().numpy(), tensor.indices().numpy()), shape=tuple(tensor.shape))
