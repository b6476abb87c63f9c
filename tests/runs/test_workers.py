"""Worker processes: they share the cores, compute the same bits, and end with the process that they work for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import pytest
import threadpoolctl
import torch
import xarray as xr
from tools import ROOT, TOYS

from cgro.base.errors import UserError
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.sweep import Block, train_block
from cgro.runs import workers
from cgro.runs.context import StoredContext
from cgro.runs.packing import unpack
from cgro.runs.workers import WorkersLostError, processes

PROGRAM = """
import os, sys, time
from pathlib import Path
from cgro.runs.workers import processes

def work(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(300)

if __name__ == "__main__":
    with processes(1) as pool:
        pool.submit(work, sys.argv[1]).result()
"""


def test_whatever_a_killed_worker_did_is_said_in_one_line() -> None:
    """Drawing a figure, too."""
    with pytest.raises(WorkersLostError, match=r"^a worker process ended abruptly"), processes(1) as pool:
        pool.submit(os._exit, 1).result()


def running(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_a_killed_parent(how: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    parent = subprocess.Popen([sys.executable, "program.py", "pid"], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    for _ in range(600):
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            break
        time.sleep(0.1)
    worker = int((tmp_path / "pid").read_text())
    assert running(worker)
    parent.send_signal(how)
    parent.wait(30)
    for _ in range(100):
        if not running(worker):
            break
        time.sleep(0.1)
    assert not running(worker)


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    """Worker processes, of which one starts; each has one of two cores, although OpenMP is told otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOYS)
        patch.setenv("CGRO_THREADS", "2")
        patch.setenv("OMP_NUM_THREADS", "8")
        for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.delenv(name, raising=False)
        with processes(2) as workers:
            workers.submit(os.getpid).result()
            yield workers


def test_a_worker_computes_on_its_share_of_the_cores(pool: Executor) -> None:
    """BLAS too: several workers with a thread for each core take turns, and several times as long."""
    from toy_package.threads import in_use

    used = pool.submit(in_use).result()
    assert len(used) >= 3
    assert set(used.values()) == {1}, used


def test_processes_give_the_same_bits_and_name_failures(pool: Executor, tmp_path: Path) -> None:
    tiny = PatchSetting(samples=6, patches=3, filters=4, dim=50, steps=300)
    blocks = [Block((tiny,), (seed,), "gram", 4, 16, True, "cpu") for seed in range(3)]
    blocks.insert(1, replace(blocks[0], engine="grim"))  # type: ignore[arg-type]
    for name, executor in (("one", None), ("two", pool)):
        here = StoredContext(tmp_path / name, executor=executor, quiet=True)
        with pytest.raises(UserError, match=r"1 of 4 cells failed, first number 2, .*engine must be gram or direct"):
            here.map(train_block, blocks)
    one, two = (StoredContext(tmp_path / name).cells for name in ("one", "two"))
    assert one.names() == two.names()
    assert len(one.names()) == 3
    for name in one.names():
        (here,), (there,) = ([unpack(cell) for cell in cells.find([name]).values()] for cells in (one, two))
        xr.testing.assert_identical(here.drop_attrs(deep=False), there.drop_attrs(deep=False))
        for variable in here.variables:
            if here[variable].dtype.kind in "fiub":
                assert here[variable].values.tobytes() == there[variable].values.tobytes()


def test_a_user_may_limit_a_worker_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """And libraries that are loaded before a worker begins, as a script may do, are limited as well."""
    given = {"CGRO_THREADS": "8", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "none", "MKL_NUM_THREADS": "0"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    limits: list[int] = []
    monkeypatch.setattr(workers, "_end_with_parent", lambda: None)
    monkeypatch.setattr(threadpoolctl, "threadpool_limits", limits.append)
    monkeypatch.setattr(torch, "set_num_threads", limits.append)
    workers._begin(3)
    assert [os.environ[name] for name in given] == ["3", "2", "3", "3"]
    assert limits == [3, 3]
