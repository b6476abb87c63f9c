"""The records of checkpoints, validated on reading: a file with a correct digest may still hold anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cgro.base.errors import UserError
from cgro.base.validate import between, finite, integer
from cgro.training.checkpoint import Checkpoint
from cgro.training.config import TrainingConfig

MOST = 2**16
"""Largest number of processes that can have trained one network."""


def plain(config: TrainingConfig) -> dict[str, Any]:
    """The configuration as JSON would return it."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}


def config_of(path: Path, found: Checkpoint, **changes: Any) -> TrainingConfig:
    """The configuration of a checkpoint, with some fields replaced.

    Raises: UserError if there is none, or it is of another version of cgro, or not valid here.
    """
    stored, names = found.record.get("config"), {each.name for each in fields(TrainingConfig)}
    if not isinstance(stored, dict):
        raise UserError(f"checkpoint {path}: it has no configuration; train again")
    wrong = [f"field {name} is unknown" for name in sorted(stored.keys() - names)]
    wrong += [f"field {name} is missing" for name in sorted(names - stored.keys())]
    if wrong:
        raise UserError(f"checkpoint {path}: of another version of cgro ({', '.join(wrong)[:200]}); train again")
    try:
        return TrainingConfig(**stored | changes)
    except (UserError, RecursionError) as error:  # RecursionError: a value nested too deeply to print
        raise UserError(f"checkpoint {path}: its configuration cannot be: {error}") from error


def require_config(path: Path, found: Checkpoint, config: TrainingConfig) -> None:
    """Refuse a checkpoint of another configuration, naming the first field that differs. Raises: UserError."""
    stored, ours = found.record.get("config"), plain(config)
    if stored != ours:
        theirs = stored if isinstance(stored, dict) else {}
        name = next(name for name in sorted(ours.keys() | theirs.keys()) if theirs.get(name) != ours.get(name))
        raise UserError(f"checkpoint {path}: of another configuration ({name} differs); choose another folder")


def rows_of(path: Path, found: Checkpoint, names: Sequence[str], due: Sequence[int]) -> list[dict[str, float]]:
    """The learning curves of a checkpoint: `names` at the epochs `due`; the last epoch may be missing.

    Raises: UserError otherwise.
    """
    rows = _dicts(path, found, "rows")
    try:
        if [row.get("epoch") for row in rows] not in (list(due), list(due[:-1])):
            raise UserError("they are not of the epochs that it has done")
        for row in rows:
            if row.keys() != {"epoch", *names}:
                raise UserError("values are missing or unknown")
            for name in names:
                between(name, row[name], 0, 1) if name.endswith("accuracy") else finite(name, row[name])
    except (UserError, RecursionError) as error:
        raise UserError(f"checkpoint {path}: its learning curves cannot be: {error}; train again") from error
    return rows


def last_epoch(path: Path, found: Checkpoint, config: TrainingConfig) -> int:
    """The last epoch of the learning curves, 0 if there is none yet. Raises: UserError if the entry is not an epoch."""
    rows = _dicts(path, found, "rows")
    try:
        return integer("epoch", rows[-1].get("epoch"), low=1, high=config.epochs) if rows else 0
    except (UserError, RecursionError) as error:
        raise UserError(f"checkpoint {path}: its learning curves cannot be: {error}; train again") from error


def processes_of(path: Path, found: Checkpoint, epoch: int) -> int:
    """How many processes measured an epoch, by default 1. Raises: UserError if it is not a positive integer."""
    stored = found.record.get("processes", {})
    try:
        return integer("processes", stored.get(str(epoch), 1) if isinstance(stored, dict) else stored, low=1, high=MOST)
    except (UserError, RecursionError) as error:
        raise UserError(f"checkpoint {path}: its learning curves cannot be: {error}; train again") from error


def observed_of(path: Path, found: Checkpoint, steps: int) -> list[dict[str, Any]]:
    """The watched values up to the given step. Raises: UserError if their steps do not increase."""
    observed = _dicts(path, found, "observed")
    try:
        at = [integer("step", row.get("step"), low=0, high=steps) for row in observed]
        if at != sorted(set(at)):
            raise UserError("steps must increase")
    except (UserError, RecursionError) as error:
        raise UserError(f"checkpoint {path}: what it observed cannot be: {error}; train again") from error
    return observed


def _dicts(path: Path, found: Checkpoint, name: str) -> list[dict[str, Any]]:
    rows = found.record.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"checkpoint {path}: it has no {name}; train again")
    return rows
