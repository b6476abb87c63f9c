"""Ctrl-C, SIGTERM and SIGHUP at any moment: one line, nothing lost that was promised, no process left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path

import numpy as np
import psutil
import pytest
from tools import NAPS, SMALL, Fork, Outcome, finish, signalled, start

from cgro.base import interrupts
from cgro.claims import checking
from cgro.claims.claim import Claim, Finding
from cgro.cli import check
from cgro.cli import main as cli
from cgro.runs import store
from cgro.runs.cell_store import Cells
from cgro.training.checkpoint import Checkpoint

Cgro = Callable[..., Outcome]
Process = Fork | subprocess.Popen[str]
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RESUME = "\ncgro: interrupted; finished cells are kept, repeat the command to resume\n"
AGAIN = "\ncgro: interrupted; repeat the command to start again\n"
DIAGRAM = ("simulate", "phase-diagram", "--quiet", *SMALL, "--steps", 300_000, "--test-samples", 16)
"""Imports all that computes."""
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks signals up in /proc")


def until(met: Callable[[], object], process: Process) -> None:
    """Wait for something, for a minute and a half at most, while the process runs."""
    end = time.monotonic() + 90
    while not met():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def listens(process: Process) -> bool:
    """Whether `main` has begun: SIGTERM has a handler."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    caught = int(next(line.split()[1] for line in lines if line.startswith("SigCgt")), 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def below(process: Process) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def none_is_left(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=20)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def cells(folder: Path) -> int:
    """How many cells are finished."""
    return len(Cells(folder / "naps" / "cells").names())


@needs_proc
@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_as_the_command_begins(number: signal.Signals, tmp_path: Path) -> None:
    process = start(*DIAGRAM, "--results", tmp_path)
    until(lambda: listens(process), process)
    time.sleep(random.uniform(0, 1))
    process.send_signal(number)
    outcome = finish(process)
    assert (outcome.code, outcome.out, outcome.err) == (128 + number, "", RESUME)


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("number", "ignored"),
    [(signal.SIGINT, ()), (signal.SIGTERM, (signal.SIGHUP, signal.SIGINT)), (signal.SIGHUP, ())],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_a_sweep_in_processes(
    number: signal.Signals, ignored: tuple[signal.Signals, ...], tmp_path: Path, cgro: Cgro
) -> None:
    """As from a terminal or a batch system: all processes get the signal. Then the sweep is resumed to its end.

    What is ignored at the start stays ignored: SIGHUP under `nohup`, Ctrl-C in a background job of a shell.
    """
    sweep = (*NAPS, "--naps", 12, "--results", tmp_path)
    process = Fork(*sweep, "--jobs", 2, new_session=True, ignored=ignored)
    until(lambda: cells(tmp_path), process)
    before = cells(tmp_path)
    for each in ignored:
        os.killpg(process.pid, each)
    if ignored:
        until(lambda: cells(tmp_path) > before, process)
    time.sleep(random.uniform(0, 0.3))
    workers = below(process)
    assert len(workers) >= 2
    os.killpg(process.pid, number)
    outcome = finish(process)
    assert (outcome.code, outcome.out, outcome.err) == (128 + number, "", RESUME)
    assert none_is_left(workers)
    again = cgro(*sweep)
    assert (again.code, again.err) == (0, "")
    store.load(Path(again.out.strip()))


def test_as_processes_begin(tmp_path: Path) -> None:
    process = start(*NAPS, "--results", tmp_path, "--jobs", 2, new_session=True)
    until(lambda: below(process), process)
    time.sleep(random.uniform(0, 1))
    workers = below(process)
    process.send_signal(signal.SIGTERM)
    outcome = finish(process)
    assert (outcome.code, outcome.out, outcome.err) == (143, "", RESUME)
    assert none_is_left(workers)


def test_a_training_keeps_a_checkpoint(cgro: Cgro, tmp_path: Path) -> None:
    long = ("--samples", 40, "--held-out", 0, "--evaluation-images", 20, "--epochs", 100_000, "--attack-steps", 1)
    last = tmp_path / "last.safetensors"
    with signalled(signal.SIGTERM, last.exists):
        outcome = cgro("train", *long, "--checkpoint-every", 0.1, "--device", "cpu", "--quiet", "--output", tmp_path)
    line = "\ncgro: interrupted; checkpoints are kept, repeat the command to resume\n"
    assert (outcome.code, outcome.out, outcome.err) == (143, "", line)
    assert int(Checkpoint.load(last).tensors["loop.step"]) > 0


