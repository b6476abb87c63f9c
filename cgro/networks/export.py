"""Files of networks and robustness properties: safetensors for cgro, ONNX and VNN-LIB for other verifiers.

A property file describes the counterexample, as verifiers expect: an input in the l_inf ball whose outputs give another
label. Bounds of the box are decimals that are exact or rounded outward, so that a verifier that proves the property
proves it for the ball. How a verifier parses decimals and float64 weights is outside our control.

Reference: VNN-LIB 1.0 and the folder layout (instances.csv) as the verification competition (VNN-COMP) uses them [R].
"""

from __future__ import annotations

import decimal
import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
from jaxtyping import Float, Int
from safetensors.numpy import save as pack
from scipy import sparse

from cgro.base.arrays import as_array, real_array
from cgro.base.errors import UserError
from cgro.base.files import require_writable, write_folder, write_whole
from cgro.base.norms import Norm, require_norm
from cgro.base.validate import above, one_of, real
from cgro.networks.readout import Readout, margin_rows
from cgro.networks.relu import Matrix, PrecisionError, ReluNetwork, dense

FORMAT = "cgro-relu-network"
VERSION = 1
Precision = Literal["float64", "float32"]
_DIGITS = 20
_NO_ONNX = 'ONNX files need the onnx package: pip install "cgro[onnx]"'
_PROTOBUF = 2**31 - 2**20
"""Largest size of an ONNX file, in bytes."""


def save(network: ReluNetwork, path: Path | str) -> None:
    """Write the network bit-exactly, sparse layers as sparse; the file appears whole or not at all.

    Raises: StorageError where the file cannot be written.
    """
    write_whole(Path(path), packed(network))


def packed(network: ReluNetwork) -> bytes:
    """The content of a file of `save`."""
    tensors: dict[str, np.ndarray] = {}
    for k, (weight, bias) in enumerate(network.layers):
        tensors[f"{k}.bias"] = bias
        if sparse.issparse(weight):
            tensors |= {f"{k}.{part}": np.ascontiguousarray(getattr(weight, part)) for part in _PARTS}
        else:
            tensors[f"{k}.weight"] = np.ascontiguousarray(weight)
    shapes = [list(w.shape) for w in network.weights]
    # A single entry: the format does not preserve the order of entries, and equal networks must give equal files.
    head = json.dumps({"version": VERSION, "shapes": shapes, "sha256": _digest(tensors, shapes)})
    return pack(tensors, metadata={FORMAT: head})


_PARTS = ("data", "indices", "indptr")


def load(path: Path | str) -> ReluNetwork:
    """The network in a file of `save`.

    Raises: UserError, one line with the path, for a file that is missing, damaged, of another kind, or of a newer
        version.
    """
    try:
        with safetensors.safe_open(path, "np") as file:
            head = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except OSError as error:
        raise UserError(f"network {path}: cannot read ({error.strerror or error}); check the path") from error
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"network {path}: not a whole safetensors file; write it again with save()") from error
    if FORMAT not in head:
        raise UserError(f"network {path}: not a file of save(); a torch state needs from_torch() on its model")
    about = _about(head[FORMAT])
    if about.get("version") != VERSION:
        raise UserError(f"network {path}: version {about.get('version')}, this cgro reads {VERSION}; update cgro")
    if about.get("sha256") != _digest(tensors, about.get("shapes")):
        raise UserError(f"network {path}: contents are damaged, their checksum differs; write it again with save()")
    try:
        shapes = [tuple(shape) for shape in about["shapes"]]
        return ReluNetwork.of((_weight(tensors, k, shape), tensors[f"{k}.bias"]) for k, shape in enumerate(shapes))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"network {path}: holds no network ({error}); write it again with save()") from error


def to_onnx(
    network: ReluNetwork,
    path: Path | str,
    *,
    precision: Precision = "float64",
    rounding: Literal["exact", "nearest"] = "exact",
) -> None:
    """Write the network as ONNX: Gemm and Relu nodes, dense weights, input "X" (batch, D), output "Y" (batch, outputs).

    Args:
        precision: of weights and arithmetic; many verifiers read float32 only.
        rounding: "exact" refuses float32 unless it holds every weight and bias exactly; "nearest" rounds them, so that
            the file is another network.

    Raises: PrecisionError, which names the layer, for weights that do not fit; UserError for unknown arguments,
        without the onnx package, and for networks above the 2 GiB of an ONNX file.
    """
    write_whole(Path(path), _onnx_bytes(network, precision, rounding))


