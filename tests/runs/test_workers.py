"""Worker processes end with the process that they work for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools import ROOT

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
    import threadpoolctl
    import torch

    numpy.linalg.svd(numpy.ones((2, 2)))
    scipy.linalg.svd(numpy.ones((2, 2)))
    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    return pools | {"torch": torch.get_num_threads()}


@pytest.mark.parametrize(("jobs", "share"), [(2, 1), (1, 2)])
def test_a_worker_computes_on_its_share_of_the_cores(jobs: int, share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """BLAS too: several workers with a thread for each core take turns, and several times as long."""
    monkeypatch.setenv("CGRO_THREADS", "2")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with processes(jobs) as pool:
        used = pool.submit(threads_in_use).result()
    assert len(used) >= 3
    assert max(used.values()) <= share, used
