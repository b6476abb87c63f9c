"""Penultimate features of a network: what its last linear layer takes."""

from __future__ import annotations

from torch import Tensor, nn

from cgro.base.errors import UserError


def features(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, K) of images (N, C, S, S), and the penultimate features (N, F), from one forward pass.

    In an objective, ask for the features of points before their logits: the logits are remembered, the features not.

    Raises: UserError for a model without a linear layer, or whose last one was not called.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise UserError(f"model must have a linear layer to have penultimate features, got {type(model).__name__}")
    kept: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda _layer, inputs: kept.append(inputs[0]))
    try:
        logits = model(x)
    finally:
        handle.remove()
    if not kept:
        raise UserError("model must call its last linear layer, got none: ask for features before the logits")
    return logits, kept[-1]
