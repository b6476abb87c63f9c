"""Sizes that cannot be: refused by the memory that they would take, at once, and estimated as they are measured."""

from __future__ import annotations

import ctypes
import gc
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cgro.base.errors import UserError
from cgro.dynamics import memory
from cgro.dynamics.axes import Axis
from cgro.dynamics.direct import DirectEngine
from cgro.dynamics.gram import GramEngine
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.sweep import train_settings
from cgro.dynamics.trajectory import observe, record_steps, train
from cgro.runs.registry import find, find_all

BASE = PatchSetting(steps=2)
STATUS = Path("/proc/self/status")
measurable = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the peak memory of Linux")


def resident(name: str) -> float:
    """VmRSS, memory in use, or VmHWM, the most since it was last reset, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024.0 * int(line.split()[1])


def peak(work: Callable[[], object]) -> float:
    """Bytes that `work` adds at most to the memory of this process."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before would hide what is taken now
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    kept = work()
    after = resident("VmHWM")
    del kept
    return after - before


def smooth(z: torch.Tensor) -> torch.Tensor:
    """Cubic near 0, linear far away."""
    return torch.where(z.abs() < 1, z**3, 3 * z - 2 * z.sign())


def through(engine: GramEngine | DirectEngine) -> None:
    """What training asks of an engine."""
    engine.advance(2)
    engine.state()


def warm(setting: PatchSetting, make: Callable[[Runs], GramEngine | DirectEngine]) -> None:
    """Train something small first: libraries that are loaded on the way are no memory of the engine."""
    through(make(Runs.product([replace(setting, samples=3, dim=20, filters=3)], [0])))


GRAM = {
    "many samples": (replace(BASE, samples=2000, patches=2, dim=2500, filters=5), 1, 1),
    "vectors": (replace(BASE, samples=1500, patches=2, dim=500, filters=5, sampling="vectors"), 3, 1),
    "many filters": (replace(BASE, samples=30, filters=2000), 1, 1),
    "many runs": (replace(BASE, samples=60, patches=3, filters=100), 1, 200),
    "many seeds": (replace(BASE, samples=200, patches=3, filters=5, dim=1000), 40, 1),
    "relu": (replace(BASE, samples=100, patches=3, filters=60, activation="relu"), 2, 60),
    "own activation": (replace(BASE, samples=100, patches=3, filters=60, activation=smooth), 2, 60),
}
DIRECT = {
    "many dimensions": (replace(BASE, sampling="vectors", dim=10_000, filters=5), 2),
    "many filters": (replace(BASE, sampling="vectors", dim=100, filters=3_000), 2),
    "many runs": (replace(BASE, sampling="vectors", dim=300), 40),
    "pgd": (replace(BASE, sampling="vectors", dim=6_000, filters=5, attack="pgd-l2", radius_ratio=0.25), 2),
}


@measurable
@pytest.mark.parametrize("name", GRAM)
def test_memory_of_the_gram_engine_is_within_a_factor_of_two(name: str) -> None:
    setting, seeds, settings = GRAM[name]
    runs = Runs.product([replace(setting, signal=1 + k / 1e3) for k in range(settings)], range(seeds))
    estimate = memory.gram_bytes(setting, len(runs), seeds)
    assert estimate > 5e7, "too small to be measured"
    warm(setting, lambda small: GramEngine(small, "cpu", threads=1))
    measured = peak(lambda: through(GramEngine(runs, "cpu", threads=1)))
    assert estimate / 2.2 < measured < estimate * 2


@measurable
@pytest.mark.parametrize("name", DIRECT)
def test_memory_of_the_direct_engine_is_within_a_factor_of_two(name: str) -> None:
    setting, seeds = DIRECT[name]
    runs = Runs.product([setting], range(seeds))
    estimate = memory.direct_bytes(setting, seeds)
    assert estimate > 5e7, "too small to be measured"
    warm(setting, lambda small: DirectEngine(small, "cpu"))
    measured = peak(lambda: through(DirectEngine(runs, "cpu")))
    assert estimate / 2.2 < measured < estimate * 2


