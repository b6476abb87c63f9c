"""Ctrl-C: never lost, never in the middle of a file, and answered by one process alone."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def none_lost() -> Iterator[None]:
    """Python drops an exception that is raised while an object is being freed; raise a dropped Ctrl-C again."""
    report = sys.unraisablehook

    def again(dropped: Any) -> None:
        if dropped.exc_type is KeyboardInterrupt:
            # Later and from another thread: here it would be dropped again.
            main = threading.main_thread().ident
            threading.Timer(0.02, signal.pthread_kill, (main, signal.SIGINT)).start()
        else:
            report(dropped)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = report


@contextmanager
def postponed() -> Iterator[None]:
    """Ctrl-C waits for the end of the block: the HDF5 library complains of what was left midway."""
    came: list[object] = []
    try:
        with _handled(lambda *call: came.append(call)):
            yield
    finally:
        if came:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def unheard_by_children() -> Iterator[None]:
    """Processes started in the block ignore Ctrl-C, which a terminal sends to all: this one alone answers it."""
    with _handled(signal.SIG_IGN):
        yield


@contextmanager
def _handled(handler: Callable[..., object] | signal.Handlers) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
