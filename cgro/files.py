"""Files on disk: written whole or not at all, whatever happens to the process or the disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from pathlib import Path

from cgro.errors import UserError


class StorageError(UserError):
    """A folder cannot be written: nothing that follows could be kept."""


def write_whole(path: Path, content: bytes) -> None:
    """Write to a temporary name and rename, so that a killed process leaves either nothing or a whole file.

    What a killed process leaves is a hidden file `.NAME.*.tmp`, which nothing reads.

    Raises: StorageError where the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _storage_error(path.parent, error) from error
        raise


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
