"""The program for Slurm in the docs, with stand-ins for `sbatch` and `scancel` that run the script of a job at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from tools import PATHS, ROOT, TOYS, Outcome

from cgro.runs import store

# Not imported here: it takes over Ctrl-C.
needs_jobqueue = pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="dask-jobqueue is not installed")
SBATCH = """#!/bin/sh
eval script=\\${$#}
setsid sh "$script" > "$JOBS/$$.log" 2>&1 &
echo $! >> "$JOBS/pids"
echo Submitted batch job $!
"""


@needs_jobqueue
@pytest.mark.deep
@pytest.mark.usefixtures("toys")
def test_the_program_of_the_docs_computes_a_sweep(tmp_path: Path, cgro: Callable[..., Outcome]) -> None:
    (program,) = re.findall(
        r"^```\n(from dask_jobqueue.*?)^```", (ROOT / "docs" / "cluster.md").read_text(), re.M | re.S
    )
    program = program.replace("source ~/cgro/.venv/bin/activate", "true").replace("scale(20)", "scale(3)")
    bin_, jobs = tmp_path / "bin", tmp_path / "jobs"
    for folder in (bin_, jobs):
        folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", "#!/bin/sh\n")):
        (bin_ / name).write_text(text)
        (bin_ / name).chmod(0o755)
    own = {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "JOBS": str(jobs)}
    own["PYTHONPATH"] = os.pathsep.join([PATHS, str(TOYS)])
    cluster = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | own
    )
    try:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        outcome = cgro("simulate", "naps", "--quiet", "--naps", 30, "--dask", address, "--results", tmp_path)
    finally:
        cluster.communicate("\n", timeout=30)
        for pid in (jobs / "pids").read_text().split():
            try:
                os.killpg(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
    from toy_package.experiments import naps

    assert outcome.code == 0, outcome.err
    found, serial = store.load(Path(outcome.out.strip())), naps.run(naps.Config(30, seconds=0))
    assert found["dream"].values.tobytes() == serial["dream"].values.tobytes()
    assert len((jobs / "pids").read_text().split()) == 3
