"""`cgro memorize`: from a file of points to a certified network and its files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from tools import ROOT, Outcome, files_below

from cgro.base.errors import UserError
from cgro.certify.certify import NODES, certify
from cgro.cli import memorizer_report
from cgro.data import separation
from cgro.data.tables import read_table
from cgro.memorizers import constructions
from cgro.memorizers.constructions import CONSTRUCTIONS, NORMS, memorize
from cgro.networks.exact import ExactNetwork
from cgro.networks.export import load
from cgro.networks.relu import ReluNetwork

Cgro = Callable[..., Outcome]
X = np.random.default_rng(0).random((12, 3))
Y = np.array([-1, 1] * 6)


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Points as a table with a header."""
    path = tmp_path / "mine.csv"
    np.savetxt(path, np.column_stack([X, Y]), fmt="%.17g", delimiter=",", header="a,b,c,label", comments="")
    return path


@pytest.mark.parametrize(("norm", "construction"), [(n, c) for n, cs in NORMS.items() for c in cs if c != "even_power"])
def test_every_construction_is_certified_and_written(
    norm: str, construction: str, points: Path, tmp_path: Path, cgro: Cgro
) -> None:
    out = tmp_path / "out"
    outcome = cgro(
        "memorize",
        points,
        "--norm",
        norm,
        "--construction",
        construction,
        "--ratio",
        0.8,
        "--verify",
        2,
        "--output",
        out,
    )
    assert outcome.code == 0
    report = json.loads((out / "report.json").read_text())
    assert report["certified by structure"] == 12
    assert report["refuted"] == 0
    assert report["certified by weights"] | {"by tier": None} == {
        "points": 2,
        "certified": 2,
        "counterexample": 0,
        "undecided": 0,
        "by tier": None,
    }
    assert report["non-zero parameters"] == report["by formula"]
    network = load(out / "network.safetensors")
    assert network.size.nonzero == report["non-zero parameters"]
    assert (np.sign(network(X)[:, 0]) == Y).all()
    radius = 0.8 * memorize(X, Y, norm, 1e-9).task.separation.distance / 2
    assert network.same_as(memorize(X, Y, norm, radius, construction=construction).network)


def test_a_radius_is_written_as_a_fraction(points: Path, cgro: Cgro) -> None:
    assert cgro("memorize", points, "--radius", "1/250", "--verify", 0).code == 0
    folder = points.with_name("mine-memorizer")
    assert load(folder / "network.safetensors").same_as(memorize(X, Y, "inf", 1 / 250).network)


def test_the_command_line_certifies_with_the_nodes_of_the_library(points: Path, monkeypatch, cgro: Cgro) -> None:
    given = []
    real = memorizer_report.certify
    monkeypatch.setattr(memorizer_report, "certify", lambda *a, **k: given.append(k["nodes"]) or real(*a, **k))
    assert cgro("memorize", points, "--verify", 1).code == 0
    assert cgro("memorize", points, "--verify", 1, "--nodes", 7).code == 0
    assert given == [NODES, 7]


def test_exact_networks_are_written_as_fractions(points: Path, cgro: Cgro) -> None:
    outcome = cgro("memorize", points, "--construction", "grid_cells", "--ratio", 0.02, "--verify", 3)
    assert outcome.code == 0
    folder = points.with_name("mine-memorizer")
    assert outcome.out.splitlines()[-1] == str(folder)
    network = ExactNetwork.from_json((folder / "network.json").read_text())
    assert (np.sign(network(X)[:, 0]) == Y).all()
    certified = json.loads((folder / "report.json").read_text())["certified by weights"]
    assert (certified["points"], certified["certified"], certified["by tier"]) == (3, 3, {"exact arithmetic": 3})
    assert "3 of the first 3 (exact arithmetic 3)" in outcome.out


def small_memorizer(points: Path, cgro: Cgro, *arguments: object) -> Outcome:
    return cgro("memorize", points, "--radius", 0.01, "--verify", 2, *arguments)


