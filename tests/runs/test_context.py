"""Sweeps: finished cells are kept, failing ones named, and the numbers do not depend on where they were computed."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tools import files_below, full_disk

from cgro.base import files
from cgro.base.errors import UserError
from cgro.base.work import PlainContext, Tick, scratch_of
from cgro.data import images
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.sweep import Block, train_settings
from cgro.dynamics.trajectory import EngineName
from cgro.runs import context, store
from cgro.runs.cell_store import Name
from cgro.runs.context import StoredContext
from cgro.runs.packing import unpack
from cgro.runs.workers import WorkersLostError
from cgro.simulations import attack, phase_diagram


@dataclass(frozen=True)
class Root:
    """A cell: the square roots of a number."""

    number: int

    @property
    def work(self) -> float:
        return 1.0


def roots(cell: Root, tick: Tick) -> xr.Dataset:
    """Fails below zero."""
    if cell.number == -1:
        raise UserError("number must be at least 0, got -1")
    if cell.number < -1:
        raise ArithmeticError(f"no root of\n{cell.number}")
    tick(cell.work)
    label = np.array(["plus", "minus"], dtype="<U9")
    return xr.Dataset({"root": ("sign", cell.number**0.5 * np.array([1.0, -1.0]))}, {"sign": label})


def unfinished(cell: Root, tick: Tick) -> xr.Dataset:
    """Whether unfinished work was there."""
    scratch = scratch_of(tick)
    assert scratch is not None
    return xr.Dataset({"resumed": float((scratch / "half").exists())})


class Counted:
    """The cell function, remembering its calls."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.__module__, self.__qualname__ = roots.__module__, roots.__qualname__

    def __call__(self, cell: Root, tick: Tick) -> xr.Dataset:
        self.calls.append(cell.number)
        return roots(cell, tick)


CELLS = [Root(k) for k in (4, 9, 2)]


