"""Convolutional torch networks as ReluNetworks: convolutions become sparse matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse
from torch import nn

from cgro.errors import UserError
from cgro.networks.image_models import Normalize
from cgro.networks.relu import ReluNetwork

Affine = tuple[Any, np.ndarray]


def unroll(model: nn.Module, shape: tuple[int, ...]) -> ReluNetwork:
    """The ReluNetwork of a torch network of Normalize, Conv2d, Linear, ReLU and Flatten, on flattened inputs.

    `shape` is that of one input, (C, H, W) for images. Affine layers that follow each other are multiplied out in
    float64, so the result equals the model in float64 up to rounding.

    Raises: UserError for a module of another kind, which it names, and one that does not fit the shape.
    """
    dim = math.prod(shape)
    affine: Affine = (sparse.eye_array(dim, format="csr"), np.zeros(dim))
    layers: list[Affine] = []
    ends_affine = False
    for name, module in model.named_modules():
        if isinstance(module, nn.ReLU):
            layers.append(affine)
            width = len(affine[1])
            affine, ends_affine = (sparse.eye_array(width, format="csr"), np.zeros(width)), False
            continue
        if isinstance(module, nn.Flatten | nn.Identity) or any(module.children()):
            shape = (math.prod(shape),) if isinstance(module, nn.Flatten) else shape
            continue
        if isinstance(module, Normalize):
            step: Affine = _normalize(module, math.prod(shape))
        elif isinstance(module, nn.Conv2d) and len(shape) == 3:
            step, shape = _convolution(module, shape)
        elif isinstance(module, nn.Linear) and module.in_features == math.prod(shape):
            step, shape = _linear(module), (module.out_features,)
        else:
            raise UserError(
                f"module {name} is {type(module).__name__} on an input of shape {shape}: allowed are Normalize, Conv2d "
                "on (C, H, W), Linear of its size, ReLU and Flatten"
            )
        weight, bias = step
        affine, ends_affine = (weight @ affine[0], weight @ affine[1] + bias), True
    if not ends_affine:
        raise UserError("the torch network does not end in a Linear: add the read-out layer to it")
    return ReluNetwork.of([*layers, affine])


def _normalize(module: Normalize, dim: int) -> Affine:
    scale = 1 / float(module.std)
    return scale * sparse.eye_array(dim, format="csr"), np.full(dim, -float(module.mean) * scale)


def _linear(module: nn.Linear) -> Affine:
    weight = module.weight.detach().cpu().double().numpy()
    return weight, _bias(module, len(weight))


def _bias(module: nn.Linear | nn.Conv2d, outputs: int) -> np.ndarray:
    return np.zeros(outputs) if module.bias is None else module.bias.detach().cpu().double().numpy()


def _convolution(module: nn.Conv2d, shape: tuple[int, ...]) -> tuple[Affine, tuple[int, int, int]]:
    """One entry for each output pixel, kernel offset and channel pair that falls inside of the image."""
    if module.groups != 1 or module.dilation != (1, 1) or not isinstance(module.padding, tuple):
        raise UserError("a Conv2d has groups, dilation or named padding: allowed are plain convolutions")
    channels, height, width = shape
    kernel = module.weight.detach().cpu().double().numpy()
    outputs, inputs, kh, kw = kernel.shape
    if inputs != channels:
        raise UserError(f"a Conv2d takes {inputs} channels, its input has {channels}: must be equal")
    (sh, sw), (ph, pw) = module.stride, module.padding
    out_h, out_w = (height + 2 * ph - kh) // sh + 1, (width + 2 * pw - kw) // sw + 1
    o, c, a, b, i, j = np.meshgrid(
        *(np.arange(n) for n in (outputs, inputs, kh, kw, out_h, out_w)), indexing="ij", sparse=True
    )
    row, column = i * sh + a - ph, j * sw + b - pw
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    full = np.broadcast_shapes(o.shape, c.shape, inside.shape)
    inside = np.broadcast_to(inside, full)
    place = np.broadcast_to((c * height + row) * width + column, full)[inside]
    target = np.broadcast_to((o * out_h + i) * out_w + j, full)[inside]
    values = np.broadcast_to(kernel[:, :, :, :, None, None], full)[inside]
    size = outputs * out_h * out_w
    weight = sparse.csr_array((values, (target, place)), shape=(size, channels * height * width))
    return (weight, np.repeat(_bias(module, outputs), out_h * out_w)), (outputs, out_h, out_w)