def test_the_report_is_json_and_nothing_else(points: Path, tmp_path: Path, cgro: Cgro) -> None:
    out = tmp_path / "out"
    outcome = small_memorizer(points, cgro, "--export", 1, "--output", out, "--json")
    assert outcome.code == 0
    report = json.loads(outcome.out)
    assert report == json.loads((out / "report.json").read_text())
    separation = memorize(X, Y, "inf", 1e-9).task.separation
    assert report["points"] == 12
    assert report["dimensions"] == 3
    assert report["norm"] == "inf"
    assert report["radius"] == 0.01
    assert report["ratio"] == 0.02 / separation.distance
    assert report["separation"] == separation.distance
    assert report["closest pair"] == list(separation.pair)
    assert report["rows of the closest pair"] == [separation.pair[0] + 2, separation.pair[1] + 2]
    assert report["read"] == "12 points in 3 dimensions, labels from column label; header skipped"
    assert report["classes"] is None
    numbers = "parameters neurons depth width weight bits balls structure refuted"
    for word in numbers.split():
        assert [value for name, value in report.items() if name.endswith(word) and isinstance(value, int | float)], word
    assert report["all parameters by formula"] == report["all parameters"]
    assert report["folder"] == str(out)
    assert sorted(report["files"]) == sorted(str(path.relative_to(out)) for path in files_below(out))
    assert not [name for name in report if name != name.strip()]


def test_names_of_classes_lie_beside_the_network(tmp_path: Path, cgro: Cgro) -> None:
    path = tmp_path / "pets.csv"
    path.write_text("weight,kind\n1,cat\n5,dog\n9,cow\n")
    outcome = cgro("memorize", path, "--json")
    assert outcome.code == 0
    report = json.loads(outcome.out)
    classes = {"0": "cat", "1": "cow", "2": "dog"}
    assert report["classes"] == classes
    assert json.loads((tmp_path / "pets-memorizer" / "classes.json").read_text()) == classes
    outputs = load(tmp_path / "pets-memorizer" / "network.safetensors")(np.array([[1.0], [5.0], [9.0]]))
    assert [classes[str(round(v))] for v in outputs[:, 0]] == ["cat", "dog", "cow"]


def test_the_same_command_replaces_its_own_files(points: Path, tmp_path: Path, cgro: Cgro) -> None:
    out = tmp_path / "out"
    arguments = ("--export", 3, "--output", out)
    first = small_memorizer(points, cgro, *arguments)
    before = {path: path.read_bytes() for path in files_below(out)}
    again = small_memorizer(points, cgro, *arguments)
    assert (again.code, again.out) == (first.code, first.out)
    assert {path: path.read_bytes() for path in files_below(out)} == before
    assert small_memorizer(points, cgro, "--export", 1, "--output", out).code == 0
    assert [path.name for path in files_below(out / "verify" / "vnnlib")] == ["point_0.vnnlib"]
    assert small_memorizer(points, cgro, "--output", out).code == 0
    assert {path.name for path in out.iterdir()} == {"report.json", "network.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == {"mine.csv", "out"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"notes.txt": ""}, r"out holds notes\.txt, which `cgro memorize` did not write; choose another --output"),
        ({"report.json": '{"construction": "x"}', "verify/results.csv": ""}, "holds verify/results.csv"),
        ({"report.json": "[]"}, "holds report.json, which `cgro memorize` did not write"),
        ({"network.safetensors": ""}, "holds network.safetensors"),
    ],
)
def test_a_foreign_folder_is_refused_before_the_work(
    files: dict[str, str], message: str, points: Path, tmp_path: Path, cgro: Cgro, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constructions, "build", lambda *_: pytest.fail("worked before it looked"))
    for name, text in files.items():
        place = tmp_path / "out" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    before = {path: path.read_bytes() for path in files_below(tmp_path)}
    assert re.search(message, small_memorizer(points, cgro, "--output", tmp_path / "out").error)
    assert {path: path.read_bytes() for path in files_below(tmp_path)} == before


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(
    points: Path, cgro: Cgro, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constructions, "build", lambda *_: pytest.fail("worked before it looked"))
    assert "must name a folder, got the file" in small_memorizer(points, cgro, "--output", points).error
    assert "cannot write" in small_memorizer(points, cgro, "--output", points / "below").error
    monkeypatch.chdir(points.parent)
    assert "holds mine.csv" in small_memorizer(points, cgro, "--output", ".").error
    (points.parent / "empty").mkdir()
    monkeypatch.chdir(points.parent / "empty")
    assert "is the current folder" in small_memorizer(points, cgro, "--output", ".").error


