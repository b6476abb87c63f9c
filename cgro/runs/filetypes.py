"""Describe a file in an error message, by its content rather than its name."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

_HEADER = 8
"""Bytes of a safetensors file that hold the length of its JSON header."""
_MOST = 2**25
"""Maximum header length to read."""
_STARTS = {
    b"\x89HDF\r\n\x1a\n": "a NetCDF or HDF5 file, such as a result of `cgro simulate`",
    b"CDF": "a NetCDF file",
    b"\x80\x02": "a pickle, such as an old file of torch.save",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\x93NUMPY": "a NumPy array (.npy)",
    b"\x1f\x8b": "a gzip archive",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a PNG picture",
}


def what_is(path: Path) -> str:
    """The kind of a file or folder, as a noun phrase: 'an empty file', 'a text file'.

    A safetensors file written by cgro is 'a checkpoint of `cgro train`' or 'a network of `cgro memorize`'. Nothing is
    unpickled. Raises: OSError if it cannot be read.
    """
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
        held = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        return f"a folder that holds {held}" if names else "an empty folder"
    if path.exists() and not path.is_file():
        return "a pipe" if path.is_fifo() else "a device or a socket"
    with path.open("rb") as file:
        start = file.read(_HEADER)
        if not start:
            return "an empty file"
        for magic, kind in _STARTS.items():
            if start.startswith(magic):
                return kind
        if start.startswith(b"PK"):
            return _archive(path)
        length = int.from_bytes(start, "little")
        header = file.read(min(length, _MOST)) if len(start) == _HEADER and length <= path.stat().st_size else b""
        if header.startswith(b"{"):
            return _safetensors(header)
        file.seek(0)
        return _text(file.read(2**16))


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return "a damaged zip archive"
    if any(name.endswith("data.pkl") for name in names):
        return "a pickle of torch.save, which cgro does not load: it could run any code"
    return "a NumPy archive (.npz)" if names and all(n.endswith(".npy") for n in names) else "a zip archive"


def _safetensors(header: bytes) -> str:
    try:
        about = json.loads(header)["__metadata__"]
    except (ValueError, LookupError, TypeError):
        about = {}
    if "cgro" in about:
        return "a checkpoint of `cgro train`"
    return "a network of `cgro memorize`" if "cgro-relu-network" in about else "a safetensors file of another program"


def _text(start: bytes) -> str:
    try:
        words = start.decode()
    except UnicodeDecodeError as error:
        if error.end < len(start) or error.reason != "unexpected end of data":
            return "a file of an unknown format"
        words = start[: error.start].decode()
    if "\0" in words:
        return "a file of an unknown format"
    return "a JSON file" if words.lstrip()[:1] in ("{", "[") else "a text file"
