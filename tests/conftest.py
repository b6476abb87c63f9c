"""Settings of all tests, and the command line in this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import settings
from tools import STARTED, Outcome

from cgro.cli.main import main

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


@pytest.fixture
def cgro(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """The command line, run in this process: `cgro("simulate", "phase-diagram", ...)`."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture(autouse=True)
def _nothing_runs_on() -> Iterator[None]:
    """A test that fails midway does not leave its processes to slow down the others."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.wait()
