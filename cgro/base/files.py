"""Files on disk: written whole or not at all, whatever happens to the process or the disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from cgro.base.errors import UserError


class StorageError(UserError):
    """A folder cannot be written: nothing that follows could be kept."""


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary name and rename, so that a killed process leaves either nothing or a whole file.

    What a killed process leaves is a hidden file `.NAME.*.tmp`, which nothing reads; see `remove_leftovers`.

    Raises: StorageError where the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(temporary):
            temporary.write_bytes(content)
            os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _storage_error(path.parent, error) from error
        raise


def remove_leftovers(folder: Path) -> int:
    """Remove the temporary files that killed processes left in a folder; how many there were.

    Whoever writes a file holds a lock on it, which ends with the process: what is locked stays, on any machine that
    shares the folder. What cannot be locked or removed stays, too.
    """
    removed = 0
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            with contextlib.suppress(OSError), path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(path, file):  # it has not become a whole file meanwhile
                    path.unlink()
                    removed += 1
    return removed


_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A new file at the path, locked from before its first byte to the end of the block."""
    while True:
        with path.open("wb") as file:
            with contextlib.suppress(OSError):  # a file system without locks; there leftovers stay
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):
                yield
                return
        # `remove_leftovers` came between opening and locking.


def _is_at(path: Path, file: BinaryIO) -> bool:
    """Whether an open file is still what lies at the path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files in the place of the one that is there, if any: it holds the old files or the new ones.

    files: contents by their path in the folder. A process killed between the two renames leaves both versions beside
    the folder, as `.NAME.*.tmp`.

    Raises: StorageError where it cannot be written; what was there stays.
    """
    folder = folder.resolve()
    unique = uuid.uuid4().hex
    new, old = (folder.with_name(f".{folder.name}.{unique}-{which}.tmp") for which in ("new", "old"))
    try:
        for name, content in files.items():
            write_whole(new / name, content)
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
    except OSError as error:
        raise _storage_error(folder, error) from error
    finally:
        if old.exists() and not folder.exists():
            os.rename(old, folder)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def require_writable(folder: Path) -> None:
    """Refuse, before any work, a folder that cannot be written. Raises: StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _storage_error(folder, error) from error


def _storage_error(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"folder {folder}: cannot write ({error.strerror or error}); free space, make it writable, or choose another "
        "folder"
    )
