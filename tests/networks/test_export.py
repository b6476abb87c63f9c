"""Files of networks and properties: read back bit by bit, refused when damaged, boxes that contain the ball."""

from __future__ import annotations

import builtins
import json
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from scipy import sparse
from tools import files_below, random_network

from cgro.base import files
from cgro.base.errors import UserError
from cgro.base.files import StorageError
from cgro.networks import export
from cgro.networks.export import load, save, to_onnx, to_vnnlib, to_vnnlib_set
from cgro.networks.readout import margins
from cgro.networks.relu import PrecisionError, ReluNetwork

onnx = pytest.importorskip("onnx", reason='needs pip install "cgro[onnx]"')


def mixed_network() -> ReluNetwork:
    """Dense, sparse and empty layers, signed zeros and tiny numbers."""
    rng = np.random.default_rng(0)
    dense = random_network(rng, (5, 4), 3, 2)
    middle = sparse.random_array((4, 5), density=0.3, rng=rng, format="csr")
    layers = dense.layers
    empty = sparse.csr_array((4, 4))
    last = (np.array([[-0.0, 5e-324, 1e308, 1 / 3], [0.1, 0.2, 0.3, 0.4]]), [0.0, -0.0])
    return ReluNetwork.of([layers[0], (middle, layers[1][1]), (empty, np.ones(4)), last])


def test_networks_are_read_back_bit_by_bit(tmp_path) -> None:
    network = mixed_network()
    save(network, tmp_path / "deep" / "net.safetensors")
    again = load(tmp_path / "deep" / "net.safetensors")
    assert again.same_as(network)
    assert [sparse.issparse(w) for w in again.weights] == [False, True, True, False]
    assert np.signbit(again.weights[-1][0, 0])
    assert again.size == network.size
    save(again, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "deep" / "net.safetensors").read_bytes()
    assert len(files_below(tmp_path)) == 2


def test_strings_name_paths_too(tmp_path) -> None:
    save(mixed_network(), str(tmp_path / "n"))
    assert load(str(tmp_path / "n")).same_as(mixed_network())


