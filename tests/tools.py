"""Shared by several tests: the command line in processes, and toy settings, networks and images."""

from __future__ import annotations

import atexit
import fcntl
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing import util
from pathlib import Path
from threading import Event, Thread

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from cgro import __main__
from cgro.claims.claim import Claim, Finding, Verdict
from cgro.data.batches import Images
from cgro.models.convolutional import SmallCNN
from cgro.networks.relu import ReluNetwork

ROOT = Path(__file__).resolve().parents[1]
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
"""PYTHONPATH of a process that imports a test or these tools."""
TOYS = ROOT / "tests" / "toys"
"""On the path, it adds the experiment `naps`: what needs a sweep, but none of its numbers, takes that one."""
NAPS, NAP_COUNT = ("simulate", "naps", "--quiet"), 6
SMALL = ("--samples", 6, "--patches", 2, "--filters", 4, "--dim", 50)
"""A patch setting that trains fast."""
TRAINING = (
    *("--samples", 40, "--held-out", 30, "--evaluation-images", 40, "--epochs", 3, "--width", 3),
    *("--attack-steps", 2, "--evaluation-steps", 3, "--device", "cpu"),
)
"""Options with which `cgro train` takes a second."""
MEMORIZED = (
    *("--models", 10, "--tracked-runs", 1, "--epochs", 1, "--width", 2, "--attack-steps", 1, "--evaluation-steps", 1),
    *("--samples", 20, "--evaluation-images", 10, "--batch-size", 10, "--device", "cpu", "--jobs", 1, "--quiet"),
)
"""Options with which `cgro memorized` takes a second."""
TOY_VERDICT = replace(
    Verdict.of(
        "square-error",
        Claim("a <b> claim", "a paper, 5.9", "[D]", "exact", lambda: None, {}),
        {},
        Finding(True, 1.5, "here", "1", "1"),
        seconds=1.0,
    ),
    area="an area",
)


@dataclass(frozen=True)
class Outcome:
    """The result of a command: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one-line error message."""
        lines = self.err.splitlines()
        assert self.code == 2, self.err
        assert len(lines) == 1, self.err
        assert lines[0].startswith("cgro: error: "), self.err
        assert self.out == ""
        return lines[0]


STARTED: list[subprocess.Popen[str] | Fork] = []


def start(
    *arguments: object, threads: int = 1, new_session: bool = False, ignored: Sequence[signal.Signals] = ()
) -> subprocess.Popen[str]:
    """The command line as a process of its own; with a group of processes of its own in a new session; with signals
    that are ignored as it begins."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cgro", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"CGRO_THREADS": str(threads), "PYTHONPATH": with_toys()},
        start_new_session=new_session,
        preexec_fn=(lambda: [signal.signal(number, signal.SIG_IGN) for number in ignored]) if ignored else None,
    )
    STARTED.append(process)
    return process


class Fork:
    """A copy of this process that becomes the command line, with some methods of `subprocess.Popen`.

    It imports nothing again, so it is for tests of what a command does once it works; `start` is for those of how it
    begins and ends.
    """

    def __init__(self, *arguments: object, new_session: bool = False, ignored: Sequence[signal.Signals] = ()) -> None:
        self._streams = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
        self.returncode: int | None = None
        self.pid = forked(lambda: self._run(arguments, new_session, ignored))
        STARTED.append(self)

    def _run(self, arguments: Sequence[object], new_session: bool, ignored: Sequence[signal.Signals]) -> None:
        """What the copy does."""
        atexit._clear()  # what this process does as it ends, except for what any process of its own would do
        util._finalizer_registry.clear()
        atexit.register(util._exit_function)
        if new_session:
            os.setsid()
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        for number, stream in enumerate(self._streams, 1):
            os.dup2(stream.fileno(), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        os.chdir(ROOT)
        sys.argv = ["cgro", *map(str, arguments)]
        code: object = 1
        try:
            __main__.start()
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self._ended(os.WNOHANG)

    def wait(self) -> int | None:
        """The exit code, once it ends."""
        return self._ended(0)

    def _ended(self, options: int) -> int | None:
        if self.returncode is None:
            number, status = os.waitpid(self.pid, options)
            if number:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """What it wrote to both streams, once it ends."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < end, f"process {self.pid} does not end"
            time.sleep(0.01)
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read())
        return texts[0], texts[1]