@needs_proc
@pytest.mark.parametrize("command", ["memorize", "evaluate", "check", "figure"])
def test_nothing_is_promised_that_is_not_kept(command: str, tmp_path: Path, cgro: Cgro) -> None:
    arguments: tuple[object, ...] = ("figure", "phase-diagram")
    if command == "memorize":
        rng = np.random.default_rng(0)
        np.savetxt(tmp_path / "points.csv", np.c_[rng.random((2000, 9)), [-1, 1] * 1000], delimiter=",")
        arguments = (command, tmp_path / "points.csv", "--verify", 2000)
    elif command == "evaluate":
        toy = ("--samples", 40, "--held-out", 30, "--epochs", 1, "--width", 3, "--attack-steps", 1, "--device", "cpu")
        assert cgro("train", *toy, "--output", tmp_path, "--quiet").code == 0
        arguments = (command, tmp_path / "last.safetensors", "--steps", 100_000)
    elif command == "check":
        arguments = (command, "--results", tmp_path)
    process = Fork(*arguments) if command == "check" else start(*arguments)  # the others may end too soon in a fork
    until(lambda: listens(process), process)
    time.sleep(random.uniform(0, 0.5))
    process.send_signal(signal.SIGINT)
    outcome = finish(process)
    assert outcome.code == 130
    assert outcome.err.endswith(AGAIN)


def test_modules_are_loaded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code of torch that is importing a module aborts the process if that raises; that of pandas goes on."""
    lines = ("import signal, time", "signal.raise_signal(signal.SIGINT)", "time.sleep(0.2)", "LOADED = True")
    for name in ("part", "endless"):
        (tmp_path / f"{name}.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)

    def load(name: str) -> None:
        with interrupts.answered() as answer:
            answer.listen()
            import_module(name)
            time.sleep(60)

    with pytest.raises(interrupts.Stopped) as stopped:
        load("part")
    assert stopped.value.number == signal.SIGINT
    assert sys.modules["part"].LOADED
    monkeypatch.setattr(interrupts, "PATIENCE", 0.05)
    with pytest.raises(interrupts.Stopped):
        load("endless")
    assert "endless" not in sys.modules


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="sends a signal to a thread")
def test_a_signal_that_another_thread_gets_wakes_the_main_thread() -> None:
    """The system chooses the thread, and Python does not wake the main thread for it."""
    asleep = threading.Event()
    other = threading.Thread(target=asleep.wait, args=(20,))

    def wait() -> None:
        with interrupts.answered() as answer:
            answer.listen()
            other.start()
            late = threading.Timer(0.3, signal.pthread_kill, (other.ident, signal.SIGTERM))
            late.start()
            threading.Event().wait(20)

    began = time.monotonic()
    with pytest.raises(interrupts.Stopped) as stopped:
        wait()
    assert stopped.value.number == signal.SIGTERM
    assert time.monotonic() - began < 10
    asleep.set()
    other.join()


def test_a_signal_just_before_and_after_the_work(cgro: Cgro, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: nothing is begun. After: the work is done, and it is said."""
    with interrupts.answered() as answer:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(interrupts.Stopped):
            answer.listen()

    @contextmanager
    def late(*_: object) -> Iterator[None]:
        yield
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(cli.streams, "guarded", nullcontext)
    monkeypatch.setattr(interrupts, "none_lost", late)
    assert cgro("--version").code == 0


def test_a_library_that_crashes_as_the_interpreter_ends_does_not_matter() -> None:
    """As one does whose loading was stopped midway."""
    lines = (
        "import os, signal, sys",
        "class Crash:",
        "    def __del__(self, abort=os.abort): abort()",
        "crash, sys.argv = Crash(), ['cgro', 'check']",
        "def stop(*_): signal.raise_signal(signal.SIGTERM)",
        "from cgro import __main__",
        "from cgro.cli import main",
        "main._dispatch = stop",
        "__main__.start()",
    )
    outcome = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60)
    assert (outcome.returncode, outcome.stderr) == (143, AGAIN)