def refused(path) -> str:
    with pytest.raises(UserError) as error:
        load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path) -> None:
    path = tmp_path / "net"
    assert "cannot read" in refused(path)
    assert "cannot read" in refused(tmp_path)
    save(mixed_network(), path)
    whole = path.read_bytes()
    for part in (b"", b"not a network", whole[: len(whole) // 2], whole[:-1], b"\xff" * 64):
        path.write_bytes(part)
        assert "not a whole safetensors file" in refused(path)
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    path.write_bytes(flipped)
    assert "checksum differs" in refused(path)
    save_file({"weight": np.ones(3)}, path)
    assert "not a file of save()" in refused(path)
    save_file({"weight": np.ones(3)}, path, metadata={export.FORMAT: '{"version": 2}'})
    assert "version 2, this cgro reads 1; update cgro" in refused(path)
    for head in ("no json", "[]"):
        save_file({"weight": np.ones(3)}, path, metadata={export.FORMAT: head})
        assert "version None" in refused(path)


@pytest.mark.parametrize(
    ("change", "shapes", "words"),
    [
        ({}, None, "holds no network"),
        ({}, [[1, 2], 3], "holds no network"),
        ({"0.bias": None}, [[1, 2]], "holds no network"),
        ({"0.weight": None}, [[1, 2]], "holds no network"),
        ({"0.weight": np.ones((1, 2), np.complex64)}, [[1, 2]], "weights of layer 1 must be real numbers"),
        ({"0.weight": None, "0.indices": np.array([9], np.int32)}, [[1, 2]], "holds no network"),
    ],
)
def test_files_that_are_whole_but_hold_no_network_are_refused(change, shapes, words, tmp_path) -> None:
    sparse_part = {"0.data": np.ones(1), "0.indices": np.zeros(1, np.int32), "0.indptr": np.array([0, 1], np.int32)}
    made = {"0.weight": np.ones((1, 2)), "0.bias": np.zeros(1)} | change
    if "0.indices" in change:
        made = sparse_part | made
    tensors = {name: array for name, array in made.items() if array is not None}
    head = {"version": 1, "shapes": shapes, "sha256": export._digest(tensors, shapes)}
    save_file(tensors, tmp_path / "net", metadata={export.FORMAT: json.dumps(head)})
    assert words in refused(tmp_path / "net")


@settings(max_examples=40)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_gives_another_network(tmp_path_factory, place, bit) -> None:
    path = tmp_path_factory.mktemp("flip") / "net"
    save(mixed_network(), path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    error = ""
    try:
        assert load(path).same_as(mixed_network())
    except UserError as refusal:
        error = str(refusal)
    assert not error or str(path) in error


def test_a_folder_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        save(mixed_network(), tmp_path / "file" / "net")


def run_onnx(path, x: np.ndarray) -> np.ndarray:
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(str(path)).run(None, {"X": x})[0]


@pytest.mark.parametrize("sparse_layers", [False, True])
@pytest.mark.parametrize("widths", [(), (6,), (8, 3, 5)])
def test_onnx_evaluates_to_the_same_outputs(tmp_path, widths, sparse_layers) -> None:
    rng = np.random.default_rng(1)
    network = random_network(rng, widths, 4, 3, sparse_layers=sparse_layers)
    to_onnx(network, tmp_path / "net.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "net.onnx"), full_check=True)
    x = rng.standard_normal((7, 4))
    np.testing.assert_allclose(run_onnx(tmp_path / "net.onnx", x), network(x), rtol=1e-12, atol=1e-14)
    to_onnx(network, tmp_path / "again.onnx")
    assert (tmp_path / "net.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes()


def test_float32_is_exact_or_requested(tmp_path) -> None:
    network = random_network(np.random.default_rng(2), (5,), 3)
    path = tmp_path / "net.onnx"
    with pytest.raises(PrecisionError, match="layer 1 has a weight or bias that float32 does not hold exactly"):
        to_onnx(network, path, precision="float32")
    assert not path.exists()
    to_onnx(network, path, precision="float32", rounding="nearest")
    x = np.random.default_rng(3).standard_normal((4, 3)).astype(np.float32)
    np.testing.assert_allclose(run_onnx(path, x), network(x), rtol=1e-4, atol=1e-5)
    coarse = ReluNetwork.of((np.round(8 * w) / 8, np.round(8 * b) / 8) for w, b in network.layers)
    to_onnx(coarse, path, precision="float32")
    assert run_onnx(path, x).dtype == np.float32
    second = ReluNetwork.of([coarse.layers[0], (coarse.weights[1], [0.1])])
    with pytest.raises(PrecisionError, match="layer 2"):
        to_onnx(second, path, precision="float32")
    huge = ReluNetwork.of([(1e39 * np.ones((1, 3)), [0.0])])
    with pytest.raises(PrecisionError, match="beyond the range of float32"):
        to_onnx(huge, path, precision="float32", rounding="nearest")


def test_onnx_refuses_by_name(tmp_path, monkeypatch) -> None:
    network, path = random_network(np.random.default_rng(2), (5,), 3), tmp_path / "net.onnx"
    with pytest.raises(UserError, match=r"precision must be .*got 'float16'"):
        to_onnx(network, path, precision="float16")
    with pytest.raises(UserError, match=r"rounding must be .*got 'up'"):
        to_onnx(network, path, rounding="up")
    monkeypatch.setattr(export, "_PROTOBUF", 10)
    with pytest.raises(UserError, match="an ONNX file holds 10"):
        to_onnx(network, path)
    real = builtins.__import__

    def without_onnx(name, *arguments, **options):
        if name.split(".")[0] == "onnx":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    with pytest.raises(UserError, match=re.escape('pip install "cgro[onnx]"')):
        to_onnx(network, path)
    assert not path.exists()


def parse(text: str) -> tuple[list[list[Fraction]], list, int]:
    """(bounds of each input, clauses of the output, outputs) of a VNN-LIB text."""
    tokens = re.findall(r"[()]|[^\s()]+", re.sub(r";.*", "", text))

    def expression(k: int):
        if tokens[k] != "(":
            return tokens[k], k + 1
        out, k = [], k + 1
        while tokens[k] != ")":
            item, k = expression(k)
            out.append(item)
        return out, k + 1

    box: dict[int, list] = {}
    outputs, clauses, k = 0, [], 0
    while k < len(tokens):
        item, k = expression(k)
        if item[0] == "declare-const":
            assert item[2] == "Real"
            outputs += item[1].startswith("Y_")
            if item[1].startswith("X_"):
                box[int(item[1][2:])] = [None, None]
        elif str(item[1][1]).startswith("X_"):
            relation, name, number = item[1]
            box[int(name[2:])][("<=", ">=").index(relation) ^ 1] = Fraction(number)
        else:
            clauses.append(item[1])
    return [box[i] for i in range(len(box))], clauses, outputs


def holds(clause, y: np.ndarray) -> bool:
    """Whether the assertion holds for these outputs."""
    if clause[0] in ("or", "and"):
        return (any if clause[0] == "or" else all)(holds(c, y) for c in clause[1:])
    a, b = (Fraction(float(y[int(t[2:])])) if t.startswith("Y_") else Fraction(t) for t in clause[1:])
    return a <= b if clause[0] == "<=" else a >= b


@settings(max_examples=150)
@given(
    x=st.floats(-1e6, 1e6) | st.sampled_from([0.0, 0.5, 1 / 3, -1e-300, 1e-5]),
    radius=st.floats(0, 1e3) | st.sampled_from([0.1, 0.25, 1e-12]),
)
def test_boxes_contain_the_ball_and_hardly_more(x, radius) -> None:
    (box,), _, _ = parse(to_vnnlib(np.array([x]), 1, "inf", radius, readout="sign", outputs=1))
    exact = Fraction(x) - Fraction(radius), Fraction(x) + Fraction(radius)
    assert box[0] <= exact[0] <= exact[1] <= box[1]
    assert box[1] - box[0] <= (exact[1] - exact[0]) + Fraction(10) ** -18 * max(1, abs(exact[0]), abs(exact[1]))


def test_short_decimals_are_exact() -> None:
    text = to_vnnlib(np.array([0.5, -3.0]), -1, "inf", 0.25, readout="sign", outputs=1)
    assert text.splitlines()[1:] == [
        "(declare-const X_0 Real)",
        "(declare-const X_1 Real)",
        "(declare-const Y_0 Real)",
        "(assert (>= X_0 0.25))",
        "(assert (<= X_0 0.75))",
        "(assert (>= X_1 -3.25))",
        "(assert (<= X_1 -2.75))",
        "(assert (>= Y_0 0.0))",
    ]


@pytest.mark.parametrize(("readout", "outputs"), [("sign", 1), ("label", 1), ("argmax", 2), ("argmax", 4)])
def test_the_property_asserts_that_another_label_is_read(readout, outputs) -> None:
    rng = np.random.default_rng(0)
    for label in {"sign": (-1, 1), "label": (-2, 0, 3), "argmax": range(outputs)}[readout]:
        text = to_vnnlib(np.zeros(3), label, "inf", 0.1, readout=readout, outputs=outputs)
        _, clauses, declared = parse(text)
        assert declared == outputs
        exact = [np.full(outputs, v) for v in (0.0, label - 0.5, label + 0.5, float(label))]
        for y in [*(3 * rng.standard_normal((200, outputs))), *exact]:
            wrong = margins(readout, y[None], np.array([label]))[0] <= 0
            assert all(holds(clause, y) for clause in clauses) == wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "2"}, "norm must be 'inf' for VNN-LIB, whose properties are boxes, got '2'"),
        ({"norm": "1"}, "norm must be 'inf' for VNN-LIB, whose properties are boxes, got '1'"),
        ({"norm": "oo"}, "norm must be one of 1, 2, inf, got 'oo'"),
        ({"label": 0}, "labels must be -1 and +1 for readout sign"),
        ({"radius": np.nan}, "radius must be finite and at least 0, in input units, got nan"),
        ({"radius": -1.0}, "radius must be finite and at least 0, in input units, got -1.0"),
        ({"point": np.array([np.nan])}, "point must be one row of finite coordinates, got shape (1,)"),
        ({"point": np.zeros((1, 2))}, "point must be one row of finite coordinates, got shape (1, 2)"),
        ({"point": np.zeros(2, complex)}, "point coordinates must be real numbers, got type complex128"),
        ({"point": ["1_0", "2"]}, "point coordinates must be real numbers, got type <U3"),
        ({"radius": "0.1"}, "radius must be a real number, got '0.1'"),
    ],
)
def test_vnnlib_refuses_by_name(change, message) -> None:
    arguments = {"point": np.zeros(2), "label": 1, "norm": "inf", "radius": 0.1, "readout": "sign", "outputs": 1}
    with pytest.raises(UserError, match=re.escape(message)):
        to_vnnlib(**(arguments | change))


def test_a_set_is_written_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    network = random_network(np.random.default_rng(0), (5,), 3, 3)
    x, y = np.random.default_rng(1).standard_normal((11, 3)), np.arange(11) % 3
    folder = tmp_path / "set"
    to_vnnlib_set(folder, network, x, y, "inf", 0.1, readout="argmax", timeout=30)
    rows = [line.split(",") for line in (folder / "instances.csv").read_text().splitlines()]
    assert len(rows) == 11
    for i, (model, spec, seconds) in enumerate(rows):
        assert seconds == "30"
        np.testing.assert_allclose(run_onnx(folder / model, x), network(x), rtol=1e-12)
        box, _, outputs = parse((folder / spec).read_text())
        assert outputs == 3
        np.testing.assert_allclose([float((a + b) / 2) for a, b in box], x[i], rtol=1e-12)
    with pytest.raises(UserError, match="exists: choose a new one"):
        to_vnnlib_set(folder, network, x, y, "inf", 0.1, readout="argmax")
    for arguments in (("2", 0.1), ("inf", -1.0)):
        with pytest.raises(UserError):
            to_vnnlib_set(tmp_path / "other", network, x, y, *arguments, readout="argmax")
    with pytest.raises(UserError, match=re.escape("points must have shape (N, 3) with N labels, got")):
        to_vnnlib_set(tmp_path / "other", network, x, y[1:], "inf", 0.1, readout="argmax")
    monkeypatch.setattr(files.os, "rename", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(StorageError, match="disk"):
        to_vnnlib_set(tmp_path / "other", network, x, y, "inf", 0.1, readout="argmax")
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_one_property_is_written_to_its_path(tmp_path) -> None:
    text = to_vnnlib(np.zeros(2), 1, "inf", 0.1, readout="sign", outputs=1, path=tmp_path / "p.vnnlib")
    assert (tmp_path / "p.vnnlib").read_text() == text
