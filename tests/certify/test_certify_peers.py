"""The certifier against independent verifiers and on robust memorizers; the comparison script at toy size."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest
from tools import ROOT

from cgro.certify.certify import certify
from cgro.data.separated import random_points
from cgro.data.separation import opposite_separation
from cgro.memorizers.constructions import memorize

SPEC = importlib.util.spec_from_file_location("certify_benchmark", ROOT / "benchmarks" / "certify.py")
assert SPEC is not None
assert SPEC.loader is not None
benchmark = importlib.util.module_from_spec(SPEC)
sys.modules["certify_benchmark"] = benchmark
SPEC.loader.exec_module(benchmark)


def test_verdicts_agree_with_the_textbook_program() -> None:
    report = benchmark.compare(benchmark.random_cases(40, seed=5), {"plain_milp": benchmark.plain_milp}, 20.0)
    against = report["against"]["plain_milp"]
    assert against["differ"] == {}
    assert against["decided_by_both"] == against["agree"] == 40
    assert min(report["verdicts"]["cgro"].values()) > 5


def test_verdicts_on_memorizers_agree_with_the_textbook_program() -> None:
    report = benchmark.compare(benchmark.memorizer_cases(3, 2), {"plain_milp": benchmark.plain_milp}, 5.0)
    assert report["against"]["plain_milp"]["differ"] == {}
    assert report["against"]["plain_milp"]["only_peer_decides"] == 0
    assert "undecided" not in report["verdicts"]["cgro"]


def test_verdicts_agree_with_marabou() -> None:
    pytest.importorskip("maraboupy", reason="needs pip install maraboupy")
    marabou = benchmark.Marabou(sys.executable)
    assert not marabou.missing
    try:
        report = benchmark.compare(benchmark.random_cases(60, seed=6), {"marabou": marabou}, 20.0)
    finally:
        marabou.close()
    assert report["against"]["marabou"]["differ"] == {}
    assert report["against"]["marabou"]["agree"] == 60


def test_the_script_writes_its_report_and_says_what_it_left_out(tmp_path, monkeypatch, capsys) -> None:
    path = tmp_path / "deep" / "report.json"
    arguments = ["--cases", "5", "--samples", "2", "--dim", "2", "--output", path]
    monkeypatch.setattr(sys, "argv", ["certify.py", *map(str, arguments), "--marabou-python", str(tmp_path / "none")])
    benchmark.main()
    report = json.loads(path.read_text())
    assert report == json.loads(capsys.readouterr().out)
    assert report["marabou"].startswith("left out: ")
    assert report["random_networks"]["cases"] == 5
    assert set(report["random_networks"]["against"]) == {"plain_milp"}


@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.99, 0.999])
def test_intervals_alone_certify_the_hinge_sum(ratio) -> None:
    """Its distances are separable over coordinates, so that interval bounds are attained."""
    data = random_points(12, 4, seed=0)
    radius = ratio * opposite_separation(data, "inf").distance / 2
    memorizer = memorize(data, None, "inf", radius, construction="hinge_sum")
    found = certify(
        memorizer.network, data.points, data.labels, "inf", radius, readout=memorizer.readout, tiers=("interval",)
    )
    assert found.certified.all()
    assert set(found.tier) == {"interval"}


@pytest.mark.parametrize(
    ("norm", "construction", "ratio"),
    [("1", "absolute_sum", 0.99), ("2", "ball_sum", 0.9), ("2", "shallow_ball_sum", 0.9), ("inf", "lipschitz", 0.9)],
)
def test_memorizers_are_certified_at_their_radius_and_falsified_beyond_half_the_separation(
    norm, construction, ratio
) -> None:
    data = random_points(6, 3, seed=1)
    half = opposite_separation(data, norm).distance / 2
    memorizer = memorize(data, None, norm, ratio * half, construction=construction)
    network, readout = memorizer.network, memorizer.readout
    found = certify(network, data.points, data.labels, norm, ratio * half, readout=readout)
    assert found.certified.all()
    beyond = certify(network, data.points, data.labels, norm, 1.01 * half, readout=readout, nodes=1000)
    pair = opposite_separation(data, norm).pair
    assert "counterexample" in beyond.status[list(pair)]


def test_solvers_say_nothing_on_the_standard_output(capfd) -> None:
    data = random_points(8, 3, seed=0)
    radius = 0.99 * opposite_separation(data, "inf").distance / 2
    memorizer = memorize(data, None, "inf", radius, construction="lipschitz")
    found = certify(memorizer.network, data.points, data.labels, "inf", radius, readout=memorizer.readout)
    assert "milp" in found.by_tier
    assert np.isfinite(found.lower).all()
    assert capfd.readouterr().out == ""
