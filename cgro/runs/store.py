"""Results on disk: one NetCDF file per configuration, written atomically and verified on reading."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import xarray as xr

from cgro.base import interrupts
from cgro.base.errors import UserError
from cgro.base.fields import plain
from cgro.base.files import write_whole

FORMAT = 2
"""Increase it when results of the same configuration change: old files are then recomputed, not misread."""
LIBRARIES = ("numpy", "scipy", "torch", "numba", "python-flint", "xarray")
_DIGEST_BYTES = hashlib.sha256().digest_size


def as_json(value: Any) -> str:
    """Canonical JSON of a dataclass (or plain value), the form in which configurations are stored and hashed."""
    return json.dumps(plain(value), sort_keys=True, default=str)


def content_hash(*parts: str) -> str:
    """Sixteen hexadecimal digits that identify a configuration."""
    return hashlib.sha256("\n".join((str(FORMAT), *parts)).encode()).hexdigest()[:16]


def result_path(folder: Path, experiment: str, config: Any) -> Path:
    """Path of the result of this configuration."""
    return folder / experiment / f"{content_hash(experiment, as_json(config))}.nc"


def provenance(config: Any, wall_seconds: float) -> dict[str, str | float]:
    """Everything needed to reproduce a result, as NetCDF attributes."""
    from cgro.base.machine import computes_on_gpu

    device, files = f"{platform.machine()} CPU, {os.cpu_count()} cores", image_files_of(config)
    if computes_on_gpu(config):
        import torch  # takes a second, so only if needed

        device = torch.cuda.get_device_name()
    told: dict[str, str | float] = {"image_files": files} if files else {}
    return told | {
        "config": as_json(config),
        "cgro_version": _version("cgro"),
        "library_versions": json.dumps({name: _version(name) for name in LIBRARIES}, sort_keys=True),
        "git_commit": git_commit(),
        "device": device,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(wall_seconds, 3),
    }


def image_files_of(config: Any) -> str | None:
    """The image files that the configuration's data set (a field `data` of it or its parts) means on this machine.

    None if the name of the data set determines them.
    """
    parts = [config, *vars(config).values()] if hasattr(config, "__dict__") else []
    names = {name for part in parts if isinstance(name := getattr(part, "data", None), str)}
    if not names:
        return None
    from cgro.data.images import image_files

    return "; ".join(files for name in sorted(names) if (files := image_files(name))) or None


def require_same_files(what: str, stored: Mapping[Any, Any], config: Any) -> None:
    """Refuse a stored result made from other image files than those here, if both are known. Raises: UserError."""
    theirs = stored.get("image_files")
    ours = image_files_of(config) if theirs else None
    if ours and theirs != ours:
        raise UserError(
            f"{what}: made from other image files ({theirs}; here are {ours}); choose another folder of results, or "
            "compute anew with --fresh"
        )


def save(dataset: xr.Dataset, path: Path) -> None:
    """Write a NetCDF file followed by its SHA-256 digest (which NetCDF readers skip), atomically.

    Raises: StorageError if the folder cannot be written or the disk is full.
    """
    encoding = {name: {"zlib": True, "complevel": 4} for name, v in dataset.data_vars.items() if v.dtype.kind == "f"}
    # In memory first: on a full disk the HDF5 library prints errors from its clean-up.
    with interrupts.postponed(), _without_cluster():
        content = bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding))
    write_whole(path, content + hashlib.sha256(content).digest())


@contextmanager
def _without_cluster() -> Iterator[None]:
    """With a current Dask client, xarray asks for a lock of its cluster, which in-memory bytes cannot have. Without
    one, it imports `distributed` to find that out, which takes half a second."""
    dask, hidden = sys.modules.get("dask"), "distributed" not in sys.modules
    with dask.config.set(scheduler=dask.get) if dask is not None else nullcontext():
        if hidden:
            sys.modules["dask.distributed"] = None  # type: ignore[assignment]
        try:
            yield
        finally:
            if hidden:
                del sys.modules["dask.distributed"]


def load(path: Path) -> xr.Dataset:
    """Read a result and verify it. Raises: UserError naming a damaged file; FileNotFoundError if there is none."""
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"result file {path}: cannot be read ({error.strerror or error}); make it readable") from error
    content, digest = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise UserError(
            f"result file {path}: damaged or not made by cgro (it does not match its checksum); delete it and run again"
        )
    # Results hold no dates: values in "seconds" stay numbers.
    try:
        with interrupts.postponed():
            return xr.load_dataset(io.BytesIO(content), engine="h5netcdf", decode_times=False).drop_encoding()
    except Exception as error:  # A file with a correct checksum may still hold anything.
        raise UserError(
            f"result file {path}: not made by cgro (it holds no NetCDF data: {type(error).__name__}); delete it"
        ) from error


def load_result(path: Path, experiment: str, config: Any = None) -> xr.Dataset:
    """The result of an experiment, checked against the configuration if one is given.

    Raises: UserError for a damaged file or another content; FileNotFoundError if there is none.
    """
    result = load(path)
    found = result.attrs.get("experiment", "something that is no experiment")
    if found != experiment:
        raise UserError(f"result file {path}: holds {found}, not {experiment}; choose another file or delete it")
    stored = stored_config(result, path)
    if config is None:
        return result
    wanted = json.loads(as_json(config))
    for name in sorted({*wanted, *stored}):
        ours, theirs = (json.dumps(known.get(name, "absent"), sort_keys=True) for known in (wanted, stored))
        if ours != theirs:
            raise UserError(
                f"result file {path}: made with another configuration ({name} is {theirs}, asked for is {ours}); "
                "rename or delete it and run again"
            )
    return result


def stored_config(dataset: xr.Dataset, path: Path | None = None) -> dict[str, Any]:
    """The configuration of a result. Raises: UserError for a Dataset without one."""
    try:
        config = json.loads(dataset.attrs["config"])
    except (KeyError, TypeError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        where = f"result file {path}" if path else "result"
        raise UserError(f"{where}: does not say its configuration; give a file that `cgro simulate` wrote")
    return config


_version = cache(metadata.version)


@cache
def git_commit() -> str:
    """The commit of the code when first called; call it before a long run, since the code may change during it."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed, possibly inside another repository
        return "unknown"
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
