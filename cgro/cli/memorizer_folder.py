"""The output folder of `cgro memorize`: new, or from an earlier run; never a folder with other files."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from cgro.base.errors import UserError
from cgro.base.files import require_writable

_OURS = re.compile(
    r"report\.json|classes\.json|network\.(safetensors|json)"
    r"|verify/(instances\.csv|onnx/network\.onnx|vnnlib/point_\d+\.vnnlib)"
)


def own_folder(folder: Path) -> Path:
    """The folder, if it may be replaced: it does not exist, is empty, or holds only files of an earlier run.

    Raises: UserError for any other folder, naming a file in it; StorageError if it cannot be written.
    """
    place = folder.resolve()
    if place.exists() and not place.is_dir():
        raise UserError(f"--output must name a folder, got the file {folder}; choose another")
    if place in (Path.cwd(), *Path.cwd().parents) or os.path.ismount(place):
        foreign = _foreign(place)
        what = f"holds {foreign}, which `cgro memorize` did not write" if foreign else "is the current folder"
        raise UserError(f"folder {folder} {what}; choose another --output")
    if place.is_dir() and (foreign := _foreign(place)):
        raise UserError(
            f"folder {folder} holds {foreign}, which `cgro memorize` did not write; choose another --output"
        )
    require_writable(next(parent for parent in place.parents if parent.exists()))
    return folder


def _foreign(folder: Path) -> str | None:
    """A file in the folder that is not from an earlier run, or None."""
    some = None
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            some = (Path(root) / name).relative_to(folder).as_posix()
            if not _OURS.fullmatch(some):
                return some
    if some is None:
        return None
    try:
        report = json.loads((folder / "report.json").read_bytes())
    except (OSError, ValueError):
        return some
    return None if isinstance(report, dict) and "construction" in report else "report.json"
