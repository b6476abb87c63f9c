"""Find experiments, checks and figures by name: each is one file, e.g. `phase_transition.py` for `phase-transition`.

Checks are in folders, one per area. Only the file of the requested name is imported; titles are read from the source,
so listing needs no imports. Other packages add their own through entry points, one line per package:

    [project.entry-points."cgro.experiments"]
    mine = "my_package.experiments"

and likewise `cgro.checks` and `cgro.figures`.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cgro.base.errors import UserError

Kind = Literal["experiment", "check", "figure"]


class _Place(NamedTuple):
    package: str
    """Our own package."""
    group: str
    """Entry point group through which other installed packages add theirs."""
    mark: str
    """Name that every file of this kind defines: an object whose first argument, or `statement`, is its title."""


_PLACES: dict[Kind, _Place] = {
    "experiment": _Place("cgro.simulations", "cgro.experiments", "EXPERIMENT"),
    "check": _Place("cgro.proofs_check", "cgro.checks", "CLAIM"),
    "figure": _Place("cgro.figures", "cgro.figures", "FIGURE"),
}


def find(kind: Kind, name: str) -> Any:
    """The Experiment, Claim or Figure of that name. Raises: UserError like `require`, and for a failing import."""
    return require(kind, name).imported(_PLACES[kind].mark)


def require(kind: Kind, name: str) -> _File:
    """The file of that name, without importing it. Raises: UserError for unknown names, suggesting the closest ones."""
    if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        found = [file for file in _files(kind, name.replace("-", "_")) if file.is_of(kind)]
        if found:
            return _only(kind, name, found)
    known = list(_all(kind))
    # Long lists do not fit into one line.
    choice = f"choose one of {', '.join(known)}" if len(known) <= 20 else "see `cgro list`"
    raise UserError(f"{kind} {name!r}: unknown; {did_you_mean(name, known)}{choice}")


def find_all(kind: Kind) -> dict[str, Any]:
    """All objects of that kind by name, in alphabetical order (checks: by area, then by name)."""
    return {name: file.imported(_PLACES[kind].mark) for name, file in _all(kind).items()}


def titles(kind: Kind) -> dict[str, str]:
    """Titles (of checks: claims) by name, in the same order; nothing is imported."""
    return {name: file.title(_PLACES[kind].mark) for name, file in _all(kind).items()}


def files(kind: Kind) -> dict[str, Path]:
    """Source files by name; nothing is imported."""
    return {name: file.path for name, file in _all(kind).items()}


class _File:
    """A source file of a package."""

    def __init__(self, path: Path, module: str) -> None:
        self.path, self.module = path, module
        try:
            self.body = _statements(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(f"{self.shown}: cannot be read ({type(error).__name__}: {error}); correct it") from error

    @property
    def shown(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.stem.replace("_", "-")

    def is_of(self, kind: Kind) -> bool:
        """Whether the file defines an object of this kind."""
        return _PLACES[kind].mark in {name for node in self.body for name in _defined(node)}

    def imported(self, mark: str) -> Any:
        """The object of the file. Raises: UserError in one line, for its author, if the import fails."""
        try:
            return getattr(importlib.import_module(self.module), mark)
        except Exception as error:
            raise UserError(
                f"{self.shown}: cannot be imported ({type(error).__name__}: {error}); correct it"
            ) from error

    def title(self, holder: str) -> str:
        """The title in `holder`. Raises: UserError if it is not a plain string."""
        for node in self.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and holder in _defined(node):
                value = _text(node.value)
                if isinstance(value, str):
                    return value
        raise UserError(f"{self.shown}: {holder} must begin with a plain string, its title; write it out")


@lru_cache(maxsize=512)
def _statements(source: str) -> list[ast.stmt]:
    """The statements of a file. Raises: ValueError or SyntaxError."""
    return ast.parse(source).body


def _text(node: ast.expr | None) -> object:
    """The value of a literal, or of the first argument (or `statement`) of a call; None for anything else."""
    if isinstance(node, ast.Call):
        named = [keyword.value for keyword in node.keywords if keyword.arg == "statement"]
        node = next(iter([*node.args, *named]), None)
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None


def _defined(node: ast.stmt) -> list[str]:
    """The names defined by a top-level statement of a module."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.ImportFrom(names=names):
            return [alias.asname or alias.name for alias in names]
        case _:
            return []


def _files(kind: Kind, stem: str) -> Iterator[_File]:
    """The files whose stem matches, in alphabetical order."""
    for package in _packages(kind):
        for folder in map(Path, importlib.import_module(package).__path__):
            # Sorted by folder and name, without names that Python cannot import, such as an editor's backup.
            paths = sorted(
                (path.relative_to(folder).with_suffix("").parts, path) for path in folder.rglob(f"{stem}.py")
            )
            for parts, path in paths:
                if parts[-1] != "__init__" and all(part.isidentifier() for part in parts):
                    yield _File(path, ".".join((package, *parts)))


def _packages(kind: Kind) -> list[str]:
    """Our own package, then those of entry points. Raises: UserError if one cannot be imported."""
    place = _PLACES[kind]
    packages = [place.package]
    for point in metadata.entry_points(group=place.group):
        try:
            if not hasattr(importlib.import_module(point.value), "__path__"):
                raise ImportError("it is a module, not a package")
        except Exception as error:
            raise UserError(
                f"entry point {place.group} {point.name} = {point.value!r}: cannot be imported "
                f"({type(error).__name__}: {error}); correct or uninstall the package that declares it"
            ) from error
        packages.append(point.value)
    return packages


def _all(kind: Kind) -> dict[str, _File]:
    by_name: dict[str, list[_File]] = {}
    for file in _files(kind, "*"):
        if file.is_of(kind):
            by_name.setdefault(file.name, []).append(file)
    return {name: _only(kind, name, files) for name, files in by_name.items()}


def _only(kind: Kind, name: str, files: list[_File]) -> _File:
    if len(files) > 1:
        raise UserError(f"{kind} {name!r}: two files, {files[0].shown} and {files[1].shown}; rename one")
    return files[0]


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.4) -> str:
    """A hint with the closest known names; empty if none is closer than `cutoff` in [0, 1]."""
    close = difflib.get_close_matches(name, sorted(set(known)), n=2, cutoff=cutoff)
    return f"did you mean {' or '.join(close)}? " if close else ""
