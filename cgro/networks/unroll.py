"""Convolutional torch networks as ReluNetworks: convolutions become sparse matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse
from torch import nn

from cgro.base.errors import UserError
from cgro.models.convolutional import Normalize
from cgro.networks.relu import ReluNetwork
from cgro.networks.torch_layers import class_name, layers_of, scale_and_shift, weight_and_bias
from cgro.networks.torch_values import require_equal

Affine = tuple[Any, np.ndarray]


def unroll(model: nn.Module, shape: tuple[int, ...]) -> ReluNetwork:
    """The ReluNetwork of a torch network of Normalize, Conv2d, Linear, ReLU and Flatten, on flattened inputs.

    `shape` is that of one input, (C, H, W) for images. Batch norms and dropout in evaluation mode are accepted, too.
    Affine layers that follow each other are multiplied out in float64, so the result equals the model in float64 up to
    rounding; the model itself is evaluated at random points in [0, 1] and compared.

    Raises: UserError for a module of another kind or that is not what its class says (see `from_torch`), which it
        names; one that does not fit the shape; and where the model's outputs are not those of its layers.
    """
    if not shape or not all(isinstance(n, int) and n >= 1 for n in shape):
        raise UserError(f"shape must be positive integers, (C, H, W) for images, got {shape}")
    given, dim = shape, math.prod(shape)
    affine: Affine = (sparse.eye_array(dim, format="csr"), np.zeros(dim))
    layers: list[Affine] = []
    ends_affine = False
    for name, module in layers_of(model, root=""):
        if type(module) is nn.ReLU:
            layers.append(affine)
            width = len(affine[1])
            affine, ends_affine = (sparse.eye_array(width, format="csr"), np.zeros(width)), False
            continue
        if type(module) is nn.Flatten:
            shape = (math.prod(shape),)
            continue
        (weight, bias), shape = _step(name, module, shape)
        affine, ends_affine = (weight @ affine[0], weight @ affine[1] + bias), True
    if not ends_affine:
        raise UserError("the torch network must end in a Linear: add the read-out layer")
    network = ReluNetwork.of([*layers, affine])
    require_equal(model, network, np.random.default_rng(0).random((_TRIED, dim)), given)
    return network


_TRIED = 4
"""Random inputs at which a model is compared with the network read from it."""


def _step(name: str, module: nn.Module, shape: tuple[int, ...]) -> tuple[Affine, tuple[int, ...]]:
    """The affine map of a layer, and the shape after it."""
    if type(module) is Normalize:
        return _normalize(module, math.prod(shape)), shape
    if type(module) is nn.Conv2d and len(shape) == 3:
        return _convolution(module, shape)
    if type(module) is nn.Linear and shape == (module.in_features,):
        return weight_and_bias(module), (module.out_features,)
    if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d) and len(shape) == (3 if type(module) is nn.BatchNorm2d else 1):
        assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        scale, shift = scale_and_shift(module)
        if len(scale) == shape[0]:
            pixels = math.prod(shape[1:])
            return (sparse.diags_array(np.repeat(scale, pixels), format="csr"), np.repeat(shift, pixels)), shape
    raise UserError(
        f"module {name or 'model'} must be Normalize, Conv2d on (C, H, W), Linear or BatchNorm of matching size, ReLU "
        f"or Flatten, got {class_name(module)} on an input of shape {shape}"
    )


def _normalize(module: Normalize, dim: int) -> Affine:
    scale = 1 / float(module.std)
    return scale * sparse.eye_array(dim, format="csr"), np.full(dim, -float(module.mean) * scale)


def _convolution(module: nn.Conv2d, shape: tuple[int, ...]) -> tuple[Affine, tuple[int, int, int]]:
    """One entry for each output pixel, kernel offset and channel pair inside the image."""
    plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    if not plain or not isinstance(module.padding, tuple):
        raise UserError("a Conv2d must have one group, no dilation, and numbers as padding with padding_mode 'zeros'")
    channels, height, width = shape
    kernel, offsets = weight_and_bias(module)
    outputs, inputs, kh, kw = kernel.shape
    if inputs != channels:
        raise UserError(f"a Conv2d must take {channels} channels, as many as its input has, got {inputs}")
    (sh, sw), (ph, pw) = module.stride, module.padding
    out_h, out_w = (height + 2 * ph - kh) // sh + 1, (width + 2 * pw - kw) // sw + 1
    if out_h < 1 or out_w < 1:
        raise UserError(f"a Conv2d must have a kernel within its padded input of {height} x {width}, got {kh} x {kw}")
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
    return (weight, np.repeat(offsets, out_h * out_w)), (outputs, out_h, out_w)
