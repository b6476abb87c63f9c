"""Ctrl-C, SIGTERM and SIGHUP: never lost, never in the middle of a file, and handled by a single process.

Code that saves or cleans up when a run is stopped catches KeyboardInterrupt, which covers all three.
"""

from __future__ import annotations

import atexit
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any, NoReturn

STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a process to end; Windows has no SIGHUP."""

PATIENCE = 10.0
"""Seconds that a signal waits while modules are loaded. An exception in compiled code that is starting may abort the
process (torch) or be dropped without a word (modules made by Cython)."""

_AGAIN = 128
"""Added to the number of a signal that is to be sent again whether it has been handled or not."""

CODES = tuple(128 + number for number in STOPS)
"""Exit codes by signal, as shells expect them."""


class Stopped(KeyboardInterrupt):
    """One of `STOPS` arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class Answer:
    """State of the signals of an `answered` block."""

    number: int | None = None
    """The first signal that arrived, or None."""
    listening: bool = False
    """Whether a signal is raised: not before `listen`, and not once the block is ending."""
    resend: Callable[[int], object] | None = None
    """Sends a signal once more, a moment later."""
    since: float = math.inf
    """When the first signal arrived, in seconds of `time.monotonic`."""

    @property
    def code(self) -> int:
        """The exit code of the signal, as shells expect it."""
        return 128 + (self.number or signal.SIGINT)

    def listen(self) -> None:
        """Raise signals from now on. Raises: Stopped if one has arrived."""
        self.listening = True
        if self.number is not None:
            raise Stopped(self.number)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """The handler of a signal."""
        self.number = self.number or number
        self.since = min(self.since, time.monotonic())
        if not self.listening:
            return
        if self.resend is not None and time.monotonic() < self.since + PATIENCE and _modules_load():
            self.resend(number)
        else:
            raise Stopped(number)


@contextmanager
def answered() -> Iterator[Answer]:
    """Once the block calls `listen`, every signal of `STOPS` raises `Stopped`, again if Python drops the exception.

    It waits while modules are being loaded, `PATIENCE` at most.
    A signal that is ignored when the block begins stays ignored: `nohup` and background jobs of shells rely on it.
    Handlers installed by other code are kept, too.
    """
    answer = Answer()
    if not _signals_arrive():
        yield answer
        return
    ours = [s for s in STOPS if signal.getsignal(s) in (signal.SIG_DFL, signal.default_int_handler)]
    with _handled(answer.handle, ours), none_lost(answer, ours) as answer.resend:
        try:
            yield answer
        finally:
            answer.listening = False


def leave(code: int) -> NoReturn:
    """End a process that a signal stopped, skipping the interpreter's shutdown.

    A library that was interrupted while loading, or whose threads are still running, may crash during shutdown: the
    process would abort after reporting success. Objects that the signal left half made may fail as they are freed.
    """
    sys.unraisablehook = lambda _dropped: None
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def none_lost(answer: Answer, numbers: Sequence[int]) -> Iterator[Callable[[int], object]]:
    """Resend a signal that did not take effect, one of these numbers.

    Python drops exceptions that are raised while an object is being freed. And where the system gives a signal to
    another thread, the main thread may sleep on without having handled it. Yields a function that resends a signal.
    """
    report, main = sys.unraisablehook, threading.get_ident()
    # A running thread and a pipe: the hook may not take a lock, since any lock may be held there.
    ready, ask = os.pipe()
    os.set_blocking(ask, False)

    def resend(number: int) -> None:
        os.write(ask, bytes([number | _AGAIN]))

    def again(dropped: Any) -> None:
        if dropped.exc_type is not None and issubclass(dropped.exc_type, KeyboardInterrupt):
            resend(getattr(dropped.exc_value, "number", signal.SIGINT))
        elif answer.number is None:  # else a signal left the object half made
            report(dropped)

    def send() -> None:
        while byte := os.read(ready, 1)[0]:
            time.sleep(0.02)  # immediately, it might be dropped again
            number = byte & ~_AGAIN
            if byte < _AGAIN and (answer.number is not None or number not in numbers):
                continue  # it has been handled, or is not ours
            if hasattr(signal, "pthread_kill"):
                signal.pthread_kill(main, number)  # to wake a sleeping main thread
            else:
                signal.raise_signal(number)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    sys.unraisablehook = again
    told = signal.set_wakeup_fd(ask, warn_on_full_buffer=False)  # writes the number of each signal that arrives
    try:
        yield resend
    finally:
        signal.set_wakeup_fd(told)
        os.write(ask, b"\0")
        thread.join()
        sys.unraisablehook = report
        os.close(ready)
        os.close(ask)


@contextmanager
def postponed() -> Iterator[None]:
    """Delay signals to the end of the block: the HDF5 library does not tolerate interruptions."""
    came: list[int] = []
    try:
        # Those that would raise; others are ignored, or end the process at once.
        with _handled(lambda number, _frame: came.append(number), [s for s in STOPS if callable(signal.getsignal(s))]):
            yield
    finally:
        for number in came:
            signal.raise_signal(number)


@contextmanager
def unheard_by_children() -> Iterator[None]:
    """Shield processes started in the block from Ctrl-C and SIGHUP, which a terminal sends to all processes: only this
    process handles them. SIGTERM ends the others."""
    if not hasattr(signal, "pthread_sigmask"):
        with _handled(signal.SIG_IGN, [signal.SIGINT]):
            yield
        return
    unheard = set(STOPS) - {signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, unheard)
    try:
        # Starting this helper of multiprocessing unblocks Ctrl-C here.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, unheard)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _handled(
    handler: Callable[[int, FrameType | None], object] | signal.Handlers, numbers: list[signal.Signals]
) -> Iterator[None]:
    if not _signals_arrive():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, handler)
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _modules_load() -> bool:
    """Whether the import of some module has begun and not ended."""
    specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
    return any(getattr(spec, "_initializing", False) for spec in specs)


def _signals_arrive() -> bool:
    return threading.current_thread() is threading.main_thread()
