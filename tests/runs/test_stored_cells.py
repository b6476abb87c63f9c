"""Stored cells: never read as another's, damaged ones computed again, and a file killed midway stays whole."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray as xr
from tools import files_below, forked, full_disk

from cgro.base.files import StorageError
from cgro.runs.cell_store import Cells, Name, Writer, _digest, _insert
from cgro.runs.packing import pack, unpack


def numbered(k: int) -> Name:
    return Name("module.function", f'{{"number": {k}}}')


NAMES = [numbered(k) for k in range(8)]


def dataset(k: int) -> xr.Dataset:
    """Large enough that a cell has a page of its own."""
    return xr.Dataset({"root": ("k", np.random.default_rng(k).normal(size=1000))}, attrs={"number": k})


@pytest.fixture
def cells(tmp_path: Path) -> Cells:
    """Eight of them."""
    made = Cells(tmp_path)
    for k, name in enumerate(NAMES):
        made.add(name, pack(dataset(k)))
    return made


def assert_right(found: dict[int, bytes]) -> None:
    for k, there in found.items():
        xr.testing.assert_identical(unpack(there), dataset(k))


def change(cells: Cells, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(cells.path)) as database, database:
        assert database.execute(statement, values).rowcount > 0


def test_cells_come_back_and_others_are_missing(cells: Cells) -> None:
    found = cells.find([*NAMES, Name("module.other", NAMES[0].config), Name("module.function", "{}")])
    assert sorted(found) == list(range(8))
    assert_right(found)
    assert {name.key for name in cells.names()} == {name.key for name in NAMES}
    assert files_below(cells.folder) == [cells.path]


def test_a_folder_without_cells_stays_empty(tmp_path: Path) -> None:
    assert Cells(tmp_path).find(NAMES) == {}
    assert Cells(tmp_path).names() == []
    assert files_below(tmp_path) == []


def test_a_cell_is_replaced(cells: Cells) -> None:
    cells.add(NAMES[3], pack(dataset(30)))
    xr.testing.assert_identical(unpack(cells.find(NAMES)[3]), dataset(30))
    assert len(cells.names()) == 8


@pytest.mark.parametrize("column", ["key", "config", "digest", "content"])
def test_cells_that_changed_places_are_not_read(column: str, cells: Cells, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="cgro")
    with closing(sqlite3.connect(cells.path)) as database:
        first, second = (
            database.execute(f"select {column} from cell where key = ?", (name.key,)).fetchone()[0]
            for name in NAMES[:2]
        )
    change(cells, f"update cell set {column} = ? where key = ?", "x" if column == "key" else second, NAMES[0].key)
    change(cells, f"update cell set {column} = ? where key = ?", first, NAMES[1].key)
    if column == "key":
        change(cells, "update cell set key = ? where key = 'x'", second)
    found = cells.find(NAMES)
    assert sorted(found) == list(range(2, 8))
    assert_right(found)
    assert f"{cells.path}: 2 cells are damaged and will be recomputed" in caplog.text


@pytest.mark.parametrize("value", [b"\x00" * 40, "text", None, 3, 2.5])
@pytest.mark.parametrize("column", ["function", "config", "digest", "content"])
def test_whatever_a_column_holds_only_its_cell_is_lost(column: str, value: object, cells: Cells) -> None:
    change(cells, f"update cell set {column} = ? where key = ?", value, NAMES[5].key)
    found = cells.find(NAMES)
    assert sorted(found) == [0, 1, 2, 3, 4, 6, 7]
    assert_right(found)


def test_a_right_digest_over_something_else_is_a_damaged_cell(cells: Cells) -> None:
    for content in (b"", b"text", pack(dataset(0))[:-9]):
        change(
            cells,
            "update cell set content = ?, digest = ? where key = ?",
            content,
            _digest(NAMES[0], content),
            NAMES[0].key,
        )
        assert sorted(cells.find(NAMES)) == list(range(1, 8))


def test_no_flipped_bit_is_read_as_data(cells: Cells) -> None:
    """Wherever it is, in the pages of SQLite or in the cells; most others are still there."""
    whole = cells.path.read_bytes()
    rng, kept = np.random.default_rng(0), []
    places = [*range(0, 100, 7), *rng.integers(0, len(whole), 150).tolist()]
    for place in places:
        for other in files_below(cells.folder):
            other.unlink()
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        cells.path.write_bytes(bytes(flipped))
        found = cells.find(NAMES)
        assert_right(found)
        kept.append(len(found))
        cells.add(NAMES[0], pack(dataset(0)))
        assert 0 in cells.find(NAMES)
    assert np.mean(kept) > 6


@pytest.mark.parametrize(
    "content", [b"", b"no database", b"SQLite format 3\x00" + bytes(2000), np.random.default_rng(0).bytes(9000)]
)
def test_a_file_that_is_no_database_is_put_aside(
    content: bytes, cells: Cells, caplog: pytest.LogCaptureFixture
) -> None:
    cells.path.write_bytes(content)
    assert cells.find(NAMES) == {}
    cells.add(NAMES[2], pack(dataset(2)))
    assert_right(cells.find(NAMES))
    if content:
        assert cells.path.with_suffix(".damaged").read_bytes() == content
        assert "damaged; recovered 0 cells and kept the file as cells.damaged" in caplog.text


def test_a_table_of_somebody_else_is_put_aside(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "cells.sqlite")) as database, database:
        database.execute("create table cell (key text, other text)")
        database.execute("insert into cell values (?, 'x')", (NAMES[0].key,))
    cells = Cells(tmp_path)
    assert cells.find(NAMES) == {}
    cells.add(NAMES[0], pack(dataset(0)))
    assert_right(cells.find(NAMES))


def test_a_truncated_file_keeps_what_can_be_read(cells: Cells) -> None:
    cells.path.write_bytes(cells.path.read_bytes()[:-20_000])
    found = cells.find(NAMES)
    assert_right(found)
    assert 3 <= len(found) < 8


def ending(process: int) -> int:
    """The exit code of a process, minus the signal if one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.parametrize(
    ("module", "step", "moment"),
    [(shutil, "copyfile", "before"), (os, "replace", "before"), (os, "replace", "after")],
    ids=["before the copy", "before the replacement", "after it"],
)
def test_a_kill_while_a_file_is_mended_loses_no_cell(module: ModuleType, step: str, moment: str, cells: Cells) -> None:
    cells.path.write_bytes(cells.path.read_bytes()[:-20_000])
    known = getattr(module, step)

    def killed(*arguments: object) -> None:
        if moment == "after":
            known(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    def mend() -> None:
        setattr(module, step, killed)
        cells.names()

    assert ending(forked(mend)) == -signal.SIGKILL
    found = cells.find(NAMES)
    assert_right(found)
    assert len(found) >= 3


def test_a_file_that_cannot_be_mended_on_a_full_disk_is_an_error(cells: Cells) -> None:
    cells.path.write_bytes(cells.path.read_bytes()[:-20_000])
    with pytest.raises(StorageError, match=r"cannot write \(.*\); free space"), full_disk():
        cells.find(NAMES)
    assert len(cells.find(NAMES)) >= 3


def test_a_full_disk_leaves_no_half_a_cell(cells: Cells, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"folder .*: cannot write \(.*\); free space"), full_disk():
        cells.add(Name("module.function", "{}"), pack(dataset(9)))
    assert sorted(cells.find(NAMES)) == list(range(8))
    with pytest.raises(StorageError, match="cannot write"), full_disk():
        Cells(tmp_path / "new").add(NAMES[0], pack(dataset(9)))
    assert files_below(tmp_path / "new") == []


def test_a_killed_writer_leaves_what_it_had_written(tmp_path: Path) -> None:
    """SIGKILL at random moments, several times over; a cell that was announced is there."""
    for _ in range(5):
        reader, writer = os.pipe()

        def write(to: int = writer) -> None:
            for k in range(10_000):
                Cells(tmp_path).add(numbered(k), pack(dataset(k)))
                os.write(to, f"{k}\n".encode())

        process = forked(write)
        os.close(writer)
        with os.fdopen(reader) as lines:
            announced = [int(lines.readline())]
            time.sleep(random.uniform(0, 0.2))
            os.kill(process, signal.SIGKILL)
            announced += [int(line) for line in lines]
        assert ending(process) == -signal.SIGKILL
        found = Cells(tmp_path).find([numbered(k) for k in range(max(announced) + 2)])
        assert set(found) >= set(announced)
        assert_right(found)


def test_several_writers_share_a_file(tmp_path: Path) -> None:
    ready, go = os.pipe()
    contents = [pack(dataset(k)) for k in range(40)]

    def write() -> None:
        os.close(go)
        os.read(ready, 1)  # until all are there
        for k, content in enumerate(contents):
            Cells(tmp_path).add(numbered(k), content)

    writers = [forked(write) for _ in range(3)]
    os.close(go)
    assert [ending(writer) for writer in writers] == [0, 0, 0]
    os.close(ready)
    found = Cells(tmp_path).find([numbered(k) for k in range(len(contents))])
    assert len(found) == len(contents)
    assert_right(found)


def test_a_writer_stores_all_and_fails_at_once(tmp_path: Path) -> None:
    """Cells of a moment together, in any number; what it could not store is said at the next cell, or at the end."""
    stored: list[Name] = []
    with Writer(Cells(tmp_path), stored.append) as writer:
        for k, name in enumerate(NAMES):
            writer.put(name, pack(dataset(k)))
    assert stored == NAMES
    assert_right(Cells(tmp_path).find(NAMES))
    (tmp_path / "file").write_text("")
    reached = []

    def fail() -> None:
        with Writer(Cells(tmp_path / "file")) as writer:
            writer.put(NAMES[0], pack(dataset(0)))
            reached.append("the next cell")

    with pytest.raises(StorageError):
        fail()
    assert not reached


def test_cells_of_a_killed_process_are_stored_a_moment_later(tmp_path: Path) -> None:
    """Without the end of the block, as when a process is killed while it computes the next cell."""

    def put() -> None:
        with Writer(Cells(tmp_path)) as writer:
            for k, name in enumerate(NAMES):
                writer.put(name, pack(dataset(k)))
            time.sleep(60)

    process = forked(put)
    until = time.monotonic() + 30
    while len(Cells(tmp_path).names()) < len(NAMES) and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    assert ending(process) == -signal.SIGKILL
    assert_right(Cells(tmp_path).find(NAMES))
    assert len(Cells(tmp_path).names()) == len(NAMES)


def test_a_thousand_cells_are_in_one_file(tmp_path: Path) -> None:
    cells = Cells(tmp_path)
    names = [Name("module.function", f'{{"number": {k}}}') for k in range(1000)]
    content = pack(dataset(1))
    cells.add(names[0], content)
    with closing(sqlite3.connect(cells.path)) as database, database:
        _insert(database, [(n.key, n.function, n.config, _digest(n, content), content) for n in names])
    assert len(cells.find(names)) == 1000
    assert files_below(tmp_path) == [cells.path]
