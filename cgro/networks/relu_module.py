"""A ReluNetwork as a torch module in float64, and torch Sequential networks as ReluNetworks."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64
from scipy import sparse
from torch import Tensor, nn

from cgro.errors import UserError
from cgro.networks.relu import Matrix, ReluNetwork


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

    Weights are taken exactly (float32 fits into float64). Convolutions and the like are refused by name: unroll
    them first.

    Raises: UserError for a module that is not one of these, which it names.
    """
    if isinstance(model, ReluModule):
        return ReluNetwork.of(
            (_matrix(model.get_buffer(f"weight{k}")), model.get_buffer(f"bias{k}").cpu().numpy())
            for k in range(model.depth)
        )
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    affine: tuple[np.ndarray, np.ndarray] | None = None
    for name, module in _steps(model):
        if isinstance(module, nn.Linear):
            weight = module.weight.detach().cpu().double().numpy()
            bias = np.zeros(len(weight)) if module.bias is None else module.bias.detach().cpu().double().numpy()
            if affine is not None:
                raise UserError(
                    f"module {name} follows another Linear: merging them would round their product; put a ReLU between "
                    "them or merge them yourself"
                )
            affine = (weight, bias)
        elif isinstance(module, nn.ReLU):
            if affine is None:
                raise UserError(f"module {name} is a ReLU that follows no Linear: remove it")
            layers.append(affine)
            affine = None
        else:
            raise UserError(
                f"module {name} is a {type(module).__name__}: allowed are Linear, ReLU, Flatten, Identity and "
                "Sequential; certify piecewise linear networks made of these"
            )
    if affine is None:
        raise UserError("the torch network does not end in a Linear: add the read-out layer to it")
    return ReluNetwork.of([*layers, affine])


def _steps(model: nn.Module, name: str = "model") -> list[tuple[str, nn.Module]]:
    if isinstance(model, nn.Sequential):
        return [step for key, child in model.named_children() for step in _steps(child, f"{name}.{key}")]
    return [] if isinstance(model, nn.Flatten | nn.Identity) else [(name, model)]


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