@measurable
def test_memory_of_test_draws_and_records_is_within_a_factor_of_two() -> None:
    setting = replace(BASE, samples=4, patches=2, dim=9, filters=30)
    runs = Runs.product([setting], range(3))
    state = GramEngine(runs, "cpu", threads=1).state()
    estimate = memory.test_bytes(setting, 3, 100_000)
    measured = peak(lambda: observe(runs, state, test_samples=100_000, detail=False))
    assert estimate / 2.2 < measured < estimate * 2

    long = replace(setting, samples=4000, filters=2, sampling="vectors", steps=20)
    estimate = memory.record_bytes(long, 2, 10**6, detail=True)
    for samples in (4, long.samples):  # what is imported on the way is no record
        runs = Runs.product([replace(long, samples=samples)], range(2))
        tracemalloc.start()
        train(runs, engine="direct", records=10**6, test_samples=2, device="cpu")
        measured = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # Half of the copies: a sweep joins its blocks and stores them on top of it.
    assert estimate / 3 < measured < estimate / 1.5


# Refusals


def patch_config(name: str, **change: Any) -> Any:
    """The quick configuration of an experiment, with fields of its setting or its own changed."""
    config = find("experiment", name).Config.quick()
    of_setting = {key: value for key, value in change.items() if not hasattr(config, key)}
    rest = {key: value for key, value in change.items() if key not in of_setting}
    return (
        replace(config, setting=replace(config.setting, **of_setting), **rest)
        if of_setting
        else replace(config, **rest)
    )


HUGE = {
    "filters": ("phase-transition", {"filters": 10**9}),
    "samples": ("phase-transition", {"samples": 10**7}),
    "samples of proved runs": ("certified-transition", {"samples": 10**7}),
    "dim of proved runs": ("certified-transition", {"dim": 10**10}),
    "dim": ("phase-transition", {"dim": 10**12, "engine": "direct"}),
    "seeds": ("phase-transition", {"seeds": 10**12}),
    "seeds of two axes": ("phase-diagram", {"seeds": 10**12}),
    "seeds of variants": ("dimension", {"seeds": 10**12}),
    "seeds of points": ("reference-points", {"seeds": 10**12}),
    "seeds of attacks": ("attack", {"seeds": 10**12}),
    "test_samples": ("training-objective", {"test_samples": 10**12}),
    "test_samples of attacks": ("attack", {"test_samples": 10**10}),
    "samples of attacks": ("attack", {"samples": 10**9}),
    "records": ("activation", {"records": 10**12, "steps": 10**12}),
    "dims": ("dimension", {"dims": (100, 10**12), "sampling": "vectors"}),
    "seeds of a line": ("finite-size", {"seeds": 10**12}),
    "dims of lines": ("finite-size", {"dims": (100, 10**12), "sampling": "vectors"}),
    "all at once": ("attack", {"seeds": 10**6, "samples": 10**3}),
}


def refusal_at_once(make: Callable[[], object]) -> str:
    """The one line with which something is refused, in no time and with hardly any memory."""
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        make()
    took, used = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 1
    assert used < 2e7  # imports included
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", HUGE)
def test_sizes_beyond_memory_are_refused_by_the_configuration(name: str) -> None:
    experiment, change = HUGE[name]
    text = refusal_at_once(lambda: patch_config(experiment, **change))
    field = next(iter(change))
    assert " would need " in text
    assert " of memory, this machine has " in text
    value = change[field]
    assert f"{max(value) if isinstance(value, tuple) else value:,}" in text


OTHERS = {
    "certified-cgro": [("seeds", 10**12), ("width", 10**9)],
    "cgro-construction": [("seeds", 10**12), ("samples", 10**10), ("test_samples", 10**12), ("attack_points", 10**12)],
    "coverage": [("seeds", 10**12), ("fixed_samples", 10**12), ("test_samples", 10**12), ("fixed_dim", 10**12)],
    "distillation": [("test_samples", 10**10)],
    "memorization-capacity": [
        ("seeds", 10**12),
        ("restarts", 10**12),
        ("largest_width", 10**12),
        ("fixed_dim", 10**12),
    ],
    "memorizer-certificates": [("seeds", 10**12), ("samples", (10, 10**12)), ("dims", (2, 10**12)), ("broken", 10**12)],
    "parameter-counts": [("seeds", 10**12), ("samples", (10, 10**12)), ("fixed_dim", 10**12), ("dims", (5, 10**12))],
    "robust-lower-bound": [("seeds", 10**12), ("largest_dim", 10**9), ("square_restarts", 10**12)],
    "two-mechanisms": [("test_samples", 10**10)],
    "unlearnable": [("test_samples", 10**10)],
}


