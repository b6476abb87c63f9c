"""The layers that a torch module applies in sequence, read only if its code does nothing else.

A module computes whatever its Python code computes, so attributes alone prove nothing. Modules are read only if
they are exactly of a known class of torch or cgro, and have no hooks, patches, or weights computed from other
parameters. `cgro.networks.torch_values` then compares the module itself with the layers that were read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.modules.module as torch_modules
from jaxtyping import Float
from torch import Tensor, nn

from cgro.base.errors import UserError
from cgro.models.convolutional import LeNet, Normalize, SmallCNN

Norms = nn.BatchNorm1d | nn.BatchNorm2d
_NORMALIZED = ({"weight", "bias"}, {"running_mean", "running_var", "num_batches_tracked"})
_STATE: dict[type[nn.Module], tuple[set[str], set[str]]] = {
    nn.Linear: ({"weight", "bias"}, set()),
    nn.Conv2d: ({"weight", "bias"}, set()),
    nn.BatchNorm1d: _NORMALIZED,
    nn.BatchNorm2d: _NORMALIZED,
    Normalize: (set(), {"mean", "std"}),
}
"""Parameters and buffers that the layer computes with."""
_DROPOUTS: tuple[type[nn.Module], ...] = (nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout)
_CONTAINERS: tuple[type[nn.Module], ...] = (nn.Sequential, SmallCNN, LeNet)
_KNOWN: tuple[type[nn.Module], ...] = (*_STATE, *_DROPOUTS, *_CONTAINERS, nn.ReLU, nn.Flatten, nn.Identity)
_CODE: dict[type[nn.Module], Any] = {kind: kind.forward for kind in _KNOWN}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_EXACT = (torch.float32, torch.float64)
"""Types that float64 holds exactly, and whose own rounding is small beside a margin."""
ALLOWED = "Linear, ReLU, Flatten, Identity, Sequential, or in evaluation mode BatchNorm1d and Dropout"


def layers_of(model: Any, root: str = "model") -> list[tuple[str, nn.Module]]:
    """Names and modules of the layers in the order in which they act; those that change nothing are left out.

    Modules of unknown classes are returned as they are, for the caller to refuse (`unknown`).

    Raises: UserError for anything but a module, hooks (global ones too), patched modules, layers in training mode whose
        function depends on it, weights that are computed, of another type than float32 and float64, or of several
        types or devices.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"network must be a ReluNetwork or a torch module, got {type(model).__name__}")
    steps = list(_walk(model, root, ()))
    stored = [(name, tensor) for name, module in steps if type(module) in _STATE for tensor in floats(module)]
    for name, tensor in stored:
        first_name, first = stored[0]
        if (tensor.dtype, tensor.device) != (first.dtype, first.device):
            raise UserError(
                f"module {name} holds {kind_of(tensor)}, module {first_name} {kind_of(first)}: need one type on one "
                "device; convert the whole network with .to()"
            )
    return steps


def require_plain(name: str, module: nn.Module) -> None:
    """Check that the module runs the unmodified code of its class. Raises: UserError that names the modification."""
    patched = [key for key in vars(module) if hasattr(type(module), key)]
    if "_compiled_call_impl" in patched:
        raise UserError(f"module {name} is compiled: certify the module as it was before .compile()")
    if patched or type(module).forward is not _CODE.get(type(module), type(module).forward):
        raise UserError(f"module {name} has a patched {(patched or ['forward'])[0]}: certify one without")
    if any(getattr(module, hooks, None) for hooks in _HOOKS):
        raise UserError(f"module {name} has hooks, which can change its output: remove them first")
    if any(getattr(torch_modules, f"_global{hooks}", None) for hooks in _HOOKS):
        raise UserError("a global module hook is registered, which can change every output: remove it first")


def unknown(name: str, module: nn.Module, allowed: str = ALLOWED) -> UserError:
    """The refusal of a module of another class."""
    return UserError(f"module {name} must be one of {allowed}, got {class_name(module)}")