def with_toys() -> str:
    """PYTHONPATH of a process that knows the experiment `naps`."""
    return os.pathsep.join([str(TOYS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


def finish(process: subprocess.Popen[str] | Fork, timeout: float = 120) -> Outcome:
    """Its outcome."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode is not None
    return Outcome(process.returncode, out, err)


def forked(work: Callable[[], object]) -> int:
    """The number of a copy of this process that works and ends: a process to kill that has nothing to import."""
    number = os.fork()
    if number == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return number


@contextmanager
def signalled(number: signal.Signals, when: Callable[[], object]) -> Iterator[None]:
    """This process gets a signal in the middle of its work, as from a terminal, once something is true."""
    over = Event()

    def send() -> None:
        while not over.wait(0.02):
            if when():
                os.kill(os.getpid(), number)
                return

    thread = Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, hidden ones too."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def made_once(folder: Path) -> Iterator[bool]:
    """Whether the folder must still be made; no other process may make it inside the block."""
    done = folder.with_suffix(".done")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not done.exists()
        done.touch()


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 1000 bytes: the system rejects the rest of the write.

    Hold it for a single call: the limit also applies to the file that this process's output may go to.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def random_network(rng, widths, inputs, outputs=1, scales=(1.0,), sparse_layers=False) -> ReluNetwork:
    """Gaussian layers, each row times one of the scales."""
    layers = []
    for width in (*widths, outputs):
        weight = rng.standard_normal((width, inputs)) * rng.choice(scales, size=(width, 1)) * 1.5 / np.sqrt(inputs)
        bias = 0.3 * rng.standard_normal(width) * rng.choice(scales, size=width)
        if sparse_layers:
            weight = sparse.csr_array(weight * (rng.random(weight.shape) < 0.5))
        layers.append((weight, bias))
        inputs = width
    return ReluNetwork.of(layers)


def gaussian_network(widths: list[int], seed: int, density: float = 1.0) -> ReluNetwork:
    """Gaussian weights; sparse layers if the density is below 1."""
    rng = np.random.default_rng(seed)
    layers = []
    for inputs, outputs in pairwise(widths):
        weight = rng.normal(size=(outputs, inputs))
        if density < 1:
            weight = sparse.csr_array(weight * (rng.random(weight.shape) < density))
        layers.append((weight, rng.normal(size=outputs)))
    return ReluNetwork.of(layers)


def network(classes: int = 10) -> nn.Module:
    return SmallCNN(1, 8, classes, 4, generator=torch.Generator().manual_seed(0))


def own_labels(count: int = 300) -> Images:
    """Images with the labels that the network gives them, so that all are correct when clean."""
    x = torch.randint(0, 101, (count, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return Images(x, network()(x.float() / 100).argmax(1), 100)


def images(count: int = 20, channels: int = 1, size: int = 8) -> Images:
    g = torch.Generator().manual_seed(7)
    pixels = torch.randint(0, 256, (count, channels, size, size), generator=g, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 3, 255)


class Threshold(nn.Module):
    """Two classes, told apart by whether the mean pixel exceeds 1/2."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.scale * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-mean, mean], 1)


def grey(values: list[int], labels: list[int], white: int = 100) -> Images:
    pixels = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
    return Images(pixels, torch.tensor(labels), white)


class Through(nn.Module):
    """A network whose logits go through a function."""

    def __init__(self, function, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.function = inner or network(), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.inner(x))