def weights_in(path: Path) -> ReluNetwork:
    """The network of an ONNX file, from its numbers."""
    import onnx

    found = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    return ReluNetwork.of((found[f"W{k}"], found[f"b{k}"]) for k in range(1, len(found) // 2 + 1))


def test_a_float32_export_is_certified_itself(points: Path, tmp_path: Path, cgro: Cgro) -> None:
    out = tmp_path / "out"
    outcome = small_memorizer(points, cgro, "--export", 12, "--export-dtype", "float32", "--output", out, "--json")
    assert outcome.code == 0
    verdict = json.loads(outcome.out)["exported"]
    assert verdict["precision"] == "float32"
    assert (verdict["points"], verdict["certified"], verdict["largest change of a weight"] > 0) == (12, 12, True)
    exported = weights_in(out / "verify" / "onnx" / "network.onnx")
    assert not exported.same_as(load(out / "network.safetensors"))
    assert certify(exported, X, Y, "inf", 0.01).certified.all()


def test_a_float32_export_that_rounding_breaks_says_so(tmp_path: Path, cgro: Cgro) -> None:
    """Balls a thousandth apart around ten thousand: float32 has steps of a thousandth there."""
    path, out = tmp_path / "far.csv", tmp_path / "out"
    path.write_text("10000,-1\n10000.002,1\n10000.0045,-1\n")
    arguments = ("memorize", path, "--ratio", "9/10", "--export", 3, "--output", out, "--json")
    assert cgro(*arguments).code == 0
    outcome = cgro(*arguments, "--export-dtype", "float32")
    assert outcome.code == 1
    report = json.loads(outcome.out)
    assert report["certified by structure"] == 3
    assert report["exported"]["counterexample"] > 0
    exported = weights_in(out / "verify" / "onnx" / "network.onnx")
    data = read_table(path).data
    found = certify(exported, data.points, data.labels, "inf", report["radius"])
    assert found.by_status["counterexample"] == report["exported"]["counterexample"]


def test_float32_that_cannot_hold_the_weights_is_refused(tmp_path: Path, cgro: Cgro) -> None:
    path = tmp_path / "huge.csv"
    path.write_text("1e60,-1\n-1e60,1\n")
    outcome = cgro("memorize", path, "--export", 1, "--export-dtype", "float32")
    assert "beyond the range of float32" in outcome.error
    assert files_below(tmp_path) == [path]


def test_sizes_beyond_memory_are_refused_before_the_work(
    tmp_path: Path, cgro: Cgro, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"total": 30e6})())
    monkeypatch.setattr(separation, "opposite_separation", lambda *_: pytest.fail("worked before it looked"))
    path = tmp_path / "many.npz"
    np.savez(path, points=np.random.default_rng(0).random((1000, 500)), labels=np.arange(1000) % 2)
    message = r"hinge_sum for 1,000 points in 500 dimensions would need .* MiB of memory, this machine has 28\.6 MiB"
    assert re.search(message, cgro("memorize", path).error)
    assert files_below(tmp_path) == [path]


