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
    if not _signals_arrive():
        yield
        return
    report = sys.unraisablehook

    def again(dropped: Any) -> None:
        if dropped.exc_type is KeyboardInterrupt:
            # Later, for here it would be dropped again; by an alarm, for here a lock may be held that a thread needs.
            signal.setitimer(signal.ITIMER_REAL, 0.02)
        else:
            report(dropped)

    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    sys.unraisablehook = again
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = report
        signal.signal(signal.SIGALRM, before)


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
    if not _signals_arrive():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _signals_arrive() -> bool:
    return threading.current_thread() is threading.main_thread()
