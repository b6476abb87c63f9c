"""A real Dask cluster: scheduler and workers are processes of their own, on loopback."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest
import xarray as xr
from tools import PATHS, Outcome, files_below, finish, start

from cgro.cli.main import main
from cgro.runs import store

pytest.importorskip("distributed", reason="the extra [dask] is not installed")
DIAGRAM = ("simulate", "phase-diagram")
SMALL = ("--samples", 6, "--patches", 2, "--filters", 4, "--dim", 50, "--seeds", 1, "--test-samples", 16)
SWEEP = (
    *DIAGRAM,
    *SMALL,
    "--x.count",
    2,
    "--y.name",
    "samples",
    "--y.low",
    3,
    "--y.high",
    14,
    "--y.count",
    12,
    "--steps",
)
"""Ten blocks, one for each number of samples, in which integers from 3 to 14 are spaced evenly in their logarithm."""

BLOCKS = 10


class Cluster:
    """A scheduler and worker processes, which end with the test."""

    def __init__(self) -> None:
        self.scheduler = self._spawn("scheduler", "--port", "0")
        assert self.scheduler.stderr is not None
        for line in self.scheduler.stderr:
            if found := re.search(r"Scheduler at:\s+(tcp://\S+)", line):
                self.address = found[1]
                break
        Thread(target=self.scheduler.stderr.read, daemon=True).start()
        self.workers: list[subprocess.Popen[str]] = []
        self.others: list[subprocess.Popen[str]] = []

    def have_workers(self, count: int) -> None:
        """So many of them, with those that are there."""
        options = ("--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--death-timeout", "60")
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < count:
            worker = self._spawn("worker", self.address, *options)
            Thread(target=worker.stderr.read, daemon=True).start()  # type: ignore[union-attr]
            self.workers.append(worker)

    @staticmethod
    def _spawn(what: str, *options: str) -> subprocess.Popen[str]:
        command = (sys.executable, "-m", "distributed.cli.dask_" + what, "--host", "127.0.0.1", "--no-dashboard")
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS, "CGRO_DATA": ""}
        return subprocess.Popen(
            [*command, *options], stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent, env=os.environ | own
        )

    def close(self) -> None:
        for process in (*self.workers, *self.others, self.scheduler):
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


def _cluster() -> Iterator[Cluster]:
    started = Cluster()
    try:
        yield started
    finally:
        started.close()


cluster = pytest.fixture(_cluster, scope="module")
"""A cluster for all; tests ask it for workers."""
mortal = pytest.fixture(_cluster)
"""A cluster for one test, which may end it."""


def finished_cells(folder: Path) -> int:
    from cgro.runs.cell_store import Cells

    return len(Cells(folder / "phase-diagram" / "cells").names())


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """What one process gives."""
    folder = tmp_path_factory.mktemp("serial")
    assert main([str(a) for a in (*SWEEP, 50_000, "--jobs", 1, "--quiet", "--results", folder)]) == 0
    return store.load(next((folder / "phase-diagram").glob("*.nc")))


def assert_same_bits(outcome: Outcome, serial: xr.Dataset) -> None:
    assert (outcome.code, outcome.err) == (0, "")
    result = store.load(Path(outcome.out.strip()))
    xr.testing.assert_identical(result.drop_attrs(deep=False), serial.drop_attrs(deep=False))
    for name in result.variables:
        assert result[name].values.tobytes() == serial[name].values.tobytes()


def test_three_workers_give_the_bits_of_one_process_even_if_one_is_killed(
    cluster: Cluster, serial: xr.Dataset, tmp_path: Path
) -> None:
    cluster.have_workers(3)
    process = start(*SWEEP, 50_000, "--dask", cluster.address, "--quiet", "--results", tmp_path)
    wait_for(lambda: finished_cells(tmp_path) > 0, process)
    cluster.workers[0].kill()
    assert_same_bits(finish(process), serial)
    assert finished_cells(tmp_path) == BLOCKS
    # The client alone writes: nothing else may lie there.
    assert {path.suffix for path in files_below(tmp_path)} == {".nc", ".sqlite"}


@pytest.mark.parametrize("what", ["scheduler", "workers"])
def test_a_cluster_that_dies_is_said_in_one_line_within_ten_seconds(what: str, mortal: Cluster, tmp_path: Path) -> None:
    mortal.have_workers(1)
    process = start(*SWEEP, 500_000, "--dask", mortal.address, "--quiet", "--results", tmp_path)
    wait_for(lambda: finished_cells(tmp_path) > 0, process)
    for dead in [mortal.scheduler] if what == "scheduler" else mortal.workers:
        dead.send_signal(signal.SIGKILL)
    began = time.monotonic()
    outcome = finish(process)
    assert time.monotonic() - began < 20  # ten on a machine that is not busy
    gone = "no longer answers" if what == "scheduler" else "has lost all its workers"
    assert re.search(rf"the cluster( at {mortal.address})? {gone}; finished cells are stored", outcome.error)
    assert 0 < finished_cells(tmp_path) < BLOCKS


def test_a_client_that_is_killed_loses_nothing_that_reached_it(
    cluster: Cluster, serial: xr.Dataset, tmp_path: Path, cgro: Callable[..., Outcome]
) -> None:
    cluster.have_workers(2)
    process = start(*SWEEP, 50_000, "--dask", cluster.address, "--quiet", "--results", tmp_path)
    wait_for(lambda: finished_cells(tmp_path) > 1, process)
    process.kill()
    process.wait()
    assert finished_cells(tmp_path) >= 2
    assert_same_bits(cgro(*SWEEP, 50_000, "--dask", cluster.address, "--quiet", "--results", tmp_path), serial)


def test_failures_of_cells_come_back_with_their_names(
    cluster: Cluster, tmp_path: Path, cgro: Callable[..., Outcome]
) -> None:
    cluster.have_workers(1)
    nothing = ("simulate", "image-cgro", "--data", "mnist", "--dask", cluster.address, "--quiet", "--results", tmp_path)
    error = cgro(*nothing, "--data-dir", tmp_path / "empty").error
    assert "empty" in error, "the folder of the data did not reach the worker"


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """The address of a server that sends this to whoever speaks first, or never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    if answer is not None:
                        connection.recv(10)
                        connection.sendall(answer)
                    kept.append(connection)

        kept: list[socket.socket] = []
        Thread(target=serve, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        for connection in kept:
            connection.close()


ANSWERS = {
    "silence": None,
    "a web server": b"HTTP/1.0 400 Bad request\r\n" * 9,
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_server_that_is_no_scheduler_is_said_in_one_line_within_ten_seconds(
    answer: bytes | None, cgro: Callable[..., Outcome], tmp_path: Path
) -> None:
    cgro(*DIAGRAM, "--dask", "nowhere", "--results", tmp_path)  # imports what it needs
    with listening(answer) as address:
        began = time.monotonic()
        error = cgro(*DIAGRAM, "--dask", address, "--results", tmp_path).error
    assert time.monotonic() - began < 10
    assert f"--dask {address}: no scheduler answers within 4 s; give the address that `dask scheduler` printed" in error
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("address", ["localhost", "http://127.0.0.1:80", "tcp://", "tcp://127.0.0.1:http"])
def test_what_is_no_address_is_refused(address: str, cgro: Callable[..., Outcome], tmp_path: Path) -> None:
    assert f"--dask {address!r}: no address (" in cgro(*DIAGRAM, "--dask", address, "--results", tmp_path).error
    assert files_below(tmp_path) == []


def test_a_worker_is_no_scheduler(cluster: Cluster, cgro: Callable[..., Outcome], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    worker = Cluster._spawn("worker", cluster.address, "--worker-port", str(port), "--no-nanny")
    cluster.others.append(worker)
    for line in worker.stderr:  # type: ignore[union-attr]
        if "Registered to" in line:
            break
    error = cgro(*DIAGRAM, "--dask", f"tcp://127.0.0.1:{port}", "--results", tmp_path).error
    assert "a Dask worker, not a scheduler" in error
