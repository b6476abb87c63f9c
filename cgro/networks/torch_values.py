"""Comparison of a torch module with the layers that were read from it.

Effects from outside the modules, such as autocast, patched functions or reduced precision, are visible only in
their values.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from cgro.base.errors import UserError
from cgro.networks.relu import ReluNetwork
from cgro.networks.torch_layers import floats, kind_of


def require_equal(
    model: nn.Module, network: ReluNetwork, points: Float[np.ndarray, "n D"], shape: tuple[int, ...] | None = None
) -> tuple[Float[np.ndarray, "n D"], Float[np.ndarray, "n outputs"]]:
    """Evaluate the module at points, each of the given shape, and compare it with the network that was read from it.

    The tolerance bounds the rounding of the module's own arithmetic: with magnitudes m_0 = |x|, m_k = |W_k| m_(k-1) +
    |b_k|, outputs err by at most about eps m_L times the number of operations behind an output.

    Returns: the points as the module's type holds them, and its outputs there.

    Raises: UserError where the module fails, gives other shapes or types, or another value.
    """
    like = next(t for module in model.modules() for t in floats(module))
    chunk = max(1, 2**24 // max(network.inputs, *network.widths, 1))
    seen, given = [np.empty((0, network.inputs))], [np.empty((0, network.outputs))]
    for start in range(0, len(points), chunk):
        z = torch.tensor(points[start : start + chunk]).to(like)
        out = _evaluated(model, z if shape is None else z.reshape(-1, *shape), network.outputs)
        x, y = z.double().cpu().numpy(), out.double().cpu().numpy()
        expected, slack = network(x), _slack(network, x, torch.finfo(like.dtype).eps)
        wrong = np.argwhere(~(np.abs(y - expected) <= slack))
        if len(wrong):
            i, k = wrong[0]
            raise UserError(
                f"the torch network gives {y[i, k]:g} where its layers as read give {expected[i, k]:g}: something else "
                "changes its output; certify a plain Sequential of Linear and ReLU, outside of autocast"
            )
        seen.append(x)
        given.append(y)
    return np.concatenate(seen), np.concatenate(given)


def _evaluated(model: nn.Module, z: Tensor, outputs: int) -> Tensor:
    try:
        with torch.no_grad():
            out = model(z)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"the torch network fails on inputs of shape {tuple(z.shape)}: {reason}") from error
    if not isinstance(out, Tensor) or out.shape != (len(z), outputs) or out.dtype != z.dtype:
        about = f"{tuple(out.shape)}, {kind_of(out)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise UserError(
            f"the torch network gives {about} for {len(z)} points: need ({len(z)}, {outputs}), {kind_of(z)}; certify "
            "it outside of autocast"
        )
    return out


def _slack(network: ReluNetwork, x: np.ndarray, eps: float) -> np.ndarray:
    """Four times the largest rounding error of outputs computed with this eps."""
    magnitude, operations = np.abs(x).T, 0
    with np.errstate(over="ignore", invalid="ignore"):
        for weight, bias in network.layers:
            magnitude = abs(weight) @ magnitude + np.abs(bias)[:, None]
            operations += weight.shape[1] + 16
        slack = 4 * operations * (eps * magnitude + np.finfo(np.float32).tiny * (eps > 1e-10))
    return np.nan_to_num(slack.T, nan=np.inf, posinf=np.inf)
