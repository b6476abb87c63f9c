"""Worker processes end with the process that they work for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import threadpoolctl
import torch
from tools import ROOT

from cgro.runs import workers
from cgro.runs.workers import processes

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


def threads_in_use() -> dict[str, int]:
    """The threads of every library that computes on several."""
    import numpy
    import scipy.linalg

    numpy.linalg.svd(numpy.ones((2, 2)))
    scipy.linalg.svd(numpy.ones((2, 2)))
    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    return pools | {"torch": torch.get_num_threads()}


def test_a_worker_computes_on_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """BLAS too: several workers with a thread for each core take turns, and several times as long."""
    monkeypatch.setenv("CGRO_THREADS", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with processes(2) as pool:
        used = pool.submit(threads_in_use).result()
    assert len(used) >= 3
    assert set(used.values()) == {1}, used


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
