"""Finds experiments, checks and figures by name: one file each, `phase_transition.py` is called `phase-transition`.

Checks lie in folders, one for each area. A name leads to its file, and only that one is imported; titles are read from
the sources, so that a list costs no import.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple

from cgro.errors import UserError

Kind = Literal["experiment", "check", "figure"]


class _Place(NamedTuple):
    package: str
    mark: str
    """What a module of that kind defines at its top."""
    title: str = "TITLE"
    """What holds its title: a string, or a call whose first argument or `statement` is one."""


_PACKAGES: dict[Kind, _Place] = {
    "experiment": _Place("simulations", "run"),
    "check": _Place("proofs_check", "CLAIM", "CLAIM"),
    "figure": _Place("figures", "draw"),
}


def find(kind: Kind, name: str) -> ModuleType:
    """The module of that name. Raises: UserError as `require`, and if the module cannot be imported."""
    return require(kind, name).imported()


def require(kind: Kind, name: str) -> _File:
    """The file of that name. Raises: UserError for an unknown one, suggesting the closest names; imports nothing."""
    if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        found = [file for file in _files(kind, name.replace("-", "_")) if file.is_of(kind)]
        if found:
            return _only(kind, name, found)
    known = list(_all(kind))
    # Too many to read in one line.
    choice = f"choose one of {', '.join(known)}" if len(known) <= 20 else "see `cgro list`"
    raise UserError(f"{kind} {name!r}: unknown; {did_you_mean(name, known)}{choice}")


def find_all(kind: Kind) -> dict[str, ModuleType]:
    """Every module of that kind by name, in alphabetical order (checks: by area, then by name)."""
    return {name: file.imported() for name, file in _all(kind).items()}


def titles(kind: Kind) -> dict[str, str]:
    """The title of each by name, or the claim of a check, in the same order; nothing is imported."""
    return {name: file.title(_PACKAGES[kind].title) for name, file in _all(kind).items()}


class _File:
    """A source file of a package."""

    def __init__(self, path: Path, module: str) -> None:
        self.path, self.module = path, module
        try:
            self.body = ast.parse(path.read_text(encoding="utf-8")).body
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(f"{self.shown}: cannot be read ({type(error).__name__}: {error}); correct it") from error

    @property
    def shown(self) -> str:
        return f"{self.module.replace('.', '/')}.py"

    @property
    def name(self) -> str:
        return self.path.stem.replace("_", "-")

    def is_of(self, kind: Kind) -> bool:
        """Whether the file defines what marks the kind."""
        return _PACKAGES[kind].mark in {name for node in self.body for name in _defined(node)}

    def imported(self) -> ModuleType:
        """The module. Raises: UserError if it cannot be imported: whoever writes one should read one line."""
        try:
            return importlib.import_module(self.module)
        except Exception as error:
            raise UserError(
                f"{self.shown}: cannot be imported ({type(error).__name__}: {error}); correct it"
            ) from error

    def title(self, holder: str) -> str:
        """The string in `holder`. Raises: UserError if it is not written out."""
        for node in self.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and holder in _defined(node):
                value = _text(node.value)
                if isinstance(value, str):
                    return value
        raise UserError(f"{self.shown}: {holder} must be a plain string, or a call that begins with one; write it out")


def _text(node: ast.expr | None) -> object:
    """The value of a literal, or that of the first argument (or of `statement`) of a call; None for anything else."""
    if isinstance(node, ast.Call):
        named = [keyword.value for keyword in node.keywords if keyword.arg == "statement"]
        node = next(iter([*node.args, *named]), None)
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement at the top of a module defines."""
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
    """The files of a package, in alphabetical order, whose stem matches."""
    package = _PACKAGES[kind].package
    for folder in map(Path, importlib.import_module(package).__path__):
        # Sorted by folder and name; a name that Python cannot import (an editor's copy) is none of ours.
        paths = sorted((path.relative_to(folder).with_suffix("").parts, path) for path in folder.rglob(f"{stem}.py"))
        for parts, path in paths:
            if parts[-1] != "__init__" and all(part.isidentifier() for part in parts):
                yield _File(path, ".".join((package, *parts)))


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
    """A half-sentence with the closest known names, empty if none is closer than `cutoff` in [0, 1]."""
    close = difflib.get_close_matches(name, sorted(set(known)), n=2, cutoff=cutoff)
    return f"did you mean {' or '.join(close)}? " if close else ""
