"""Files of killed processes: removed at the next start, but never while a process is still writing them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tools import files_below

from cgro.base.files import StorageError, remove_leftovers, write_folder, write_whole

KILLED = """
import os, signal, sys
from pathlib import Path
from cgro.base import files
files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
files.write_whole(Path(sys.argv[1]), b"half" * 1000)
"""
WAITING = """
import os, sys, time
from pathlib import Path
from cgro.base import files
replace = os.replace
def slow(*names):
    print("written", flush=True)
    sys.stdin.readline()
    replace(*names)
files.os.replace = slow
files.write_whole(Path(sys.argv[1]), b"whole")
"""


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.nc")], timeout=60)
        assert done.returncode == -signal.SIGKILL
    assert len(hidden(tmp_path)) == 2
    # Others' files stay, whatever they are called.
    others = (".a.nc.tmp", ".notes.txt", ".a.nc.draft.tmp", "a.nc")
    for name in others:
        (tmp_path / name).write_text("mine")
    assert remove_leftovers(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} == set(others)
    assert remove_leftovers(tmp_path) == 0
    assert remove_leftovers(tmp_path / "nothing") == 0


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "written\n"
        assert len(hidden(tmp_path)) == 1
        # Its age does not matter: a suspended process goes on later.
        os.utime(tmp_path / hidden(tmp_path)[0], (0, 0))
        assert remove_leftovers(tmp_path) == 0
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(timeout=60) == 0
    assert path.read_bytes() == b"whole"
    assert hidden(tmp_path) == []


def test_writing_while_another_cleans_loses_nothing(tmp_path: Path) -> None:
    """A temporary file exists for a moment before its lock does: a cleanup at that moment must not break the write."""
    stop = threading.Event()

    def clean() -> None:
        while not stop.is_set():
            remove_leftovers(tmp_path)

    cleaners = [threading.Thread(target=clean) for _ in range(2)]
    for cleaner in cleaners:
        cleaner.start()
    try:
        for k in range(300):
            write_whole(tmp_path / "a.nc", str(k).encode())
            assert (tmp_path / "a.nc").read_bytes() == str(k).encode()
    finally:
        stop.set()
        for cleaner in cleaners:
            cleaner.join()
    assert hidden(tmp_path) == []


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files_below(folder)}


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    write_folder(folder, {"a": b"1", "b/c": b"2"})
    assert contents(folder) == {"a": b"1", "b/c": b"2"}
    write_folder(folder, {"d": b"3"})
    assert contents(tmp_path) == {"deep/folder/d": b"3"}


@pytest.mark.parametrize("step", [1, 2])
def test_a_folder_that_cannot_be_replaced_stays(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, steps, rename = tmp_path / "folder", [], os.rename
    write_folder(folder, {"a": b"1"})

    def failing(old: Path, new: Path) -> None:
        steps.append(old)
        if len(steps) == step:
            raise OSError("disk")
        rename(old, new)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(StorageError, match="disk"):
        write_folder(folder, {"b": b"2"})
    assert contents(tmp_path) == {"folder/a": b"1"}
