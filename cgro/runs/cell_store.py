"""Finished cells of a sweep in one SQLite file; cells are added atomically.

A cell is found by the hash of its function and configuration. Its row holds both, the packed Dataset, and a digest of
all three, so that cells are never confused and damage is detected. A damaged cell counts as missing.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any, TypeVar

from cgro.base.errors import UserError
from cgro.base.files import StorageError, require_writable
from cgro.runs.packing import is_packed
from cgro.runs.store import as_json, content_hash

log = logging.getLogger(__name__)
FILE = "cells.sqlite"
T = TypeVar("T")
Row = tuple[str, str, str, bytes, bytes]
_COLUMNS = "key, function, config, digest, content"
_TABLE = f"create table if not exists cell ({_COLUMNS.replace('key', 'key text primary key')})"
_ALL = f"select {_COLUMNS} from cell order by key"
_WAIT = 60.0
"""Seconds to wait while another process is writing."""
_AT_ONCE = 500
"""Keys per query; SQLite allows at least 999 parameters."""
_MOMENT, _RARE = 0.1, 1.0
"""Seconds for which a writer gathers cells, and from which on it stores a cell before the next one is computed."""
_SMALLEST = 128
"""Minimum number of bytes of a row: a key, a digest, and some content in the other columns."""
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT)
"""SQLite errors for damaged bytes or missing columns, as opposed to a full disk or a lock."""


@dataclass(frozen=True)
class Name:
    """What identifies a cell: the names of its function and class (without modules), and its JSON."""

    function: str
    config: str

    @classmethod
    def of(cls, function: Any, cell: Any) -> Name:
        return cls(f"{function.__qualname__}({type(cell).__qualname__})", as_json(cell))

    @property
    def key(self) -> str:
        return content_hash(self.function, self.config)


class Cells:
    """The finished cells in a folder, which is created with the first cell."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE

    def find(self, names: Sequence[Name]) -> dict[int, bytes]:
        """The packed Datasets of the intact cells among `names`, by position.

        Raises: UserError for a file that cannot be read.
        """
        if not self.path.exists():
            return {}
        wanted = {name.key: name for name in names}
        rows = self._mending(lambda database: _rows(database, list(wanted)))
        found = {row[0]: row[4] for row in rows if _is_intact(row, wanted[row[0]])}
        if len(found) < len(rows):
            log.warning("%s: %d cells are damaged and will be recomputed", self.path, len(rows) - len(found))
        return {k: found[name.key] for k, name in enumerate(names) if name.key in found}

    def names(self) -> list[Name]:
        """The names of all intact cells."""
        rows = self._mending(_all_rows) if self.path.exists() else []
        return [name for row in rows if _is_intact(row, name := Name(row[1], row[2]))]

    def count(self) -> int:
        """Number of stored cells, damaged ones included. Raises: UserError for a file that cannot be read."""
        if not self.path.exists():
            return 0
        return int(self._mending(lambda database: database.execute("select count(*) from cell").fetchone()[0]))

    def damaged(self) -> int:
        """Number of cells that are not intact, without a repair; they are read one by one.

        Raises: UserError for a file that cannot be read.
        """
        try:
            return self._opened(
                lambda database: sum(not _is_intact(row, Name(row[1], row[2])) for row in database.execute(_ALL))
            )
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def add(self, name: Name, content: bytes) -> None:
        """Store the packed Dataset of a cell, replacing an older one. Raises: StorageError like `add_all`."""
        self.add_all([(name, content)])

    def add_all(self, cells: Iterable[tuple[Name, bytes]]) -> None:
        """Store the packed Datasets of cells, replacing older ones: all of them or none.

        Raises: StorageError if the folder cannot be written or the disk is full.
        """
        rows = [(name.key, name.function, name.config, _digest(name, content), content) for name, content in cells]
        new = not self.path.exists()
        require_writable(self.folder)
        try:
            self._mending(lambda database: _insert(database, rows))
        except BaseException:
            if new and self.path.exists() and not self.path.stat().st_size:
                self.path.unlink()
            raise

    def _mending(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` on the open file; if the file is damaged, repair it and try again."""
        try:
            return self._opened(work)
        except sqlite3.Error as error:
            if _code(error) not in _DAMAGE:
                raise self._failure(error) from error
        try:
            self._mend()
            return self._opened(work)
        except (sqlite3.Error, OSError) as error:
            raise self._failure(error) from error

    def _opened(self, work: Callable[[sqlite3.Connection], T], path: Path | None = None) -> T:
        with closing(sqlite3.connect(path or self.path, timeout=_WAIT)) as database, database:
            # A damaged text then matches nothing, instead of failing the whole query.
            database.text_factory = lambda text: text.decode(errors="replace")
            database.execute("pragma trusted_schema = off")
            database.execute("pragma synchronous = normal")
            database.execute(_TABLE)
            return work(database)

    def _mend(self) -> None:
        """Replace a damaged file by its readable rows and keep a copy. If killed, the repair is repeated next time."""
        aside, new = self.path.with_suffix(".damaged"), self.path.with_suffix(f".{os.getpid()}.tmp")
        new.unlink(missing_ok=True)
        _lengthen(self.path)
        with closing(sqlite3.connect(self.path, timeout=_WAIT)) as damaged:
            damaged.text_factory = lambda text: text.decode(errors="replace")
            rows = list(_readable(damaged, self.path.stat().st_size))
        self._opened(lambda database: _insert(database, rows), new)
        shutil.copyfile(self.path, aside)
        os.replace(new, self.path)
        log.warning("%s: damaged; recovered %d cells and kept the file as %s", self.path, len(rows), aside.name)

    def _failure(self, error: sqlite3.Error | OSError) -> UserError:
        if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StorageError(f"{self.path}: another process has been writing for {_WAIT:.0f} s; end it or wait")
        return StorageError(
            f"folder {self.folder}: cannot write ({error}); free space, make it writable, or choose another folder"
        )


def _lengthen(path: Path) -> None:
    """Pad a truncated file with zeros; otherwise SQLite reads nothing of it."""
    with path.open("rb") as file:
        head = file.read(32)
    if len(head) == 32:
        size = int.from_bytes(head[16:18], "big") * int.from_bytes(head[28:32], "big")
        if path.stat().st_size < size < 2 * path.stat().st_size + 2**20:
            os.truncate(path, size)


def _code(error: sqlite3.Error | OSError) -> int:
    """The primary result code; errors raised by Python itself have none."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


def _rows(database: sqlite3.Connection, keys: Sequence[str]) -> list[Row]:
    found: list[Row] = []
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        found += database.execute(f"select {_COLUMNS} from cell where key in ({marks})", some).fetchall()
    return found


def _all_rows(database: sqlite3.Connection) -> list[Row]:
    return database.execute(_ALL).fetchall()


def _insert(database: sqlite3.Connection, rows: Sequence[Row]) -> None:
    database.executemany(f"insert or replace into cell ({_COLUMNS}) values (?, ?, ?, ?, ?)", rows)


def _readable(damaged: sqlite3.Connection, size: int) -> Iterator[Row]:
    """Rows of a damaged file, one by one: either the index or the table may be broken while the other is intact."""
    last = size // _SMALLEST
    with suppress(sqlite3.Error):
        last = min(damaged.execute("select max(rowid) from cell").fetchone()[0] or 0, last)
    for number in range(1, last + 1):
        row = None
        with suppress(sqlite3.Error):
            row = damaged.execute(f"select {_COLUMNS} from cell where rowid = ?", (number,)).fetchone()
        if row is not None and all(isinstance(part, str) for part in row[:3]):
            name = Name(row[1], row[2])
            if _is_intact(row, name):
                yield row


def _is_intact(row: Row, name: Name) -> bool:
    """Whether a row is as it was written, belongs to this name, and holds a packed Dataset."""
    key, function, config, digest, content = row
    if (key, function, config) != (name.key, name.function, name.config) or not isinstance(content, bytes):
        return False
    return digest == _digest(name, content) and is_packed(content)


def _digest(name: Name, content: bytes) -> bytes:
    parts = (name.function.encode(), name.config.encode(), content)
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


class Writer:
    """Adds finished cells from a thread of its own, those of a moment together: a commit takes as long as a hundred
    rows. Leaving the block waits until all are stored.

    stored: called after a cell is stored.
    """

    def __init__(self, cells: Cells, stored: Callable[[Name], object] = lambda _name: None) -> None:
        self._cells, self._stored = cells, stored
        self._error: Exception | None = None
        self._finished: Queue[tuple[Name, bytes] | None] = Queue()
        self._last = 0.0
        self._thread = Thread(target=self._write, name="cell writer")

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.put(None)
        self._thread.join()
        self._raise()

    def put(self, name: Name, content: bytes) -> None:
        """Add a cell. If the last one was long ago, wait until it is stored, so that failures show at once.

        Raises: StorageError if this or an earlier cell could not be stored.
        """
        now, before = time.monotonic(), self._last
        self._last = now
        self._finished.put((name, content))
        if now - before > _RARE:
            self._finished.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _write(self) -> None:
        more = True
        while more:
            batch = [self._finished.get()]
            until = time.monotonic() + _MOMENT
            with suppress(Empty):
                while batch[-1] is not None:
                    batch.append(self._finished.get(timeout=max(0.0, until - time.monotonic())))
            more = batch[-1] is not None
            cells = [cell for cell in batch if cell is not None]
            try:
                if cells and self._error is None:
                    self._cells.add_all(cells)
                    for name, _ in cells:
                        self._stored(name)
            except Exception as error:
                self._error = error
            for _ in batch:
                self._finished.task_done()