@pytest.mark.parametrize(("name", "field", "value"), [(name, *change) for name in OTHERS for change in OTHERS[name]])
def test_sizes_beyond_memory_are_refused_by_other_experiments(name: str, field: str, value: Any) -> None:
    config = find("experiment", name).Config.quick()
    text = refusal_at_once(lambda: replace(config, **{field: value}))
    assert f"{max(value) if isinstance(value, tuple) else value:,}" in text or field == "width"
    assert " would need " in text


def test_every_experiment_of_points_has_sizes_to_refuse() -> None:
    images = {"flatness", "image-cgro", "image-phases", "overfitting-cures", "robust-overfitting", "width-sweep"}
    images |= {"complexity-measures", "gradient-stability", "random-labels", "robust-overfitting-causes"}
    images |= {"memorization-scores", "atypical-accuracy", "atypical-harm", "bat", "unlearnable-images"}
    assert {name for name, _ in HUGE.values()} | set(OTHERS) | images == set(find_all("experiment"))


def test_axes_beyond_memory_are_refused() -> None:
    assert "count = 1,000,000,000" in refusal_at_once(lambda: Axis("signal", 1, 2, 10**9))
    assert "count = 1,000,000,000" in refusal_at_once(lambda: Axis("samples", 1, 20, 10**9))
    config = find("experiment", "phase-diagram").Config.quick()
    x, y = Axis("signal", 1, 2, 10**6), Axis("noise_norm", 1, 2, 10**4)
    assert "of 10,000,000,000 settings" in refusal_at_once(lambda: replace(config, x=x, y=y))
    large = Axis("samples", 10, 10**7, 3)
    assert "samples = 10,000,000" in refusal_at_once(lambda: replace(config, y=large))


def test_sizes_of_an_axis_are_counted_without_making_it() -> None:
    for axis in (
        Axis("samples", 1, 20, 7),
        Axis("samples", 1, 4, 20),
        Axis("signal", 1, 2, 9),
        Axis("dim", 2, 90, 5, True),
    ):
        assert axis.size == len(axis.values)


@pytest.mark.parametrize("seeds", [range(10**12), range(10**30)])
def test_more_seeds_than_memory_can_list_are_refused_from_python(seeds: range) -> None:
    assert " would need " in refusal_at_once(lambda: Runs.product([BASE], seeds))
    assert " would need " in refusal_at_once(lambda: train_settings(None, [BASE], seeds))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"filters": 10**9}, {}),
        ({"samples": 10**7}, {}),
        ({"samples": 10**9, "sampling": "vectors"}, {"engine": "direct"}),
        ({}, {"test_samples": 10**12}),
        ({"steps": 10**12}, {"records": 10**12}),
    ],
)
def test_training_beyond_memory_is_refused_from_python(change: dict[str, Any], options: dict[str, Any]) -> None:
    runs = Runs.product([replace(BASE, **change)], range(2))
    assert " would need " in refusal_at_once(lambda: train(runs, **options))


@pytest.mark.parametrize("name", ["samples", "patches", "dim", "filters", "steps"])
def test_sizes_that_no_number_counts_are_refused(name: str) -> None:
    text = refusal_at_once(lambda: PatchSetting(**{name: 10**400}))
    assert text == f"{name} must be at most 9,007,199,254,740,992, got a larger number"
    assert refusal_at_once(lambda: PatchSetting(**{name: True})).startswith(
        f"{name} must be an integer of at least 1, got True"
    )


def test_more_records_than_steps_are_every_step() -> None:
    for count in (10**12, 200):
        assert list(record_steps(30, count)) == list(range(31))


@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize("name", sorted({experiment for experiment, _ in HUGE.values()} | set(OTHERS)))
def test_presets_fit(name: str, preset: str) -> None:
    getattr(find("experiment", name).Config, preset)()