@pytest.fixture(params=["serial", "threads"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor | None]:
    """Here, or on an executor (whose code is the same for processes and clusters)."""
    if request.param == "serial":
        yield None
        return
    with ThreadPoolExecutor(2) as pool:
        yield pool


@dataclass(frozen=True)
class Shown(Root):
    """A cell that reads images."""

    data: str = "cifar10"


def test_a_cell_of_other_image_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never read as one of these, nor lost; where the files are not known, it is taken as it is."""
    here: list[str | None] = ["3 test images", "2 test images", None]
    monkeypatch.setattr(images, "image_files", lambda _name: here[0])
    cells = [Shown(4)]
    (made,) = StoredContext(tmp_path, quiet=True).map(roots, cells)
    assert made.attrs["image_files"] == "3 test images"
    StoredContext(tmp_path, quiet=True).map(roots, cells)
    here.pop(0)
    with pytest.raises(UserError, match=r"made from other image files \(3 test images; here are 2 test images\)"):
        StoredContext(tmp_path, quiet=True).map(roots, cells)
    here.pop(0)
    assert StoredContext(tmp_path, quiet=True).map(roots, cells)[0].attrs == made.attrs
    here[0] = "2 test images"
    (other,) = StoredContext(tmp_path, quiet=True, fresh=True).map(roots, cells)
    assert other.attrs["image_files"] == "2 test images"


def test_cells_without_images_do_not_tell_files(tmp_path: Path) -> None:
    for cells in (CELLS, [Shown(4, data="digits")]):
        assert "image_files" not in StoredContext(tmp_path, quiet=True).map(roots, cells)[0].attrs


def without_provenance(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.drop_attrs(deep=False)


def assert_same(a: list[xr.Dataset], b: list[xr.Dataset]) -> None:
    """The same names, values and bits."""
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        xr.testing.assert_identical(without_provenance(x), without_provenance(y))
        for name in x.variables:
            if x[name].dtype.kind in "fiub":
                assert x[name].values.tobytes() == y[name].values.tobytes()


# Remembering


def test_a_second_map_computes_nothing(tmp_path: Path) -> None:
    count, here = Counted(), StoredContext(tmp_path, quiet=True)
    first = here.map(count, CELLS)
    second = here.map(count, CELLS)
    assert count.calls == [4, 9, 2]
    assert_same(first, PlainContext().map(roots, CELLS))
    for a, b in zip(first, second, strict=True):
        xr.testing.assert_identical(a, b)
        assert {name: v.dtype for name, v in a.variables.items()} == {name: v.dtype for name, v in b.variables.items()}
        assert store.stored_config(a) in [{"number": k} for k in (4, 9, 2)]
    here.map(count, [Root(4), Root(16)])
    assert count.calls == [4, 9, 2, 16]


def test_fresh_computes_again(tmp_path: Path) -> None:
    count = Counted()
    StoredContext(tmp_path, quiet=True).map(count, CELLS)
    StoredContext(tmp_path, quiet=True, fresh=True).map(count, CELLS)
    assert count.calls == [4, 9, 2] * 2


def test_fresh_begins_unfinished_cells_anew(executor: Executor | None, tmp_path: Path) -> None:
    for fresh, found in ((False, 1.0), (True, 0.0)):
        here = StoredContext(tmp_path / str(fresh), executor=executor, fresh=fresh, quiet=True)
        half_done = here.folder / "cells" / Name.of(unfinished, Root(4)).key / "half"
        half_done.parent.mkdir(parents=True)
        half_done.touch()
        assert float(here.map(unfinished, [Root(4)])[0]["resumed"]) == found


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.lists(st.integers(0, 9), max_size=6), second=st.lists(st.integers(0, 9), max_size=6))
def test_exactly_the_missing_cells_are_computed(
    first: list[int], second: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    here, count = StoredContext(tmp_path_factory.mktemp("sweep"), quiet=True), Counted()
    here.map(roots, [Root(k) for k in first])
    found = here.map(count, [Root(k) for k in second])
    assert set(count.calls) == set(second) - set(first)
    assert_same(found, PlainContext().map(roots, [Root(k) for k in second]))


def test_cells_of_another_function_are_not_mistaken(tmp_path: Path) -> None:
    def halves(cell: Root, _tick: Tick) -> xr.Dataset:
        return xr.Dataset({"half": cell.number / 2})

    here = StoredContext(tmp_path, quiet=True)
    here.map(roots, CELLS)
    assert [float(d["half"]) for d in here.map(halves, CELLS)] == [2.0, 4.5, 1.0]


def test_the_folder_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert StoredContext(Path("results")).folder == tmp_path / "results"


def test_progress_adds_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bars: list[Any] = []

    class Bar(context.tqdm):  # type: ignore[name-defined,misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            bars.append(self)

    monkeypatch.setattr(context, "tqdm", Bar)
    caplog.set_level(logging.INFO, logger="cgro")
    StoredContext(tmp_path).map(roots, CELLS[:1])
    StoredContext(tmp_path).map(roots, CELLS)
    assert [(bar.initial, bar.n, bar.total) for bar in bars] == [(0, 1, 1), (1, 3, 3)]
    assert "1 of 3 cells are already stored" in caplog.text


# Failing

WITH_FAILURES = [Root(4), Root(-7), Root(9), Root(-1), Root(2)]


def test_a_failing_cell_does_not_keep_others(executor: Executor | None, tmp_path: Path) -> None:
    here = StoredContext(tmp_path, executor=executor, quiet=True)
    with pytest.raises(UserError) as caught:
        here.map(roots, WITH_FAILURES)
    text = " ".join(str(caught.value).split())
    assert text.startswith("2 of 5 cells failed, first number 2, Root(number=-7): ArithmeticError: no root of -7; ")
    assert text.endswith("the finished cells are stored: repeat the command to try the rest")
    count = Counted()
    with pytest.raises(UserError):
        StoredContext(tmp_path, quiet=True).map(count, WITH_FAILURES)
    assert count.calls == [-7, -1]


class Long(Root):
    """The larger the number, the longer."""

    @property
    def work(self) -> float:
        return float(self.number)


class Recording(ThreadPoolExecutor):
    """An executor that keeps what it was given, in order."""

    def __init__(self) -> None:
        super().__init__(1)
        self.given: list[Any] = []

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Any:
        self.given.append(arguments[1])  # a batch
        return super().submit(function, *arguments, **options)


def test_the_longest_cells_begin_first(tmp_path: Path) -> None:
    """A long cell that begins last leaves the other workers idle; results come in the order of the cells."""
    cells = [Long(number) for number in (4, 9, 1, 16)]
    with Recording() as pool:
        results = StoredContext(tmp_path, executor=pool, quiet=True).map(roots, cells)
    assert [cell.number for batch in pool.given for cell in batch] == [16, 9, 4, 1]
    assert_same(results, PlainContext().map(roots, cells))


def test_quick_cells_come_in_batches_and_slow_ones_alone(tmp_path: Path) -> None:
    """A cell that fails leaves those of its batch alone."""
    with Recording() as pool:
        StoredContext(tmp_path / "quick", executor=pool, quiet=True).map(roots, [Root(k) for k in range(400)])
    sizes = [len(batch) for batch in pool.given]
    assert sum(sizes) == 400
    assert sizes[:2] == [1, 1], "nothing is known of the first"
    assert len(sizes) < 40
    with Recording() as pool:
        StoredContext(tmp_path / "slow", executor=pool, quiet=True).map(slow_roots, [Root(k) for k in range(5)])
    assert [len(batch) for batch in pool.given] == [1] * 5
    cells = [Root(k if k not in (50, 70) else -k) for k in range(100)]
    with Recording() as pool:
        here = StoredContext(tmp_path / "bad", executor=pool, quiet=True)
        with pytest.raises(UserError, match="2 of 100 cells failed, first number 51"):
            here.map(roots, cells)
    assert len(here.cells.names()) == 98


def slow_roots(cell: Root, tick: Tick) -> xr.Dataset:
    time.sleep(0.3)
    return roots(cell, tick)


def test_a_long_cell_is_named_in_short() -> None:
    block = Block((PatchSetting(),) * 64, (0,), "gram", 2, 8, False, "auto")
    error = context._summary([(0, ValueError("x"))], [block, block])
    assert "number 1, Block(settings=(PatchSetting(samples=40" in str(error)
    assert len(str(error)) < 500


def test_a_mistake_common_to_all_cells_is_said_once(executor: Executor | None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^number must be at least 0, got -1$"):
        StoredContext(tmp_path, executor=executor, quiet=True).map(roots, [Root(-1)])
    assert files_below(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    count = Counted()
    with pytest.raises(files.StorageError, match="cannot write"):
        StoredContext(tmp_path / "results", quiet=True).map(count, CELLS)
    assert count.calls == []


def test_a_full_disk_ends_the_sweep(executor: Executor | None, tmp_path: Path) -> None:
    here, count = StoredContext(tmp_path, executor=executor, quiet=True), Counted()
    here.map(roots, CELLS[:1])
    cells = [Root(k) for k in range(4, 200)]

    def slow(cell: Root, tick: Tick) -> xr.Dataset:
        time.sleep(0.01)
        return count(cell, tick)

    slow.__module__, slow.__qualname__ = roots.__module__, roots.__qualname__
    with pytest.raises(files.StorageError, match=r"folder .*cells: cannot write .*; free space"), full_disk():
        here.map(slow, cells)
    assert len(count.calls) < 100
    assert len(here.cells.names()) == 1


@pytest.mark.parametrize("jobs", [0, -2])
def test_jobs_must_be_positive(jobs: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"jobs must be an integer of at least 1, got {jobs}"):
        StoredContext(tmp_path, jobs=jobs)


# Elsewhere


@pytest.mark.usefixtures("toys")
def test_jobs_are_processes_and_one_that_is_killed_is_said_in_one_line(tmp_path: Path) -> None:
    """As the system ends a process that takes too much memory."""
    from toy_package.experiments import naps

    here, cells = StoredContext(tmp_path, jobs=2, quiet=True), [naps.Nap(number, 0.2) for number in range(4)]
    with pytest.raises(WorkersLostError, match=r"^a worker process ended abruptly, perhaps out of memory"):
        here.map(naps.die, cells)
    found = here.cells.find([Name.of(naps.die, cell) for cell in cells])
    assert sorted(found) == [0, 1, 2]
    assert os.getpid() not in {int(unpack(each)["process"]) for each in found.values()}


@pytest.mark.usefixtures("toys")
def test_workers_are_started_once_for_all_sweeps_of_a_context(tmp_path: Path) -> None:
    """An experiment that decides by what it found, as a bisection does, maps many times."""
    from toy_package.experiments import naps

    def ran_in(here: StoredContext, first: int) -> set[int]:
        return {int(each["process"]) for each in here.map(naps.process, [naps.Nap(first + k, 0.1) for k in range(4)])}

    with StoredContext(tmp_path, jobs=2, quiet=True) as here:
        once, again = ran_in(here, 0), ran_in(here, 10)
        assert len(once | again) <= 2
        assert os.getpid() not in once
        with pytest.raises(WorkersLostError, match=r"^a worker process ended abruptly"):
            here.map(naps.die, [naps.Nap(3, 0.1), naps.Nap(1, 0.1)])
    assert not active_children(), "workers outlive their context"
    with StoredContext(tmp_path, jobs=2, quiet=True) as here:
        assert not ran_in(here, 20) & (once | again)
    assert not active_children()


# The same bits

TINY = PatchSetting(samples=6, patches=3, filters=4, dim=50, steps=300)


def sweep(
    seeds: int = 1,
    *,
    engine: EngineName = "gram",
    detail: bool = False,
    context: PlainContext | None = None,
    **fields: Any,
) -> xr.Dataset:
    """Five settings, enough for the threads to share."""
    grid = [replace(TINY, radius_ratio=ratio, **fields) for ratio in (0.5, 0.7, 0.9, 1.1, 1.3)]
    seen = {"records": 4, "test_samples": 33, "detail": detail}
    return train_settings(context, grid, range(seeds), engine=engine, device="cpu", **seen)


@pytest.mark.parametrize(("engine", "steps"), [("gram", 300), ("direct", 5)])
def test_the_number_of_threads_changes_no_bit(engine: EngineName, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    results, before = [], torch.get_num_threads()
    for threads in (1, 2):
        monkeypatch.setenv("CGRO_THREADS", str(threads))
        torch.set_num_threads(threads)
        results.append([sweep(seeds=2, engine=engine, steps=steps, detail=True)])
    torch.set_num_threads(before)
    assert_same(*results)


@pytest.mark.parametrize("activation", ["odd", "relu"])
@pytest.mark.parametrize("exponent", [2.0, 2.5, 3.0])
def test_adding_seeds_changes_no_bit_of_the_first(activation: str, exponent: float) -> None:
    one, three = (sweep(k, activation=activation, exponent=exponent) for k in (1, 3))
    assert_same([one], [three.isel(seed=slice(1))])


def test_adding_seeds_leaves_the_first_on_the_direct_engine() -> None:
    """Batched products of tensors round by the size of the batch: here seeds agree to rounding, not to the bit."""
    one, three = (sweep(k, engine="direct", steps=50) for k in (1, 3))
    xr.testing.assert_allclose(one, three.isel(seed=slice(1)), rtol=1e-9, atol=1e-12)


def test_adding_settings_and_blocks_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    together = sweep(2)
    monkeypatch.setattr("cgro.dynamics.sweep._LEAST_WORK", 1)
    shared = [sweep(2, context=PlainContext())]  # blocks of one run
    monkeypatch.setattr("cgro.dynamics.sweep._BLOCKS", 3)
    shared.append(sweep(2, context=PlainContext()))  # blocks of several settings
    shared.append(sweep(5, context=PlainContext(), steps=300).isel(seed=slice(2)))
    monkeypatch.setattr("cgro.dynamics.sweep.BLOCK", 2)
    shared.append(sweep(2))
    for each in shared:
        assert_same([together], [each])


def test_seeds_split_over_blocks_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three blocks of two, two and one of five seeds."""
    monkeypatch.setattr("cgro.dynamics.sweep._LEAST_WORK", 1)
    monkeypatch.setattr("cgro.dynamics.sweep._BLOCKS", 14)
    assert_same([sweep(5)], [sweep(5, context=PlainContext())])


def test_settings_of_several_shapes_keep_their_order() -> None:
    """Shapes are trained in blocks of their own; here they alternate."""
    grid = [replace(TINY, samples=4 + k % 2, radius_ratio=0.5 + 0.2 * k, steps=20) for k in range(4)]
    seen: dict[str, Any] = {"records": 2, "test_samples": 5, "device": "cpu"}
    together = train_settings(PlainContext(), grid, range(2), **seen)
    alone = [train_settings(PlainContext(), [setting], range(2), **seen) for setting in grid]
    assert_same([together.isel(setting=[k]) for k in range(4)], alone)


def test_another_seed_is_another_run() -> None:
    result = sweep(3)["signal_margin"].isel(setting=0, step=-1)
    assert len(set(result.values)) == 3


def test_an_experiment_repeats_bit_for_bit() -> None:
    diagram = phase_diagram.Config(
        TINY,
        phase_diagram.Axis("radius_ratio", 0.7, 1.5, 3),
        phase_diagram.Axis("samples", 2, 5, 2),
        seeds=2,
        test_samples=16,
        device="cpu",
    )
    assert_same([phase_diagram.run(diagram)], [phase_diagram.run(diagram)])
    attacks = attack.Config(replace(TINY, steps=20), seeds=1, records=2, test_samples=8, device="cpu")
    assert_same([attack.run(attacks)], [attack.run(attacks)])


def test_a_resumed_sweep_is_the_uninterrupted_one(tmp_path: Path) -> None:
    """Cells read back and cells just computed are put together alike."""
    config = attack.Config(replace(TINY, steps=20), seeds=1, records=2, test_samples=8, device="cpu")
    whole = attack.run(config, StoredContext(tmp_path, quiet=True))
    path = tmp_path / "cells" / "cells.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        assert database.execute("delete from cell where rowid % 2 = 0").rowcount
    resumed = attack.run(config, StoredContext(tmp_path, quiet=True))
    assert_same([whole], [resumed])
    store.save(whole.drop_attrs(deep=False), tmp_path / "a.nc")
    store.save(resumed.drop_attrs(deep=False), tmp_path / "b.nc")
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


def test_settings_of_a_sweep_share_their_steps() -> None:
    with pytest.raises(ValueError, match="the settings of a sweep must take the same number of steps"):
        train_settings(PlainContext(), [TINY, replace(TINY, steps=5)], [0])


def test_provenance_names_the_code_that_a_cell_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long run may end after the code was changed."""
    asked: list[str] = []
    monkeypatch.setattr(store, "git_commit", lambda: asked.append("commit") or "abc")

    def cell_function(cell: Root, tick: Tick) -> xr.Dataset:
        asked.append("cell")
        return roots(cell, tick)

    StoredContext(tmp_path, quiet=True).map(cell_function, [Root(4)])
    assert asked[:2] == ["commit", "cell"]