def to_vnnlib(
    point: Float[np.ndarray, " D"],
    label: int,
    norm: Norm,
    radius: float,
    *,
    readout: Readout,
    outputs: int,
    path: Path | str | None = None,
) -> str:
    """The VNN-LIB text "some input within the radius reads another label"; also written to `path` if given.

    unsat is a certificate for the closed l_inf ball, sat is a counterexample.

    Raises: UserError for l_1 and l_2, which VNN-LIB has no words for, for a label that the read-out cannot give, and
        for a point or radius that is not finite, or a negative radius.
    """
    _require_box(norm)
    point = real_array("point coordinates", point)
    if point.ndim != 1 or not np.isfinite(point).all():
        raise UserError(f"point must be one row of finite coordinates, got shape {point.shape}")
    if not (np.isfinite(real("radius", radius)) and radius >= 0):
        raise UserError(f"radius must be finite and at least 0, in input units, got {radius}")
    rows, offsets = margin_rows(readout, outputs, np.array([label]))
    label = int(label)
    lines = [f"; l_inf ball of radius {radius!r}, label {label} by {readout}; sat: another label is read"]
    lines += [f"(declare-const X_{k} Real)" for k in range(len(point))]
    lines += [f"(declare-const Y_{k} Real)" for k in range(outputs)]
    for k, x in enumerate(point):
        lines.append(f"(assert (>= X_{k} {_decimal(x, -radius, decimal.ROUND_FLOOR)}))")
        lines.append(f"(assert (<= X_{k} {_decimal(x, radius, decimal.ROUND_CEILING)}))")
    wrong = [_violated(row, offset) for row, offset in zip(rows[0], offsets[0], strict=True)]
    either = wrong[0] if len(wrong) == 1 else "(or " + " ".join(f"(and {w})" for w in wrong) + ")"
    text = "\n".join([*lines, f"(assert {either})", ""])
    if path is not None:
        write_whole(Path(path), text.encode())
    return text


