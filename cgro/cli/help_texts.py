"""Help texts of options: the docstrings of dataclass fields, reflowed to the width of the help page."""

from __future__ import annotations

from dataclasses import is_dataclass, replace
from functools import cache, partial
from typing import Annotated, Any

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

_being_read: set[type] = set()


def dataclass_fields(about: StructTypeInfo) -> Any:
    """A rule for tyro: its own rule for dataclasses, with other help texts.

    By itself tyro keeps the line breaks of field docstrings, so that sentences break early.
    """
    if not is_dataclass(about.type) or about.type in _being_read:
        return None
    _being_read.add(about.type)
    try:
        spec = ConstructorRegistry.get_struct_spec(about)  # this rule is not asked a second time
    finally:
        _being_read.discard(about.type)
    if not isinstance(spec, StructConstructorSpec):
        return spec
    return replace(spec, fields=tuple(_described(about.type, each) for each in spec.fields))


def _described(kind: type, each: StructFieldSpec) -> StructFieldSpec:
    nothing_to_show = isinstance(each.default, tuple) and not each.default
    option: Any = Annotated[each.type, tyro.conf.arg(help_behavior_hint="")] if nothing_to_show else each.type
    return replace(each, type=option, helptext=partial(field_help, kind, each.name))


def field_help(kind: type, name: str) -> str:
    """The docstring of a dataclass field, its own or inherited; empty if there is none."""
    return reflowed(next((texts[name] for texts in map(_docstrings, kind.__mro__) if name in texts), ""))


def reflowed(text: str) -> str:
    """The text with one line for each paragraph."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


@cache
def _docstrings(kind: type) -> dict[str, str]:
    from docstring_parser import parse_from_object

    if kind is object:
        return {}
    return {entry.arg_name: entry.description or "" for entry in parse_from_object(kind).params}
