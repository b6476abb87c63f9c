"""Pages of robust memorizers: norms, theorem, counts, docstring, and how to call them."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from cgro.memorizers.constructions import CONSTRUCTIONS, EXACT, NORMS
from website.experiments import toctree
from website.ledger import Row
from website.text import cell, collapsed, docstring, fenced, plain, table

WORDS = {"1": "l_1", "2": "l_2", "inf": "l_inf"}


def norms_of(name: str) -> tuple[str, ...]:
    """The norms of a construction; those that are listed for none work in all."""
    return tuple(norm for norm, names in NORMS.items() if name in names) or tuple(NORMS)


def ratio_of(name: str) -> float:
    """A fraction of the largest radius at which the construction works on small data."""
    return 0.001 if name in EXACT else 0.5


def pages(rows: Sequence[Row], links: dict[str, str], guide: str) -> dict[str, str]:
    """A page for each construction, and their index, which is the guide in Markdown."""
    made = {f"constructions/{name}.md": _page(name, build, rows, links) for name, build in CONSTRUCTIONS.items()}
    listed = [
        [f"[{name}](/constructions/{name}.md)", plain(_norm_words(name)), plain(_summary(build))]
        for name, build in CONSTRUCTIONS.items()
    ]
    made["constructions/index.md"] = "\n\n".join(
        [guide, "## All constructions", table(["name", "norm", "what it is"], listed), toctree(list(CONSTRUCTIONS))]
    )
    return made


def _norm_words(name: str) -> str:
    return ", ".join(WORDS[norm] for norm in norms_of(name))


def _summary(build: Callable[..., Any]) -> str:
    return inspect.cleandoc(build.__doc__ or "").partition("\n\n")[0]


def _page(name: str, build: Callable[..., Any], rows: Sequence[Row], links: dict[str, str]) -> str:
    module = sys.modules[build.__module__]
    path = "/".join(build.__module__.split(".")) + ".py"
    facts = [
        ["norm", plain(_norm_words(name))],
        ["weights", "exact rational numbers" if name in EXACT else "float64, biases rounded outwards"],
        ["default for", plain(", ".join(WORDS[n] for n, names in NORMS.items() if names[0] == name)) or "-"],
        ["defined in", cell(path)],
    ]
    own = [links[row.claim] for row in rows if row.formula == f"{path}::{name}"]
    parts = [f"# {name}", table(["", ""], facts), docstring(build.__doc__)]
    parts += ["## Call it", _call(name), docstring("Options are those of the function:"), _signature(name, build)]
    parts += ["## The idea", docstring(module.__doc__)]
    if own:
        parts += ["## Claims", "\n".join(f"- {link}" for link in own)]
    parts += ["## Source", collapsed(f"Source of {name}", inspect.getsource(build))]
    return "\n\n".join(parts)


def _call(name: str) -> str:
    norm, more = norms_of(name)[0], ", clean=network" if name == "cgro_classifier" else ""
    python = (
        "import cgro\n\n"
        f'memorizer = cgro.memorize(points, labels, "{norm}", radius, construction="{name}"{more})\n'
        "print(memorizer.network.size == memorizer.claimed)"
    )
    if name == "cgro_classifier":
        return fenced(python, "python")
    ratio = ratio_of(name)
    command = fenced(f"cgro memorize points.csv --norm {norm} --ratio {ratio:g} --construction {name}", "sh")
    return f"{fenced(python, 'python')}\n\nor, from the command line:\n\n{command}"


def _signature(name: str, build: Callable[..., Any]) -> str:
    signature = re.sub(r"'([^']*)'", r"\1", str(inspect.signature(build)))
    return fenced(f"{name}{signature}", "python")
