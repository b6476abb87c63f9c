"""What several tests share: settings small enough to train in milliseconds, and the command line in this process."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from cgro.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
SMALL = ("--samples", 6, "--patches", 2, "--filters", 4, "--dim", 50)
"""A patch setting that trains fast."""

settings.register_profile("cgro", deadline=None)
# Continuous integration tries the same examples every time; new ones are tried wherever else the tests run.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "cgro"))
# A shell starts background jobs with Ctrl-C ignored, and processes started here would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup does
# Toy sizes: waiting for other threads would cost more than it gains, most of all where other tests use the cores.
torch.set_num_threads(1)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("CGRO_THREADS", "1")


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a user's mistake."""
        lines = self.err.splitlines()
        assert self.code == 2, self.err
        assert len(lines) == 1, self.err
        assert lines[0].startswith("cgro: error: "), self.err
        assert self.out == ""
        return lines[0]


@pytest.fixture
def cgro(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """The command line, run in this process: `cgro("simulate", "phase-diagram", ...)`."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return Outcome(code, *capsys.readouterr())

    return run


def start(
    *arguments: object, threads: int = 1, new_session: bool = False, ignored: signal.Signals | None = None
) -> subprocess.Popen[str]:
    """The command line as a process of its own; with a group of processes of its own in a new session; with a signal
    that is ignored as it begins."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cgro", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"CGRO_THREADS": str(threads)},
        start_new_session=new_session,
        preexec_fn=None if ignored is None else lambda: signal.signal(ignored, signal.SIG_IGN),
    )
    _started.append(process)
    return process


_started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _nothing_runs_on() -> Iterator[None]:
    """A test that fails midway does not leave its processes to slow down the others."""
    yield
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.kill()
            process.wait()


def finish(process: subprocess.Popen[str], timeout: float = 120) -> Outcome:
    """Its outcome."""
    out, err = process.communicate(timeout=timeout)
    return Outcome(process.returncode, out, err)


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, hidden ones too."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 1000 bytes: the system refuses the rest of the write.

    Held for one call alone: the limit also meets the file that this process's output may be going to.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
