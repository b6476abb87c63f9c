"""Standard output and error of the command line: a reader that left, a full disk and a closed stream end in one line
or quietly, never in a traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class OutputLostError(Exception):
    """Standard output took no more. Not an OSError, which argparse and rich answer in their own ways."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.reader_left = error.errno == errno.EPIPE
        """As `head` does once it has its lines: nobody's mistake."""


class _Stream:
    """A text stream; after a failed write nothing more reaches the file below it."""

    def __init__(self, stream: TextIO, *, needed: bool) -> None:
        self._stream, self._needed = stream, needed

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._failed(error)
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        # What is still buffered goes nowhere: the interpreter flushes it once more as it ends.
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        if self._needed:
            raise OutputLostError(error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def guarded() -> Iterator[None]:
    """Inside, a failed write to standard output raises OutputLostError, one to standard error is ignored, for words on
    the progress of work are no reason to end it. A closed stream leads nowhere."""
    _open_closed()
    before = sys.stdout, sys.stderr
    for stream in before:
        # Names of files may hold any bytes, and a terminal may lack the letters of a formula.
        if hasattr(stream, "reconfigure") and stream.errors == "strict":
            utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    sys.stdout, sys.stderr = _Stream(before[0], needed=True), _Stream(before[1], needed=False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Else the next file to be opened, a result perhaps, would take the number of a closed stream, and its output."""
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, mode)  # takes the lowest number that is free, this one
            os.set_inheritable(nowhere, True)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def clean(text: str) -> str:
    """One line that a terminal shows as it is: white space collapsed, other characters without a glyph as escapes, and
    a very long text cut in its middle."""
    words = " ".join(text.split())
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    return shown if len(shown) <= 2000 else f"{shown[:1400]} ... {shown[-500:]}"
