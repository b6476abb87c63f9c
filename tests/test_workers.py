"""Worker processes end with the process that they work for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

PROGRAM = """
import os, sys, time
from pathlib import Path
from cgro.sweeps.workers import processes

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
