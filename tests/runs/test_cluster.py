"""A real Dask cluster: scheduler and workers are processes of their own, on loopback."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import xarray as xr
from tools import PATHS, TOYS, Fork, Outcome, files_below

from cgro.base.errors import UserError
from cgro.runs import store
from cgro.runs.cell_store import Cells, Name
from cgro.runs.cluster import _compare_versions

pytest.importorskip("distributed", reason="the extra [dask] is not installed")
DIAGRAM = ("simulate", "phase-diagram")
SWEEP = ("simulate", "naps", "--quiet", "--naps", 10)
"""Ten cells, each of a third of a second."""

BLOCKS = 10


class Server:
    """A scheduler or a worker, a process of its own."""

    def __init__(self, what: str, *options: str) -> None:
        command = (sys.executable, "-m", f"distributed.cli.dask_{what}", "--host", "127.0.0.1", "--no-dashboard")
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([PATHS, str(TOYS)]), "CGRO_DATA": ""}
        self.process = subprocess.Popen(
            [*command, *options], stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent, env=os.environ | own
        )
        stream = self.process.stderr
        assert stream is not None
        found = (re.search(r"(?:Scheduler|Start worker) at:\s+(tcp://\S+)", line) for line in stream)
        self.address = next(match[1] for match in found if match)
        Thread(target=stream.read, daemon=True).start()

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Cluster:
    """A scheduler and its workers."""

    def __init__(self) -> None:
        self.scheduler = Server("scheduler", "--port", "0")
        self.address = self.scheduler.address
        self.workers: list[Server] = []

    def have_workers(self, count: int) -> None:
        """So many of them, with those that are there."""
        options = ("--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--death-timeout", "60")
        self.workers = [worker for worker in self.workers if worker.runs]
        while len(self.workers) < count:
            self.workers.append(Server("worker", self.address, *options))

    def close(self) -> None:
        for server in (*self.workers, self.scheduler):
            server.kill()


@pytest.fixture(scope="module")
def clusters() -> Iterator[list[Cluster]]:
    started: list[Cluster] = []
    yield started
    for each in started:
        each.close()


@pytest.fixture
def cluster(clusters: list[Cluster]) -> Cluster:
    """One for all, or a new one where a test ended it; tests ask it for workers."""
    if not clusters or not clusters[-1].scheduler.runs:
        clusters.append(Cluster())
    return clusters[-1]


def finished_cells(folder: Path) -> int:
    return len(Cells(folder / "naps" / "cells").names())


def wait_for(condition: Callable[[], bool], process: Fork) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@contextmanager
def killed_after_a_cell(servers: list[Server], folder: Path) -> Iterator[list[float]]:
    """They are killed once a cell is finished; in the list is when."""

    def kill() -> None:
        end = time.monotonic() + 60
        while finished_cells(folder) == 0 and time.monotonic() < end:
            time.sleep(0.05)
        for server in servers:
            server.kill()
        times.append(time.monotonic())

    times: list[float] = []
    killer = Thread(target=kill)
    killer.start()
    yield times
    killer.join()


def assert_same_bits(outcome: Outcome) -> None:
    """As in one process."""
    from toy_package.experiments import naps

    assert (outcome.code, outcome.err) == (0, "")
    result, serial = store.load(Path(outcome.out.strip())), naps.run(naps.Config(BLOCKS, seconds=0))
    xr.testing.assert_identical(result.drop_attrs(deep=False), serial)
    assert result["dream"].values.tobytes() == serial["dream"].values.tobytes()


@pytest.mark.usefixtures("toys")
def test_workers_give_the_bits_of_one_process_even_if_one_is_killed(
    cluster: Cluster, tmp_path: Path, cgro: Callable[..., Outcome]
) -> None:
    cluster.have_workers(3)
    with killed_after_a_cell(cluster.workers[:1], tmp_path):
        outcome = cgro(*SWEEP, "--dask", cluster.address, "--results", tmp_path)
    assert_same_bits(outcome)
    assert finished_cells(tmp_path) == BLOCKS
    assert not cluster.workers[0].runs
    # The client alone writes: nothing else may lie there.
    assert {path.suffix for path in files_below(tmp_path)} == {".nc", ".sqlite"}


@pytest.mark.usefixtures("toys")
def test_a_cluster_is_started_on_this_machine(tmp_path: Path, cgro: Callable[..., Outcome]) -> None:
    assert_same_bits(cgro(*SWEEP, "--dask", "local", "--jobs", 2, "--results", tmp_path))


def versions(**worker: str | None) -> dict[str, Any]:
    """What a client says of itself and of one worker."""
    here = {"python": "3.11.7.final.0", "cgro": "0.1.0", "numpy": "2.4.6"}
    return {"client": {"packages": here}, "workers": {"tcp://there:1": {"packages": here | worker}}}


def test_other_versions_on_a_worker_are_named(caplog: pytest.LogCaptureFixture) -> None:
    _compare_versions(versions(), "tcp://a:1")
    assert not caplog.records
    _compare_versions(versions(numpy="2.1.0", python="3.12.1.final.0"), "tcp://a:1")
    assert caplog.messages == [
        "the worker tcp://there:1 has python 3.12.1 instead of 3.11.7, numpy 2.1.0 instead of 2.4.6: results may differ"
    ]
    with pytest.raises(UserError, match="the worker tcp://there:1 has no cgro; install it there"):
        _compare_versions(versions(cgro=None), "tcp://a:1")


@pytest.mark.usefixtures("toys")
def test_a_client_that_is_killed_loses_nothing_that_reached_it(
    cluster: Cluster, tmp_path: Path, cgro: Callable[..., Outcome]
) -> None:
    cluster.have_workers(1)
    process = Fork(*SWEEP, "--dask", cluster.address, "--results", tmp_path)
    wait_for(lambda: finished_cells(tmp_path) > 1, process)
    process.kill()
    process.wait()
    assert finished_cells(tmp_path) >= 2
    assert_same_bits(cgro(*SWEEP, "--dask", cluster.address, "--results", tmp_path))


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
    cluster.have_workers(1)
    error = cgro(*DIAGRAM, "--dask", cluster.workers[0].address, "--results", tmp_path).error
    assert "a Dask worker, not a scheduler" in error


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("what", ["workers", "scheduler"])
def test_a_cluster_that_dies_is_said_in_one_line_within_ten_seconds(
    what: str, cluster: Cluster, tmp_path: Path, cgro: Callable[..., Outcome]
) -> None:
    cluster.have_workers(1)
    dead = [cluster.scheduler] if what == "scheduler" else cluster.workers
    with killed_after_a_cell(dead, tmp_path) as killed:
        outcome = cgro(*SWEEP, "--seconds", 1, "--dask", cluster.address, "--results", tmp_path)
    assert time.monotonic() - killed[0] < 20  # ten on a machine that is not busy
    gone = "no longer answers" if what == "scheduler" else "has lost all its workers"
    assert re.search(rf"the cluster( at {cluster.address})? {gone}; finished cells are stored", outcome.error)
    assert 0 < finished_cells(tmp_path) < BLOCKS


@pytest.mark.deep
@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("moment", range(30))
def test_whoever_is_killed_whenever_nothing_stored_is_lost(
    moment: int, clusters: list[Cluster], tmp_path: Path, cgro: Callable[..., Outcome]
) -> None:
    """The client, a worker or the scheduler, in turn, at a random moment of a sweep; repeated, it has the same bits."""
    if not clusters or not clusters[-1].scheduler.runs:
        clusters.append(Cluster())
    cluster = clusters[-1]
    cluster.have_workers(2)
    sweep = ("simulate", "naps", "--quiet", "--naps", 40, "--seconds", 0.05, "--results", tmp_path)
    process = Fork(*sweep, "--dask", cluster.address)
    wait_for(lambda: (tmp_path / "naps" / "cells").exists(), process)
    time.sleep(random.Random(moment).uniform(0, 1.2))
    victim = (process, cluster.workers[0], cluster.scheduler)[moment % 3]
    victim.kill()
    stored = contents(tmp_path)
    process.communicate(timeout=60)
    assert contents(tmp_path).items() >= stored.items()
    if not cluster.scheduler.runs:
        clusters.append(cluster := Cluster())
    cluster.have_workers(2)
    outcome = cgro(*sweep, "--dask", cluster.address)
    assert contents(tmp_path).items() >= stored.items()
    assert (outcome.code, outcome.err) == (0, "")
    from toy_package.experiments import naps

    found, serial = store.load(Path(outcome.out.strip())), naps.run(naps.Config(40, seconds=0))
    assert found["dream"].values.tobytes() == serial["dream"].values.tobytes()


def contents(folder: Path) -> dict[Name, bytes]:
    """Stored cells, bit for bit."""
    cells = Cells(folder / "naps" / "cells")
    names = cells.names()
    return {names[k]: content for k, content in cells.find(names).items()}
