"""`cgro memorize`: from a file of points to a certified network and its files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Outcome, files_below

from cgro.data.tables import read_table
from cgro.errors import UserError
from cgro.networks.exact import ExactNetwork
from cgro.networks.export import load
from cgro.networks.memorizers.constructions import CONSTRUCTIONS, NORMS, memorize

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
    assert report["first 2 by weights"].startswith("2 certified")
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


def test_exact_networks_are_written_as_fractions(points: Path, cgro: Cgro) -> None:
    outcome = cgro("memorize", points, "--construction", "grid_cells", "--ratio", 0.02, "--verify", 3)
    assert outcome.code == 0
    folder = points.with_name("mine-memorizer")
    assert outcome.out.splitlines()[-1] == str(folder)
    network = ExactNetwork.from_json((folder / "network.json").read_text())
    assert (np.sign(network(X)[:, 0]) == Y).all()
    assert json.loads((folder / "report.json").read_text())["first 3 by weights"] == "3 certified in exact arithmetic"


def test_properties_for_other_verifiers(points: Path, tmp_path: Path, cgro: Cgro) -> None:
    out = tmp_path / "out"
    assert cgro("memorize", points, "--radius", 0.01, "--verify", 0, "--export", 2, "--output", out).code == 0
    names = {str(path.relative_to(out)) for path in files_below(out)}
    verify = {"verify/instances.csv", "verify/onnx/network.onnx", "verify/vnnlib/point_0.vnnlib"}
    assert names == {"report.json", "network.safetensors", "verify/vnnlib/point_1.vnnlib"} | verify


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--radius", 5), r"radius is 5: points \d+ and \d+ with labels"),
        (("--radius", 0.01, "--ratio", 0.5), "not allowed with argument"),
        (("--ratio", 1.5), r"so it must be below"),
        (("--norm", 3), "norm is '3': allowed are"),
        (("--construction", "ball_sum"), "construction is 'ball_sum': in l_inf allowed are hinge_sum, "),
        (("--construction", "cgro_classifier"), "construction is 'cgro_classifier': in l_inf"),
        (("--construction", "lipschitz", "--readout", "label"), "lipschitz reads the sign"),
        (("--verify", "some"), "'some' is no number of points"),
        (("--time-limit", 0), "'0' is no time"),
        (("--norm", "2", "--export", 1), "only norm 'inf' can be exported"),
        (("--construction", "grid_cells", "--ratio", 0.02, "--export", 1), "exact weights: ONNX holds floats"),
        (("--colour", "red"), "unrecognized arguments"),
        (("--radius", "1/0"), "argument --radius: '1/0' is not a number"),
        (("--ratio", "1_0"), "argument --ratio: '1_0' is not a number"),
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
        with pytest.raises(UserError, match="text is no exact network"):
            ExactNetwork.from_json(text)


def test_the_example_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "cgro/networks/memorizers/README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    exec(compile(example, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "30 certified, 0 counterexample, 0 undecided" in out
    statements = [line for line in example.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(statements) <= 10
    for name in CONSTRUCTIONS:
        assert f"`{name}`" in page
