"""Peers of the benchmarks run with their best number of threads."""

from __future__ import annotations

import importlib
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tools import ROOT


def benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for module in (name, "peers"):
        sys.modules.pop(module, None)
    return importlib.import_module(name)


def test_the_plain_loop_is_tried_on_one_thread_and_on_all_and_the_better_one_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CGRO_THREADS", "2")
    dynamics = benchmark("dynamics", monkeypatch)
    plain_steps = dynamics.plain_steps

    def slow_on_two_threads(setting: object, seed: int) -> object:
        steps = plain_steps(setting, seed)

        def take(count: int) -> None:
            steps(min(count, 2))
            if torch.get_num_threads() == 2:
                time.sleep(0.4)

        return take

    monkeypatch.setattr(dynamics, "plain_steps", slow_on_two_threads)
    monkeypatch.setattr(dynamics, "DIMENSIONS", (100,))
    report = dynamics.measure(2, 1, 4, size=64)
    json.dumps(report)
    rates = report["plain_run_steps_per_second_by_threads"]
    assert set(rates) == {1, 2}
    assert report["plain_threads"] == 1
    assert rates[1]["median"] > 5 * rates[2]["median"]
    assert report["plain_run_steps_per_second"] == rates[1]
    gram = report["gram_run_steps_per_second"]["median"]
    assert report["speedup_over_plain_loop"]["median"] == pytest.approx(gram / rates[1]["median"])


def test_rates_are_of_the_steps_taken_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = benchmark("peers", monkeypatch)
    taken: list[int] = []

    def steps(count: int) -> None:
        taken.append(count)
        time.sleep(0.05)

    rate = peers.steps_per_second(steps, 1000, limit=0.12)
    assert 200 <= sum(taken) <= 300
    assert rate == pytest.approx(2000, rel=0.5)
    taken.clear()
    peers.steps_per_second(steps, 7, limit=10.0)
    assert sum(taken) == 7


def test_threads_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = benchmark("peers", monkeypatch)
    before = torch.get_num_threads()
    with peers.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    assert peers.best_threads({1: [3.0, 1.0, 3.0], 2: [2.0, 9.0, 2.0]}) == 1


@pytest.mark.deep
def test_a_cluster_is_compared_with_one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cluster = benchmark("cluster", monkeypatch)
    quick = cluster.DIAGRAM.Config.quick()
    tiny = replace(quick, setting=replace(quick.setting, steps=50), x=replace(quick.x, count=3), seeds=1)
    report = cluster.measure(1, tmp_path, tiny)
    json.dumps(report)
    times = [report[f"seconds_{name}"]["median"] for name in ("in_one_process", "on_one_worker", "on_two_workers")]
    assert report["overhead_of_one_worker"]["median"] == pytest.approx(times[1] / times[0] - 1)
    assert report["speedup_of_two_workers"]["median"] == pytest.approx(times[1] / times[2])
    assert len(list(tmp_path.rglob("*.sqlite"))) == 6
