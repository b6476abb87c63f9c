"""The state that networks are evaluated in: evaluation mode, weights frozen, full precision; put back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from cgro.base.errors import UserError


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside: batch norms use their running statistics, and do not change them.

    Weights are frozen, so that gradients of the input are not followed by those of the weights. Afterwards every
    submodule is in the mode that it was in, also one in evaluation mode within a model in training.
    """
    modes = [(module, module.training) for module in model.modules()]
    free = [p for p in model.parameters() if p.requires_grad]
    model.eval()
    for p in free:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for p in free:
            p.requires_grad_(True)


@contextmanager
def judging(model: nn.Module) -> Iterator[None]:
    """`evaluating`, with products of float32 in full: TensorFloat-32 keeps 10 bits, coarser than 8-bit pixels deserve.

    It is switched off for matrix products and convolutions, and so is an autocast around the call, while one in the
    model's own code is a part of the network; the user's settings are those of before afterwards.
    """
    restore = _without_tf32()
    try:
        with evaluating(model), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        restore()


def require_gradients() -> None:
    """Raises: UserError in torch's inference mode, where gradients are missing whatever is asked for."""
    if torch.is_inference_mode_enabled():
        raise UserError(
            "torch.inference_mode() must be off during an attack: without gradients all images would look robust; use "
            "torch.no_grad()"
        )


def _without_tf32() -> Callable[[], None]:
    """Switch it off; what is returned puts the settings back."""
    backends = torch.backends
    try:
        matmul, cudnn = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
    except RuntimeError:  # the user has set it by the newer names, which torch does not mix
        parts: list[Any] = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]  # type: ignore[attr-defined]
        found = [part.fp32_precision for part in parts]
        _set_precision(parts, ["ieee"] * len(parts))
        return partial(_set_precision, parts, found)
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = False

    def restore() -> None:
        torch.set_float32_matmul_precision(matmul)
        backends.cudnn.allow_tf32 = cudnn

    return restore


def _set_precision(parts: Sequence[Any], values: Sequence[str]) -> None:
    for part, value in zip(parts, values, strict=True):
        part.fp32_precision = value
