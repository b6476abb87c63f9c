"""Checkpoints: one safetensors file each, tensors and a JSON record in its header; no pickle is read or written.

Written whole or not at all; the record holds a SHA-256 digest of the tensors, which is checked when they are read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cgro.errors import UserError
from cgro.files import write_whole

FORMAT = 1
"""Raise it when older checkpoints can no longer be read."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and a record of JSON values: the configuration and what was measured."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]

    def save(self, path: Path) -> None:
        """Raises: StorageError where the folder cannot be written or the disk is full."""
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in self.tensors.items()}
        about = {"format": FORMAT, "sha256": _digest(tensors), "record": self.record}
        write_whole(path, save(tensors, {"cgro": json.dumps(about, sort_keys=True)}))

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Raises: UserError for a file that is missing, truncated, altered, or of another program or version."""
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("cgro", "null"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError as error:
            raise UserError(f"checkpoint {path}: not found; give a file that `cgro train` wrote") from error
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f"checkpoint {path}: damaged or truncated ({error}); train again") from error
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            found = about.get("format") if isinstance(about, dict) else "no record"
            raise UserError(f"checkpoint {path}: not one of this version of cgro (format {found}, expected {FORMAT})")
        if about["sha256"] != _digest(tensors):
            raise UserError(f"checkpoint {path}: altered, its tensors do not match their checksum; train again")
        return cls(tensors, about["record"])


def _digest(tensors: dict[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
