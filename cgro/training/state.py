"""Checks that a saved state belongs to this training."""

from __future__ import annotations

from torch import Tensor

from cgro.base.errors import UserError


def require_alike(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Require finite tensors of the same names, shapes and types. Raises: UserError naming the first that differs."""
    for name in sorted(found.keys() | expected.keys()):
        ours, theirs = expected.get(name), found.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            raise UserError(
                f"state of another model or recipe: {name} is {_shape(theirs)}, expected {_shape(ours)}; resume with "
                "the configuration that it was made with"
            )
        if theirs.is_floating_point() and not bool(theirs.isfinite().all()):
            raise UserError(f"state of a training that diverged: {name} is not finite; train again")


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