def to_vnnlib_set(
    folder: Path | str,
    network: ReluNetwork,
    points: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    norm: Norm,
    radius: float,
    *,
    readout: Readout,
    precision: Precision = "float64",
    rounding: Literal["exact", "nearest"] = "exact",
    timeout: float = 60.0,
) -> None:
    """Write onnx/network.onnx, vnnlib/point_<i>.vnnlib and instances.csv (onnx, vnnlib, seconds), all or nothing.

    Raises: UserError for a folder that exists, points that do not fit, and what `to_onnx` and `to_vnnlib` refuse;
        StorageError where nothing can be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"folder {folder} exists: choose a new one, or remove it")
    files = vnnlib_files(
        network, points, labels, norm, radius, readout=readout, precision=precision, rounding=rounding, timeout=timeout
    )
    require_writable(folder.parent)
    write_folder(folder, files)


def vnnlib_files(
    network: ReluNetwork,
    points: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    norm: Norm,
    radius: float,
    *,
    readout: Readout,
    precision: Precision = "float64",
    rounding: Literal["exact", "nearest"] = "exact",
    timeout: float = 60.0,
) -> dict[str, bytes]:
    """The contents of the files of `to_vnnlib_set`, by their paths in its folder; it refuses the same."""
    points, labels = real_array("points", points), as_array("labels", labels)
    if points.ndim != 2 or points.shape[1] != network.inputs or labels.shape != points.shape[:1]:
        raise UserError(
            f"points must have shape (N, {network.inputs}) with N labels, got {points.shape} and {labels.size} labels"
        )
    margin_rows(readout, network.outputs, labels)
    above("timeout", timeout, 0)
    files = {"onnx/network.onnx": _onnx_bytes(network, precision, rounding)}
    instances = []
    for i, (point, label) in enumerate(zip(points, labels, strict=True)):
        name = f"point_{i:0{len(str(max(len(points) - 1, 0)))}d}.vnnlib"
        text = to_vnnlib(point, label, norm, radius, readout=readout, outputs=network.outputs)
        files[f"vnnlib/{name}"] = text.encode()
        instances.append(f"onnx/network.onnx,vnnlib/{name},{timeout:g}\n")
    files["instances.csv"] = "".join(instances).encode()
    return files


def in_float32(network: ReluNetwork) -> ReluNetwork:
    """The network whose weights and biases are rounded to the nearest float32: another one, to be certified itself.

    Raises: PrecisionError, which names the layer, for weights beyond the range of float32.
    """
    layers = []
    for k, (weight, bias) in enumerate(network.layers, 1):
        if sparse.issparse(weight):
            rounded = weight.astype(np.float64)
            rounded.data = _cast(weight.data, k, "float32", "nearest").astype(np.float64)
        else:
            rounded = _cast(weight, k, "float32", "nearest").astype(np.float64)
        layers.append((rounded, _cast(bias, k, "float32", "nearest").astype(np.float64)))
    return ReluNetwork.of(layers)


def require_exportable(norm: Norm, network: ReluNetwork | None = None, precision: Precision = "float64") -> None:
    """Refuse, before any work, what cannot be exported: another ball than a box, too large a network, no onnx package.

    Raises: UserError.
    """
    _require_box(norm)
    if find_spec("onnx") is None:
        raise UserError(_NO_ONNX)
    if network is not None:
        _require_one_file(network, precision)


def _require_box(norm: Norm) -> None:
    if require_norm(norm) != "inf":
        raise UserError(f"norm must be 'inf' for VNN-LIB, whose properties are boxes, got {norm!r}")


def _require_one_file(network: ReluNetwork, precision: str) -> None:
    size = sum(w.shape[0] * (w.shape[1] + 1) for w in network.weights) * (8 if precision == "float64" else 4)
    if size > _PROTOBUF:
        raise UserError(f"the network takes {size} bytes with dense layers: an ONNX file holds {_PROTOBUF}")


def _about(head: str) -> dict[str, Any]:
    try:
        about = json.loads(head)
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def _digest(tensors: dict[str, np.ndarray], shapes: Any) -> str:
    """Checksum of names, types, shapes and bytes."""
    total = hashlib.sha256(json.dumps(shapes).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _weight(tensors: dict[str, np.ndarray], k: int, shape: tuple[int, ...]) -> Matrix:
    if f"{k}.weight" in tensors:
        return tensors[f"{k}.weight"]
    weight = sparse.csr_array(tuple(tensors[f"{k}.{part}"] for part in _PARTS), shape=shape)
    weight.check_format()  # indices beyond the shape would read out of bounds
    return weight


def _onnx_bytes(network: ReluNetwork, precision: str, rounding: str) -> bytes:
    one_of("precision", precision, ("float64", "float32"))
    one_of("rounding", rounding, ("exact", "nearest"))
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError as error:
        raise UserError(_NO_ONNX) from error
    _require_one_file(network, precision)
    kind = onnx.TensorProto.DOUBLE if precision == "float64" else onnx.TensorProto.FLOAT
    nodes: list[Any] = []
    tensors: list[Any] = []
    value = "X"
    for k, (weight, bias) in enumerate(network.layers, 1):
        for name, array in ((f"W{k}", dense(weight)), (f"b{k}", bias)):
            tensors.append(numpy_helper.from_array(_cast(array, k, precision, rounding), name))
        last = k == network.depth
        after = "Y" if last else f"z{k}"
        nodes.append(helper.make_node("Gemm", [value, f"W{k}", f"b{k}"], [after], f"gemm{k}", transB=1))
        value = after
        if not last:
            nodes.append(helper.make_node("Relu", [value], [f"h{k}"], f"relu{k}"))
            value = f"h{k}"
    graph = helper.make_graph(
        nodes,
        "relu_network",
        [helper.make_tensor_value_info("X", kind, ["batch", network.inputs])],
        [helper.make_tensor_value_info("Y", kind, ["batch", network.outputs])],
        tensors,
    )
    # Versions that older verifiers can read.
    model = helper.make_model(graph, producer_name="cgro", opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _cast(array: np.ndarray, layer: int, precision: str, rounding: str) -> np.ndarray:
    if precision == "float64":
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):
        cast = array.astype(np.float32)
    if not np.isfinite(cast).all():
        raise PrecisionError(f"layer {layer} has a weight or bias beyond the range of float32: use precision='float64'")
    if rounding == "exact" and not np.array_equal(cast.astype(np.float64), array):
        raise PrecisionError(
            f"layer {layer} has a weight or bias that float32 does not hold exactly: use precision='float64', or "
            "rounding='nearest' for a rounded network"
        )
    return cast


def _violated(row: np.ndarray, offset: float) -> str:
    """<row, Y> + offset <= 0 for rows with one entry +-1, or with +1 and -1 and no offset."""
    up, down = np.flatnonzero(row == 1), np.flatnonzero(row == -1)
    if up.size and down.size:
        return f"(<= Y_{up[0]} Y_{down[0]})"
    if up.size:
        return f"(<= Y_{up[0]} {_decimal(0.0, -offset, decimal.ROUND_CEILING)})"
    return f"(>= Y_{down[0]} {_decimal(0.0, offset, decimal.ROUND_FLOOR)})"


def _decimal(x: float, change: float, rounding: str) -> str:
    """x + change as a decimal with at most 20 digits: exact if they suffice, otherwise rounded that way."""
    with decimal.localcontext(prec=5000, rounding=rounding) as context:
        total = decimal.Decimal(float(x)) + decimal.Decimal(float(change))
        context.prec = _DIGITS
        text = format(+total, "f")
    whole, _, part = text.partition(".")
    return f"{whole}.{part.rstrip('0') or '0'}"