def test_properties_for_other_verifiers(points: Path, tmp_path: Path, cgro: Cgro) -> None:
    out = tmp_path / "out"
    assert cgro("memorize", points, "--radius", 0.01, "--verify", 0, "--export", 2, "--output", out).code == 0
    names = {str(path.relative_to(out)) for path in files_below(out)}
    verify = {"verify/instances.csv", "verify/onnx/network.onnx", "verify/vnnlib/point_0.vnnlib"}
    assert names == {"report.json", "network.safetensors", "verify/vnnlib/point_1.vnnlib"} | verify


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--radius", 5), r"radius must be below .*, got 5: points \d+ and \d+ with labels"),
        (("--radius", 0.01, "--ratio", 0.5), "Arguments --radius and --ratio are not allowed together; see"),
        (("--ratio", 1.5), r"--ratio must be in \(0, 1\), got 1\.5"),
        (("--norm", 3), "--norm must be one of .*, got '3'"),
        (
            ("--construction", "ball_sum"),
            "construction must be one of hinge_sum, .*grid_cells, grouped_cells in l_inf, got 'ball_sum'",
        ),
        (("--construction", "cgro_classifier"), "in l_inf, got 'cgro_classifier'"),
        (("--construction", "lipschitz", "--readout", "label"), "must be sign with construction lipschitz"),
        (("--verify", "some"), "--verify must be a non-negative integer, got 'some'"),
        (("--nodes", 0), "--nodes must be a positive integer, got '0'"),
        (("--norm", "2", "--export", 1), "norm must be 'inf' for VNN-LIB"),
        (("--construction", "grid_cells", "--ratio", 0.02, "--export", 1), "exact weights, which ONNX cannot hold"),
        (("--colour", "red"), "unrecognized arguments"),
        (("--radius", "1/0"), "--radius must be a decimal such as 0.03 or a fraction such as 8/255, got '1/0'"),
        (("--ratio", "1_0"), "--ratio must be a decimal .*, got '1_0'"),
        (
            ("--export", 1, "--export-dtype", "float16"),
            "--export-dtype must be one of 'float64', 'float32', got 'float16'",
        ),
        (("--export-dtype", "float32"), "--export-dtype requires --export N, the number of points to export"),
        (("--label", "lable"), "--label must be one of a, b, c, label, got 'lable'; did you mean label?"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    arguments: tuple, message: str, points: Path, tmp_path: Path, cgro: Cgro
) -> None:
    outcome = cgro("memorize", points, *arguments)
    assert re.search(message, outcome.error), outcome.error
    assert [path for path in files_below(tmp_path) if path != points] == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "holds no points"),
        ("a.csv", b"x,y\n", "holds no points"),
        ("a.csv", b"1,2,1\n1,2\n", r"row 2 is '1,2'; need D numbers"),
        ("a.csv", b"1,1\nb,1\n", r"row 2 is 'b,1'"),
        ("a.csv", b"1\n2\n", r"row 1 is '1'"),
        ("a.csv", b"1,0.5\n2,1\n", r"row 1, column 2 is '0.5': labels must be integers"),
        ("a.csv", b"nan,1\n2,0\n", r"row 1 is 'nan,1': column 1 is 'nan'"),
        ("a.csv", b"\xff\xfe\x00", "not a file of points"),
        ("a.npz", b"PK nonsense", "not a file of points"),
    ],
)
def test_other_files_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_arrays_are_read_without_pickles(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, points=X, labels=Y)
    assert (read_table(path).data.points == X).all()
    np.savez(path, points=X)
    with pytest.raises(UserError, match=r"holds \['points'\]"):
        read_table(path)
    np.savez(path, points=X, labels=np.array([{}] * 12, dtype=object))
    with pytest.raises(UserError, match="not a file of points"):
        read_table(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "none.csv")


def test_a_text_that_is_no_network_is_refused() -> None:
    for text in ("", "{}", '{"inputs": 1, "layers": [[[[[0, "1/0"]], "0"]]]}', "[]"):
        with pytest.raises(UserError, match="text must be an exact network"):
            ExactNetwork.from_json(text)


def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "cgro/memorizers/README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    exec(compile(example, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "30 certified, 0 counterexample, 0 undecided" in out
    statements = [line for line in example.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(statements) <= 10
    for name in CONSTRUCTIONS:
        assert f"`{name}`" in page
