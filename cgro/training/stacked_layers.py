"""Layers that act on K networks at once: the images of a batch lie next to each other in memory.

An activation has shape (K, C, H, W, B): the B images of a network are the innermost dimension. A convolution then
copies whole rows of B numbers into the matrix of its patches, which is multiplied by the weights of all networks in one
batched matrix product. A convolution of many groups, which `torch.func.vmap` makes of the same layers, is slower, the
more so the narrower the networks are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from cgro.models.convolutional import Normalize

Parameters = Mapping[str, Tensor]
"""Parameters or buffers of the networks by name, stacked (K, ...)."""
Layer = Callable[[Parameters, Tensor], Tensor]
"""Parameters and buffers, and the activations (K, C, H, W, B) or (K, features, B), to the next activations."""


def stacked_layers(network: nn.Module) -> list[Layer] | None:
    """The layers of the network, each for a stack; None if it is not a sequence of layers that are known here.

    Known are 2D convolutions of one group with zero padding, linear layers, ReLU, max-pooling without overlap or
    padding, flattening, and `Normalize`.
    """
    children = dict(network.named_children())
    if set(children) != {"layers"} or not isinstance(children["layers"], nn.Sequential) or len(_own(network)):
        return None
    found = []
    for name, module in children["layers"].named_children():
        layer = _layer(f"layers.{name}", module)
        if layer is None:
            return None
        found.append(layer)
    return found


def _own(network: nn.Module) -> list[str]:
    """Names of parameters and buffers that belong to no layer."""
    return [name for name, _ in (*network.named_parameters(recurse=False), *network.named_buffers(recurse=False))]


def _layer(name: str, module: nn.Module) -> Layer | None:
    weight, bias = f"{name}.weight", f"{name}.bias"
    kind = type(module)
    if kind is nn.ReLU:
        # In place: no layer before it needs its output to compute a gradient.
        return lambda _, x: x.relu_()
    if isinstance(module, Normalize) and kind is Normalize:
        return lambda p, x: (x - _broadcast(p[f"{name}.mean"], x)) / _broadcast(p[f"{name}.std"], x)
    if isinstance(module, nn.Flatten) and kind is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
        return lambda _, x: x.flatten(1, -2)
    if isinstance(module, nn.Linear) and kind is nn.Linear and module.bias is not None:
        return lambda p, x: torch.baddbmm(p[bias][:, :, None], p[weight], x)
    if isinstance(module, nn.Conv2d) and kind is nn.Conv2d:
        (kernel, other), (stride, across) = module.kernel_size, module.stride
        padding = module.padding[0]
        plain = (module.groups, module.dilation, module.padding_mode) == (1, (1, 1), "zeros")
        if not plain or module.bias is None or kernel != other or stride != across or module.padding != (padding,) * 2:
            return None
        return lambda p, x: _Convolution.apply(x, p[weight], p[bias], stride, int(padding))
    if isinstance(module, nn.MaxPool2d) and kind is nn.MaxPool2d:
        size = module.kernel_size
        plain = (module.padding, module.dilation, module.ceil_mode, module.return_indices) == (0, 1, False, False)
        if not plain or not isinstance(size, int) or module.stride != size:
            return None
        return lambda _, x: _max_pool(x, size)
    return None


def _broadcast(numbers: Tensor, x: Tensor) -> Tensor:
    """Numbers (K,), one for each network, along the dimensions of x."""
    return numbers.view(-1, *[1] * (x.ndim - 1))


def _max_pool(x: Tensor, size: int) -> Tensor:
    """The largest of each square; of equal ones the gradient goes to the first, as in `torch.nn.MaxPool2d`."""
    H, W = x.shape[2] // size, x.shape[3] // size
    squares = x[:, :, : H * size, : W * size].unflatten(2, (H, size)).unflatten(4, (W, size))
    return squares.transpose(3, 4).flatten(4, 5).max(dim=4).values


class _Convolution(Function):
    """x (K, C, H, W, B), weight (K, O, C, k, k), bias (K, O) -> (K, O, H', W', B), zero padding on all sides."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
        K, C, H, W, B = x.shape
        outputs, k = weight.shape[1], weight.shape[-1]
        padded = x.new_zeros(K, C, H + 2 * padding, W + 2 * padding, B)
        _middle(padded, padding).copy_(x)
        rows, columns = ((side - k) // stride + 1 for side in padded.shape[2:4])
        network, channel, down, across, image = padded.stride()
        windows = padded.as_strided(
            (K, C, k, k, rows, columns, B), (network, channel, down, across, down * stride, across * stride, image)
        )
        patches = windows.reshape(K, C * k * k, -1)
        # Written in place: autograd forbids to change a view that is returned, as a ReLU does.
        out = x.new_empty(K, outputs, rows, columns, B)
        torch.baddbmm(bias[:, :, None], weight.flatten(2), patches, out=out.view(K, outputs, -1))
        ctx.save_for_backward(patches, weight)
        ctx.padded, ctx.windows, ctx.stride, ctx.padding = padded.shape, windows.shape, stride, padding
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        patches, weight = ctx.saved_tensors
        gradient = gradient.flatten(2)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[1]:
            of_weight = torch.bmm(gradient, patches.transpose(1, 2)).view(weight.shape)
            of_bias = gradient.sum(2)
        if ctx.needs_input_grad[0]:
            of_windows = torch.bmm(weight.flatten(2).transpose(1, 2), gradient).view(ctx.windows)
            of_padded, stride = gradient.new_zeros(ctx.padded), ctx.stride
            k, (rows, columns) = weight.shape[-1], ctx.windows[4:6]
            for i, j in product(range(k), range(k)):
                down = slice(i, i + stride * (rows - 1) + 1, stride)
                across = slice(j, j + stride * (columns - 1) + 1, stride)
                of_padded[:, :, down, across] += of_windows[:, :, i, j]
            of_x = _middle(of_padded, ctx.padding)
        return of_x, of_weight, of_bias, None, None


def _middle(padded: Tensor, padding: int) -> Tensor:
    """Without the padding of the two dimensions of an image."""
    return padded[:, :, padding : padded.shape[2] - padding, padding : padded.shape[3] - padding]
