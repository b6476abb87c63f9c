"""Read-outs: how outputs of a network determine a label, and their margin to a wrong one."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int, Int64

from cgro.base.arrays import as_array, real_array
from cgro.base.errors import UserError
from cgro.base.validate import one_of

Readout = Literal["sign", "label", "argmax"]
"""sign: one output, label +1 if it is > 0 and -1 if it is < 0. label: one output, the nearest integer.
argmax: one output for each label 0..C-1, the largest."""

LARGEST_LABEL = 2**51
"""Largest absolute value of a label that is read from one output."""


def margin_rows(
    readout: Readout, outputs: int, labels: Int[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, "N R outputs"], Float[np.ndarray, "N R"]]:
    """Rows C, d such that label y_i is read from outputs f exactly if min_r (C[i,r] f + d[i,r]) > 0.

        sign:   y f                      label:  f - y + 1/2  and  y + 1/2 - f          argmax:  f_y - f_c for c != y

    Raises: UserError for labels or a number of outputs that do not go with the read-out, and labels that are no
        integers of at most 2^51 in size.
    """
    labels = _integers(labels)
    one_of("readout", readout, get_args(Readout))
    if outputs < 1 or (readout == "argmax") != (outputs > 1):
        raise UserError(
            f"readout must be sign or label for one output, argmax for several, got {readout!r} for {outputs}"
        )
    if readout == "sign":
        if not np.isin(labels, (-1, 1)).all():
            raise UserError(
                f"labels must be -1 and +1 for readout sign, got {np.unique(labels).tolist()}: renumber them"
            )
        return labels.astype(float)[:, None, None], np.zeros((len(labels), 1))
    if readout == "label":
        rows = np.broadcast_to(np.array([[1.0], [-1.0]]), (len(labels), 2, 1))
        return rows, 0.5 + np.stack([-labels, labels], axis=1).astype(float)
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= outputs:
        raise UserError(
            f"labels must be 0 to {outputs - 1} for argmax of {outputs} outputs, got {labels.min()} to {labels.max()}"
        )
    others = np.array([[c for c in range(outputs) if c != y] for y in range(outputs)])
    eye = np.eye(outputs)
    return (eye[:, None, :] - eye[others])[labels], np.zeros((len(labels), outputs - 1))


def require_exact_labels(labels: Int[np.ndarray, " N"]) -> None:
    """Refuse labels y for which y +- 1/2 is not exact in float64. Raises: UserError."""
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if max(-low, high) > LARGEST_LABEL:
        raise UserError(f"labels must be at most 2^51 in size, to be exact, got {low} to {high}: renumber them")


def _integers(labels: Any) -> Int64[np.ndarray, " N"]:
    found = as_array("labels", labels)
    if found.ndim != 1 or found.dtype.kind not in "iuf" or not np.all(np.isfinite(found) & (found == np.round(found))):
        raise UserError(f"labels must be integers (N,), got type {found.dtype}")
    require_exact_labels(found)  # before a conversion that could overflow
    return found.astype(np.int64)


def margins(
    readout: Readout, outputs: Float[np.ndarray, "N outputs"], labels: Int[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """min_r (C[i,r] f_i + d[i,r]): positive if the label is read."""
    outputs = real_array("outputs", outputs)
    if outputs.ndim != 2 or np.shape(labels) != outputs.shape[:1]:
        raise UserError(
            f"outputs must be (N, outputs) and labels (N,), got shapes {outputs.shape} and {np.shape(labels)}"
        )
    rows, offsets = margin_rows(readout, outputs.shape[-1], labels)
    return (np.einsum("nro,no->nr", rows, outputs) + offsets).min(axis=1)
