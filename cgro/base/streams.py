"""Standard output and error of the command line: a closed pipe, a full disk or a closed stream end the program with
one line or silently, never with a traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class OutputLostError(Exception):
    """Standard output cannot be written. Not an OSError, which argparse and rich handle themselves."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.reader_left = error.errno == errno.EPIPE
        """Whether the reader closed the pipe, as `head` does; that is not an error."""


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
        # Discard the buffer, which the interpreter flushes once more at exit.
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
    """Within the block, a failed write to standard output raises OutputLostError; one to standard error is ignored,
    since progress messages are no reason to stop. Writes to a closed stream are discarded."""
    _open_closed()
    before = sys.stdout, sys.stderr
    for stream in before:
        # File names may contain any bytes, and a terminal may lack the characters of a formula.
        if hasattr(stream, "reconfigure") and stream.errors == "strict":
            utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    sys.stdout, sys.stderr = _Stream(before[0], needed=True), _Stream(before[1], needed=False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Otherwise the next opened file, perhaps a result, would take the number and the output of a closed stream."""
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, mode)  # takes the lowest free number, which is this one
            os.set_inheritable(nowhere, True)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def clean(text: str) -> str:
    """The text as one printable line: white space is collapsed, characters without a glyph are escaped, and a very long
    text is cut in the middle."""
    words = " ".join(text.split())
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    return shown if len(shown) <= 2000 else f"{shown[:1400]} ... {shown[-500:]}"
