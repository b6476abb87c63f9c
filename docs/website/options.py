"""The options of an experiment: the fields of its configuration, with those of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cgro.cli.help_texts import field_help
from website.text import cell, plain, table

_WORDS = {"int": "integer", "float": "number", "str": "text", "bool": "yes or no", "NoneType": "None"}


@dataclass(frozen=True)
class Option:
    """One option of the command line."""

    flag: str
    kind: str
    """Its type in words."""
    values: tuple[str, ...]
    """Its value in each preset."""
    about: str


def options(presets: tuple[Any, ...], prefix: str = "") -> Iterator[Option]:
    """The options of a configuration, given as instances of the same dataclass, one for each preset."""
    config = type(presets[0])
    hints = get_type_hints(config, include_extras=True)
    for field in fields(config):
        values = tuple(getattr(preset, field.name) for preset in presets)
        name = _named(hints[field.name], field.name)
        if is_dataclass(values[0]):
            yield from options(values, f"{prefix}{name}." if name else prefix)
            continue
        flag = f"--{prefix}{name}".replace("_", "-")
        yield Option(flag, _kind(hints[field.name]), tuple(map(shown, values)), field_help(config, field.name))


def options_table(presets: tuple[Any, ...], names: tuple[str, ...]) -> str:
    """The same as a table, with a column for each preset."""
    rows = [
        [cell(option.flag), plain(option.kind), *map(cell, option.values), plain(option.about)]
        for option in options(presets)
    ]
    return table(["option", "type", *names, "meaning"], rows)


def kind_of(config: type, name: str) -> str:
    """The type of a field, in words."""
    return _kind(get_type_hints(config, include_extras=True)[name])


def shown(value: Any) -> str:
    """A default as it is typed; nothing if there is none."""
    if value is MISSING:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list):
        return " ".join(map(shown, value)) or "()"
    return str(value)


def _named(hint: Any, name: str) -> str:
    """The name of an option; parts may have another one, or none."""
    given = [extra.name for extra in getattr(hint, "__metadata__", ()) if hasattr(extra, "name")]
    return next((other for other in given if other is not None), name)


def _kind(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        named = (getattr(extra, "constructor", None) for extra in hint.__metadata__)
        return _kind(next((each for each in named if get_origin(each) is Literal), arguments[0]))
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_kind, arguments)))
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    name = getattr(hint, "__name__", str(hint))
    return _WORDS.get(name, name)
