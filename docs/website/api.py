"""Pages of the names of `import cgro`: signature, docstring, fields and methods."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import cgro
from cgro.cli.help_texts import field_help
from website.experiments import toctree
from website.options import kind_of, shown
from website.text import cell, collapsed, docstring, fenced, plain, table


def pages(guide: str) -> dict[str, str]:
    """A page for each name, and their index; `guide` is the page that shows them in use."""
    made = {f"api/{name}.md": "\n\n".join(_page(name, getattr(cgro, name))) for name in cgro.__all__}
    listed = [[f"[cgro.{name}](/api/{name}.md)", plain(_summary(getattr(cgro, name)))] for name in cgro.__all__]
    about = plain(inspect.cleandoc(cgro.__doc__ or "").partition("\n\n")[2])
    made["api/index.md"] = "\n\n".join(
        [
            "# API",
            fenced("import cgro", "python"),
            f"{about} {guide}",
            table(["name", "what it is"], listed),
            toctree(list(cgro.__all__)),
        ]
    )
    return made


def _summary(value: Any) -> str:
    return inspect.cleandoc(value.__doc__ or "").partition("\n\n")[0]


def signature(name: str, value: Any) -> str:
    """The signature over several lines, one for each argument, with annotations as they are written."""
    found = inspect.signature(value)
    arguments: list[str] = []
    for argument in found.parameters.values():
        if argument.kind is argument.KEYWORD_ONLY and "*" not in arguments:
            arguments.append("*")
        arguments.append(_unquoted(str(argument)))
    returned = "" if isinstance(value, type) or found.return_annotation is found.empty else found.return_annotation
    arrow = f" -> {_unquoted(inspect.formatannotation(returned))}" if returned else ""
    line = f"cgro.{name}({', '.join(arguments)}){arrow}"
    return line if len(line) <= 90 else f"cgro.{name}(\n    " + ",\n    ".join(arguments) + f",\n){arrow}"


def _unquoted(text: str) -> str:
    """Without the quotation marks around annotations that are strings."""
    return re.sub(r"((?:: |-> )|^)'([^']*)'", r"\1\2", text)


def _page(name: str, value: Any) -> Iterator[str]:
    yield f"# cgro.{name}"
    yield fenced(signature(name, value), "python")
    yield docstring(value.__doc__)
    if isinstance(value, type) and is_dataclass(value):
        yield "## Fields"
        rows = [
            [
                cell(field.name),
                plain(kind_of(value, field.name)),
                cell(shown(field.default)),
                plain(field_help(value, field.name)),
            ]
            for field in fields(value)
        ]
        yield table(["field", "type", "default", "meaning"], rows)
    if isinstance(value, type):
        yield from _members(value)
    yield "## Source"
    yield f"`{value.__module__}`"
    yield collapsed(f"Source of {value.__name__}", inspect.getsource(value))


def _members(kind: type) -> Iterator[str]:
    """Public methods and properties that have a docstring, inherited ones of the library included."""
    found = []
    for name, member in inspect.getmembers_static(kind):
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        ours = str(getattr(function, "__module__", "")).startswith("cgro")
        if not ours or name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        shape = "" if isinstance(member, property) else _unquoted(str(inspect.signature(getattr(kind, name))))
        found.append(f"- `{name}{shape}`: {plain(_summary(function))}")
    if found:
        yield "## Methods and properties"
        yield "\n".join(found)
