"""The resources a process may use: batches that fit, and whether work goes to a GPU."""

from __future__ import annotations

import weakref
from dataclasses import replace

import pytest
import torch

from cgro.base.machine import available_cores, computes_on_gpu, in_batches_that_fit, is_out_of_memory
from cgro.cli.work import Work, worker_count
from cgro.simulations import cgro_construction, reference_points, width_sweep
from cgro.training.config import TrainingConfig


class Large:
    """Something that takes memory."""


def test_batches_are_halved_until_they_fit_and_failed_work_is_freed() -> None:
    alive: list[int] = []
    sizes: list[int] = []

    def work(size: int) -> int:
        assert not alive, "the memory of the failed work is still held"
        sizes.append(size)
        held = Large()
        alive.append(size)
        weakref.finalize(held, alive.remove, size)
        if size > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return size

    assert in_batches_that_fit(work, 40) == 5
    assert sizes == [40, 20, 10, 5]


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), MemoryError(), torch.OutOfMemoryError("no")])
def test_errors_that_no_smaller_batch_avoids_are_raised(error: Exception) -> None:
    def work(size: int) -> None:
        raise error

    with pytest.raises(type(error)):
        in_batches_that_fit(work, 4)
    assert is_out_of_memory(error) == (str(error) != "shapes differ")


def test_cells_on_one_core_have_a_process_each_unless_a_gpu_would_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Work(jobs=None)
    sweep, training = width_sweep.Config.quick(), TrainingConfig()
    assert not computes_on_gpu(sweep)
    assert worker_count(options, width_sweep.EXPERIMENT, sweep) == available_cores()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for config, expected in (
        (training, True),
        (replace(training, device="cpu"), False),
        (sweep, True),
        (replace(sweep, training=replace(sweep.training, device="cpu")), False),
        (reference_points.Config(), True),
        (cgro_construction.Config(), False),
    ):
        assert computes_on_gpu(config) is expected
    assert worker_count(options, width_sweep.EXPERIMENT, sweep) == 1
    assert worker_count(options, cgro_construction.EXPERIMENT, cgro_construction.Config()) == available_cores()
    assert worker_count(Work(jobs=3), width_sweep.EXPERIMENT, sweep) == 3
