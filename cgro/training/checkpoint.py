"""Checkpoints: one safetensors file each, with a JSON record in its header; no pickle is read or written.

Files are written atomically. The header's metadata has one entry, `cgro`: the SHA-256 digest of the whole file, with
zeros in place of the digest, then the record. Any changed byte is therefore detected, and any safetensors reader can
read the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from cgro.base.errors import UserError
from cgro.base.files import write_whole

FORMAT = 2
"""Increase it when older checkpoints can no longer be read."""
_BEFORE = b'{"__metadata__":{"cgro":"'
_HEADER = 8
"""Bytes that hold the length of the header that follows."""
_PLACE = slice(_HEADER + len(_BEFORE), _HEADER + len(_BEFORE) + 2 * hashlib.sha256().digest_size)
"""Position of the digest, in hexadecimal digits."""
_ZEROS = b"0" * (_PLACE.stop - _PLACE.start)


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name and a record of JSON values: the configuration and the measurements."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]

    def content(self) -> bytes:
        """Content of the file: the same tensors and record give the same bytes."""
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self.tensors.items()}
        about = json.dumps({"format": FORMAT, "record": self.record}, sort_keys=True)
        content = bytearray(save(tensors, {"cgro": _ZEROS.decode() + about}))
        assert content[_HEADER : _PLACE.start] == _BEFORE, "safetensors lays its header out otherwise"
        content[_PLACE] = _digest(content)
        return bytes(content)

    def save(self, path: Path) -> None:
        """Write the file. Raises: StorageError if the folder cannot be written or the disk is full."""
        write_whole(path, self.content())

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a file. Raises: UserError if it is missing, truncated, altered, or of another program or version."""
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise UserError(f"checkpoint {path}: not found; give a file that `cgro train` wrote") from error
        except OSError as error:
            raise UserError(f"checkpoint {path}: cannot be read ({error.strerror or error})") from error
        if not _is_whole(content):
            raise UserError(f"checkpoint {path}: {_what_is_wrong(content)}")
        try:
            tensors, about = load(content), json.loads(_metadata(content)[len(_ZEROS) :])
        except _UNREADABLE as error:
            # The digest is correct, so the file was written like this.
            raise UserError(f"checkpoint {path}: not written by cgro ({type(error).__name__}); train again") from error
        if not isinstance(about, dict) or about.get("format") != FORMAT or not isinstance(about.get("record"), dict):
            raise UserError(f"checkpoint {path}: not written by cgro (it has no record); train again")
        return cls(tensors, about["record"])


def _digest(content: bytes | bytearray) -> bytes:
    """Digest of the content with zeros in place of the digest, in hexadecimal digits."""
    found = hashlib.sha256(content[: _PLACE.start])
    found.update(_ZEROS)
    found.update(memoryview(content)[_PLACE.stop :])
    return found.hexdigest().encode()


def _is_whole(content: bytes) -> bool:
    return content[_HEADER : _PLACE.start] == _BEFORE and content[_PLACE] == _digest(content)


def _metadata(content: bytes) -> str:
    """The metadata entry `cgro`; empty if there is none."""
    header = json.loads(content[_HEADER : _HEADER + int.from_bytes(content[:_HEADER], "little")])
    return str(header.get("__metadata__", {}).get("cgro", ""))


def _what_is_wrong(content: bytes) -> str:
    """Why a file with a wrong digest cannot be read."""
    try:
        load(content)
        about = _metadata(content)
    except _UNREADABLE as error:
        return f"damaged or truncated ({type(error).__name__}); train again"
    if content[_HEADER : _PLACE.start] == _BEFORE and not about.startswith("{"):
        return "altered, it does not match its checksum; train again"
    found = re.match(r'{"format": (\d{1,3})\b', about)  # format 1 began with it
    return (
        f"not one of this version of cgro (format {found[1] if found else 'unknown'}, expected {FORMAT}); train again"
    )


_UNREADABLE = (
    SafetensorError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError, AssertionError,
)  # fmt: skip
"""Exceptions of the safetensors and JSON readers on invalid input; RecursionError is a RuntimeError."""
