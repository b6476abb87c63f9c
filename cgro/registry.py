"""Finds experiments, checks and figures by name: one module each, `phase_transition` is called `phase-transition`.

Checks lie in folders, one for each area.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import Literal

from cgro.errors import UserError

Kind = Literal["experiment", "check", "figure"]
_PACKAGES: dict[Kind, tuple[str, str]] = {
    "experiment": ("simulations", "run"),
    "check": ("proofs_check", "CLAIM"),
    "figure": ("figures", "draw"),
}


def find_all(kind: Kind) -> dict[str, ModuleType]:
    """Every module of that kind by name, in alphabetical order (checks: by area, then by name)."""
    package, mark = _PACKAGES[kind]
    folder = importlib.import_module(package)
    infos = pkgutil.walk_packages(folder.__path__, f"{package}.")
    modules = [m for m in (_imported(info.name) for info in infos) if hasattr(m, mark)]
    return {m.__name__.split(".")[-1].replace("_", "-"): m for m in modules}


def _imported(name: str) -> ModuleType:
    """The module. Raises: UserError naming a file that cannot be imported: whoever writes one should read one line."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        path = f"{name.replace('.', '/')}.py"
        raise UserError(f"{path}: cannot be imported ({type(error).__name__}: {error}); correct it") from error


def find(kind: Kind, name: str) -> ModuleType:
    """The module of that name. Raises: UserError for an unknown one, suggesting the closest names."""
    known = find_all(kind)
    if name in known:
        return known[name]
    # Too many to read in one line.
    choice = f"choose one of {', '.join(known)}" if len(known) <= 20 else "see `cgro list`"
    raise UserError(f"{kind} {name!r}: unknown; {did_you_mean(name, known)}{choice}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A half-sentence with the closest known names, empty if none is close."""
    close = difflib.get_close_matches(name, sorted(set(known)), n=2, cutoff=0.4)
    return f"did you mean {' or '.join(close)}? " if close else ""


def option_names(options: argparse.Namespace) -> list[str]:
    """The options of a command that parsed into these."""
    return [f"--{name.replace('_', '-')}" for name in vars(options) if name not in ("command", "name", "names")]