def class_name(module: nn.Module) -> str:
    """The name of the module's class, with its module if a known class has the same name."""
    kind = type(module)
    same = kind not in _KNOWN and kind.__name__ in {known.__name__ for known in _KNOWN}
    return f"{kind.__module__}.{kind.__qualname__}" if same else kind.__name__


def weight_and_bias(module: nn.Linear | nn.Conv2d) -> tuple[np.ndarray, np.ndarray]:
    """Both in float64, exactly; a missing bias is 0."""
    weight = _array(module.weight)
    return weight, np.zeros(len(weight)) if module.bias is None else _array(module.bias)


def scale_and_shift(module: Norms) -> tuple[Float[np.ndarray, " features"], Float[np.ndarray, " features"]]:
    """s, t of an evaluated batch norm x -> s x + t, in float64 up to rounding."""
    assert module.running_mean is not None
    assert module.running_var is not None
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = 1 / np.sqrt(_array(module.running_var) + module.eps)
    scale = scale if module.weight is None else scale * _array(module.weight)
    shift = -_array(module.running_mean) * scale
    return scale, shift if module.bias is None else shift + _array(module.bias)


def _walk(module: nn.Module, name: str, above: tuple[nn.Module, ...]) -> Iterator[tuple[str, nn.Module]]:
    kind = type(module)
    if kind not in _KNOWN:
        _require_no_parametrization(name, module)
        yield name, module
        return
    if any(module is outer for outer in above):
        raise UserError(f"module {name} contains itself: certify a finite network")
    _require_stored(name, module)
    require_plain(name, module)
    if kind in _CONTAINERS:
        # Not named_children(), which lists a module that is used twice only once.
        children = module._modules if kind is nn.Sequential else {"layers": module._modules["layers"]}
        for key, child in children.items():
            if child is not None:
                yield from _walk(child, f"{name}.{key}" if name else key, (*above, module))
    elif kind in _DROPOUTS or kind in (nn.BatchNorm1d, nn.BatchNorm2d):
        if module.training:
            raise UserError(f"module {name} is a {kind.__name__} in training mode: call .eval() on the network first")
        if kind not in _DROPOUTS:
            yield name, module
    elif isinstance(module, nn.Flatten):
        if (module.start_dim, module.end_dim) != (1, -1):
            raise UserError(f"module {name} flattens dimensions {module.start_dim} to {module.end_dim}: need 1 to -1")
        yield name, module
    elif kind is not nn.Identity:
        yield name, module


def _require_no_parametrization(name: str, module: nn.Module) -> None:
    if isinstance(module, nn.Module) and "parametrizations" in module._modules:
        raise UserError(
            f"module {name} computes its weights by parametrizations: fold them in first, by "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )


def _require_stored(name: str, module: nn.Module) -> None:
    """Are the tensors that the layer computes with its own, real, dense, and of a type that is read exactly?"""
    if type(module) not in _STATE:
        return
    parameters, buffers = _STATE[type(module)]
    if set(module._parameters) != parameters or set(module._buffers) != buffers:
        sources = ", ".join(sorted({*module._parameters, *module._buffers} - parameters - buffers)) or "no parameter"
        raise UserError(
            f"module {name} computes its weights from {sources}: fold them in first, by remove_weight_norm, "
            "remove_spectral_norm or prune.remove"
        )
    for key, tensor in (module._parameters | module._buffers).items():
        if tensor is None:
            if key in buffers or (key == "weight" and not isinstance(module, Norms)):
                raise UserError(f"module {name} has no {key}: its function depends on the batch; certify one that has")
        elif key != "num_batches_tracked" and not _readable(tensor):
            raise UserError(
                f"module {name} has a {key} of type {type(tensor).__name__}, {kind_of(tensor)}: need a dense "
                "float32 or float64 tensor; convert the network, for example by .double()"
            )


def _readable(tensor: Any) -> bool:
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided and not tensor.is_meta
    return plain and tensor.dtype in _EXACT


def floats(module: nn.Module) -> list[Tensor]:
    tensors = [*module._parameters.values(), *module._buffers.values()]
    return [t for t in tensors if t is not None and (t.is_floating_point() or t.is_complex())]


def kind_of(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device}"


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
