"""Atomic file writes: a file appears whole or not at all, even if the process is killed or the disk fills up."""

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
    """A folder is not writable, so later results could not be saved."""


def write_whole(path: Path, content: bytes) -> None:
    """Write under a temporary name and rename, so that a killed process leaves either nothing or a whole file.

    A killed process may leave a hidden file `.NAME.*.tmp`, which is never read; see `remove_leftovers`.

    Raises: StorageError if the folder is not writable or the disk is full.
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
    """Remove the temporary files that killed processes left in a folder, and return their number.

    A writer holds a lock on its file until its process ends. Locked files are kept, also on other machines that share
    the folder, and so are files that cannot be locked or removed.
    """
    return sum(remove_leftover(path) for path in folder.glob(".*.tmp"))


def remove_leftover(path: Path) -> bool:
    """Remove one such file; whether it was one and is gone."""
    return is_leftover(path, remove=True)


def is_leftover(path: Path, *, remove: bool = False) -> bool:
    """Whether this is a temporary file that no process is writing. remove: delete it while it is locked."""
    if not _TEMPORARY.fullmatch(path.name):
        return False
    with contextlib.suppress(OSError), path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(path, file):  # it has not been renamed to its final name meanwhile
            if remove:
                path.unlink()
            return True
    return False


_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A new file at the path, locked from before its first byte to the end of the block."""
    while True:
        with path.open("wb") as file:
            with contextlib.suppress(OSError):  # without file locks, leftovers are kept
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):
                yield
                return
        # `remove_leftovers` deleted it between opening and locking.


def _is_at(path: Path, file: BinaryIO) -> bool:
    """Whether the path still points to this open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files, replacing an existing one as a whole: it never mixes old and new files.

    files: contents by path relative to the folder. A process killed between the two renames leaves both versions beside
    the folder, as `.NAME.*.tmp`.

    Raises: StorageError if it cannot be written; the old folder is kept.
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
    """Refuse a folder that is not writable, before any work starts. Raises: StorageError."""
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
