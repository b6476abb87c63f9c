"""Ends of phases: the same whatever is recorded, and where a recording of every step has them, in every engine."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from cgro.dynamics.activations import activation
from cgro.dynamics.crossings import LEVELS, NAMES, Watch
from cgro.dynamics.gram import GramEngine
from cgro.dynamics.patch_cnn import output_signs
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.trajectory import EngineName, make_engine, train

BASE = PatchSetting(samples=11, patches=3, dim=40, filters=6, steps=72, sampling="vectors", learning_rate=1.6)
VARIANTS = {
    "base": {},
    "an even number of samples": {"samples": 12},
    "relu": {"activation": "relu"},
    "q=2": {"exponent": 2.0},
    "adversarial only": {"adversarial_weight": 1.0},
    "standard": {"adversarial_weight": 0.0},
    "robust": {"radius_ratio": 0.3},
    "nothing happens": {"learning_rate": 1e-6},
    "reached at the start": {"signal": 20.0, "noise_norm": 30.0, "learning_rate": 1e-9, "unlearnable": 0.5},
    "blind": {"unlearnable": 0.2},
    "robust and blind": {"unlearnable": 0.4, "radius_ratio": 0.3, "visibility": 0.1},
}


def step_by_step(runs: Runs, engine: EngineName) -> np.ndarray:
    """T_0, T_n, T_1 and T_u of each run from the state after every single step, on the line between two steps."""
    work, setting = make_engine(engine, runs, "cpu"), runs.common
    curves = []
    for step in range(setting.steps + 1):
        if step:
            work.advance(1)
        state = work.state()
        phi = activation(state.v, setting.exponent, setting.activation)
        signs = output_signs(setting.filters, setting.activation)
        V = state.labels * torch.einsum("f,bfn->bn", signs, phi).view(*state.labels.shape, -1).sum(2)
        largest = runs.values("signal", V.device) * state.u[:, 0].abs().amax(1)
        median = V.quantile(0.5, dim=1)
        first = torch.where(state.unlearnable, V, -torch.inf).amax(1)
        curves.append(torch.stack([largest, median, median, first], dim=1).numpy())
    values = np.array(curves)
    found = np.full(values.shape[1:], np.nan)
    for b, k in np.ndindex(found.shape):
        above, level = np.flatnonzero(values[:, b, k] >= LEVELS[k]), LEVELS[k]
        if len(above):
            t = int(above[0])
            before, now = values[max(t - 1, 0), b, k], values[t, b, k]
            found[b, k] = t - 1 + (level - before) / (now - before) if t else 0.0
    return found


def times(result: xr.Dataset) -> np.ndarray:
    """NaN for an end that only runs with unlearnable samples have."""
    never = np.full(result.sizes["run"], np.nan)
    return np.array([result[name].values if name in result else never for name in NAMES]).T


@pytest.mark.parametrize(
    ("name", "engine"),
    [(name, "gram") for name in VARIANTS] + [(name, "direct") for name in ("base", "relu", "reached at the start")],
)
def test_ends_of_phases_do_not_depend_on_the_records(name: str, engine: EngineName) -> None:
    setting = replace(BASE, **VARIANTS[name])
    runs = Runs.product([setting, replace(setting, signal=setting.signal * 1.2)], [0, 1])
    options = {"engine": engine, "test_samples": 2, "detail": False}
    few, some = (times(train(runs, records=count, **options)) for count in (2, 12))  # type: ignore[arg-type]
    np.testing.assert_array_equal(some, few)
    np.testing.assert_allclose(few, step_by_step(runs, engine), rtol=1e-7, atol=1e-9)


def test_every_kind_of_end_is_among_the_variants() -> None:
    """The tests above would prove nothing of times that are never, or always, reached."""
    runs = [replace(BASE, **change) for change in VARIANTS.values()]
    found = np.concatenate([times(train(Runs((s,), (0,)), records=2, test_samples=2, detail=False)) for s in runs])
    for column in found.T:
        assert np.isnan(column).any()
        assert (column > 0).sum() >= 2
        assert (column == 0).any()


@pytest.mark.parametrize("name", VARIANTS)
def test_compiled_and_tensor_programs_find_the_same_ends_in_pieces(name: str) -> None:
    runs = Runs.product([replace(BASE, **VARIANTS[name])], [0, 1, 2])
    whole, pieces, tensor = GramEngine(runs), GramEngine(runs), GramEngine(runs, compiled=False)
    whole.advance(BASE.steps)
    for steps in (1, 9, 20, 42):
        pieces.advance(steps)
        tensor.advance(steps)
        pieces.times()
    np.testing.assert_array_equal(pieces.times(), whole.times())
    np.testing.assert_allclose(tensor.times(), whole.times(), rtol=1e-7, atol=1e-9)
    chosen = np.array([2, 0])
    for engine in (whole, tensor):
        before = engine.times()
        engine.keep(chosen)
        np.testing.assert_array_equal(engine.times(), before[chosen])


def test_a_watch_takes_the_first_time_of_a_level_that_is_crossed_twice() -> None:
    watch = Watch(torch.tensor([2.0], dtype=torch.float64), torch.tensor([[False, True, True, False]]))
    memorized = [0.0, 0.0, 0.4, 0.0, 2.0, 0.0, 3.0]
    for step, V in enumerate(memorized):
        state = torch.tensor([[0.1 * step, -0.1 * step]]).double(), torch.full((1, 4), V, dtype=torch.float64)
        watch.see(step, *state)
        watch.see(step, *state)  # the same step again
        if step == 2:
            np.testing.assert_allclose(watch.times(), [[math.nan, 1.25, math.nan, math.nan]])
    np.testing.assert_allclose(watch.times(), [[5.0, 1.25, 3.5, 3.5]], rtol=1e-6)


def test_a_run_that_diverges_keeps_the_times_that_it_reached_as_a_number() -> None:
    late = replace(BASE, noise_norm=1.0, learning_rate=2.0, signal=6.0, steps=200)
    wild = replace(late, learning_rate=1e120)
    result = train(Runs((late, wild), (0, 0)), records=200, test_samples=2, detail=False)
    assert np.isnan(times(result)[1, 1:]).all()
    known = result["step"].where(result["clean_loss"].isel(run=1).notnull()).max()
    assert not result["T_0"][1] > known


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_signal_that_overflows_is_no_number_and_writes_nowhere_else(sign: float) -> None:
    """An infinite U leaves the worst case no smallest margin; a side not chosen would be any place in memory."""
    for _ in range(20):
        engine = GramEngine(Runs.product([BASE], range(2)), threads=1)
        engine.u[0] = sign * 1e200
        engine.advance(2)
        assert not np.isfinite(engine.u[0].numpy()).any()
        assert np.isfinite(engine.u[1].numpy()).all()