@pytest.mark.parametrize("freed", ["at once", "as the process leaves"])
def test_an_object_that_a_signal_left_half_made_is_freed_quietly(freed: str) -> None:
    """As one of llvmlite, whose loading was stopped midway."""
    lines = (
        "import atexit, gc, signal, sys",
        "class Half:",
        "    def __del__(self): self.never_made",
        "def stop(*_):",
        "    half = Half()",
        "    half.cycle = half" if freed == "as the process leaves" else "",
        "    atexit.register(gc.collect)",
        "    signal.raise_signal(signal.SIGTERM)",
        "gc.disable()",
        "sys.argv = ['cgro', 'check']",
        "from cgro import __main__",
        "from cgro.cli import main",
        "main._dispatch = stop",
        "__main__.start()",
    )
    outcome = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60)
    assert (outcome.returncode, outcome.stderr) == (143, AGAIN)


def test_fresh_is_not_repeated(cgro: Cgro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would delete what is kept."""

    def stop(_arguments: list[str]) -> int:
        signal.raise_signal(signal.SIGHUP)
        return 0

    monkeypatch.setattr(cli, "_dispatch", stop)
    outcome = cgro("simulate", "phase-diagram", "--fresh", "--results", tmp_path)
    assert outcome.code == 129
    assert outcome.err.endswith("finished cells are kept, repeat the command without --fresh to resume\n")


def test_an_error_that_follows_a_signal_is_no_error(cgro: Cgro, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library may turn the interruption into an error of its own."""

    def work(_arguments: list[str]) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise SystemError("initialization failed") from error
        return 0

    monkeypatch.setattr(cli, "_dispatch", work)
    outcome = cgro("list")
    assert (outcome.code, outcome.err) == (143, AGAIN)


def test_handlers_are_put_back(cgro: Cgro) -> None:
    before = [signal.getsignal(number) for number in (*STOPS, signal.SIGALRM)]
    cgro("list")
    with interrupts.postponed():
        pass
    assert [signal.getsignal(number) for number in (*STOPS, signal.SIGALRM)] == before


# One owner of the alarm


class Dropping:
    """Raises while it is freed, where Python drops what is raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


def dropping_check(*, size: int = 3) -> Finding:
    """Loses a Ctrl-C in a time limit; the second size loses the time limit, too."""
    if size == 1:
        Dropping(KeyboardInterrupt())
    end = time.monotonic() + 20
    if size == 2:
        Waiting()
    while time.monotonic() < end:
        time.sleep(0.01)
    return Finding(True, 1.0, "-", "-", "-")


class Waiting:
    """The time limit is reached while it is freed."""

    def __del__(self) -> None:
        time.sleep(0.5)


@pytest.fixture
def limited(
    monkeypatch: pytest.MonkeyPatch, cgro: Cgro, tmp_path: Path
) -> Callable[[int, float], tuple[Outcome, float]]:
    """A check of that size under a time limit of 0.2 s."""
    claim = Claim("a", "b", "[D]", "exact", dropping_check, {})
    for place in (checking, check):
        monkeypatch.setattr(place, "find", lambda _kind, _name: claim)

    def run(size: int, limit: float) -> tuple[Outcome, float]:
        began = time.monotonic()
        arguments = ("--size", size, "--time-limit", limit, "--jobs", 1, "--results", tmp_path, "--quiet")
        return cgro("check", "dropping", *arguments), time.monotonic() - began

    return run


def test_a_dropped_interrupt_under_a_time_limit_is_not_lost(limited: Callable[..., tuple[Outcome, float]]) -> None:
    outcome, seconds = limited(1, 15)
    assert (outcome.code, outcome.err) == (130, AGAIN)
    assert seconds < 10


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [2, 3])
def test_a_time_limit_acts_beside_it(size: int, limited: Callable[..., tuple[Outcome, float]]) -> None:
    """Also if it is reached where Python drops exceptions."""
    outcome, seconds = limited(size, 0.2)
    assert outcome.code == 1
    assert "time limit of 0.2 s reached" in outcome.out
    assert seconds < 10
