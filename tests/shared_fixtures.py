"""Settings of all tests, and the command line in this process: a plugin that `conftest` loads."""

from __future__ import annotations

import typed  # noqa: F401  # isort: skip  (before anything of cgro)

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fast_drawing
import pytest
import torch
import xarray as xr
from hypothesis import settings
from tools import STARTED, TOY_VERDICT, TOYS, Outcome, made_once

from cgro.claims import checking
from cgro.cli import reproduce
from cgro.cli.main import main
from cgro.runs import store
from cgro.runs.registry import find, find_all

settings.register_profile("cgro", deadline=None)
# Continuous integration tries the same examples every time; new ones are tried wherever else the tests run.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "cgro"))
# A shell starts background jobs with Ctrl-C ignored, and processes started here would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup does
# Toy sizes: waiting for other threads would cost more than it gains, most of all where other tests use the cores.
torch.set_num_threads(1)
os.environ.setdefault("CGRO_THREADS", "1")


def pytest_collection_finish() -> None:
    """Keep imported modules out of garbage collection, and collect rarely: a full pass takes a quarter of a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.fixture
def cgro(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """The command line, run in this process: `cgro("simulate", "phase-diagram", ...)`."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiment `naps` here, too."""
    monkeypatch.syspath_prepend(TOYS)


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `cgro reproduce` with toy configurations and one toy verdict, made by one worker for all."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "reproduced"
    with made_once(folder) as missing:
        if missing:
            from toy_configs import CONFIGS

            with pytest.MonkeyPatch.context() as patch:
                for name, config in CONFIGS.items():
                    patch.setattr(find("experiment", name).Config, "quick", classmethod(lambda _cls, c=config: c))
                patch.setattr(reproduce, "_draw", fast_drawing.draw)
                patch.setattr(checking, "run_checks", lambda *_, **__: [(TOY_VERDICT, xr.Dataset())])
                assert main(["reproduce", "--results", str(folder), "--quiet", "--jobs", "1"]) == 0
    return folder


@pytest.fixture(scope="session")
def results(reproduced: Path) -> dict[str, xr.Dataset]:
    """A toy result of every experiment, as it is stored."""
    return {name: store.load(next((reproduced / name).glob("*.nc"))) for name in find_all("experiment")}


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium; tests that need one are skipped where it is not installed."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium is installed; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(autouse=True)
def _nothing_runs_on() -> Iterator[None]:
    """A test that fails midway does not leave its processes to slow down the others."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.wait()
