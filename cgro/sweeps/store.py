"""Results on disk: one NetCDF file for each configuration, written whole or not at all, verified when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cgro.experiment import UserError

FORMAT = 1
"""Raise it when results of the same configuration change: old files are then computed anew, not misread."""
_LIBRARIES = ("numpy", "scipy", "torch", "numba", "xarray")


def as_json(value: Any) -> str:
    """Canonical JSON of a dataclass (or plain value), the form in which configurations are stored and hashed."""
    plain = asdict(value) if hasattr(value, "__dataclass_fields__") else value
    return json.dumps(plain, sort_keys=True, default=str)


def content_hash(*parts: str) -> str:
    """Sixteen hexadecimal digits that name a configuration."""
    return hashlib.sha256("\n".join((str(FORMAT), *parts)).encode()).hexdigest()[:16]


def result_path(folder: Path, experiment: str, config: Any) -> Path:
    """Where the result of this configuration lies."""
    return folder / experiment / f"{content_hash(experiment, as_json(config))}.nc"


def provenance(config: Any, wall_seconds: float) -> dict[str, str | float]:
    """What is needed to make a result again, as NetCDF attributes."""
    import torch

    versions = {name: metadata.version(name) for name in _LIBRARIES}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "config": as_json(config),
        "cgro_version": metadata.version("cgro"),
        "library_versions": json.dumps(versions, sort_keys=True),
        "git_commit": _git_commit(),
        "device": gpu or f"{platform.machine()} CPU, {os.cpu_count()} cores",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(wall_seconds, 3),
    }


def save(dataset: xr.Dataset, path: Path) -> None:
    """Write to a temporary name and rename, so that a killed run leaves either nothing or a whole file.

    Raises: UserError where the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.tmp")
    dataset = dataset.assign_attrs(checksum=_checksum(dataset))
    encoding = {name: {"zlib": True, "complevel": 4} for name, v in dataset.data_vars.items() if v.dtype.kind == "f"}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(
            f"results folder {path.parent}: cannot write ({error.strerror or error}); free space, make it writable, "
            "or choose another with --results"
        ) from error


def load(path: Path) -> xr.Dataset:
    """Read a result and verify it. Raises: UserError naming a damaged file; FileNotFoundError if there is none."""
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with xr.open_dataset(path, engine="h5netcdf") as stored:
            dataset = stored.load()
        intact = dataset.attrs.get("checksum") == _checksum(dataset)
    except PermissionError as error:
        raise UserError(f"result file {path}: cannot be read ({error.strerror}); make it readable") from error
    except Exception:  # whatever h5py makes of a damaged file
        intact = False
    if not intact:
        raise UserError(f"result file {path}: damaged (it does not match its checksum); delete it and run again")
    return dataset


def stored_config(dataset: xr.Dataset) -> dict[str, Any]:
    """The configuration that a result was made with."""
    return dict(json.loads(dataset.attrs["config"]))


def _checksum(dataset: xr.Dataset) -> str:
    digest = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        variable = dataset.variables[name]
        values = np.ascontiguousarray(variable.values)
        data = values.astype(str).tobytes() if values.dtype.kind in "OUST" else values.tobytes()
        digest.update(f"{name}{variable.dims}{variable.shape}".encode() + data)
    attributes = {k: str(v) for k, v in dataset.attrs.items() if k != "checksum"}
    digest.update(json.dumps(attributes, sort_keys=True).encode())
    return digest.hexdigest()


def _git_commit() -> str:
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
