"""Types of option values: how each is read from text, with errors of one line.

A command writes `jobs: Jobs[int | None] = None`. Fields of configurations need no annotation: `REGISTRY` reads numbers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from cgro.base.errors import UserError
from cgro.base.numerals import read_fraction, read_integer, read_number
from cgro.runs.workers import require_jobs

T = TypeVar("T")


def _type(read: Callable[[str], Any], metavar: str) -> PrimitiveConstructorSpec[Any]:
    def value(words: list[str]) -> Any:
        try:
            return read(words[0])
        except UserError as error:
            problem = str(error)
        raise ValueError(problem)  # not a UserError: the message lacks the name of the option

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=value,
        is_instance=lambda _: True,
        str_from_instance=lambda value: [str(value)],
    )


def _text(text: str) -> str:
    if not text:
        raise UserError("must not be empty")
    return text


def _file(text: str, kind: str = "file") -> Path:
    if not text:
        raise UserError(f"must name a {kind}, got ''")
    return Path(text)


def _folder(text: str) -> Path:
    path = _file(text, "folder")
    if os.path.exists(path) and not path.is_dir():
        raise UserError(f"must name a folder, got the file {text}")
    return path


def _count(text: str, low: int = 0) -> int:
    # Digits of other scripts are decimal too.
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) < low:
        raise UserError(f"must be a {'positive' if low else 'non-negative'} integer, got {text!r}")
    return int(text)


def _jobs(text: str) -> int:
    require_jobs(_count(text, 1))
    return int(text)


def _seconds(text: str) -> float:
    with suppress(UserError):
        if 0 < (value := read_number(text)) < math.inf:
            return value
    raise UserError(f"must be a number of seconds above 0, got {text!r}")


_DEFAULT = tyro.conf.arg(help_behavior_hint=lambda value: "" if value == "None" else f"(default: {value})")
Name = Annotated[T, _type(_text, "NAME"), _DEFAULT]
"""Non-empty text."""
Address = Annotated[T, _type(_text, "ADDRESS"), _DEFAULT]
File = Annotated[T, _type(_file, "FILE"), _DEFAULT]
Folder = Annotated[T, _type(_folder, "DIR"), _DEFAULT]
Count = Annotated[T, _type(_count, "N"), _DEFAULT]
"""0, 1, 2, ..."""
Positive = Annotated[T, _type(partial(_count, low=1), "N"), _DEFAULT]
"""1, 2, ..."""
Jobs = Annotated[T, _type(_jobs, "N"), _DEFAULT]
Fraction = Annotated[T, _type(read_fraction, "X"), _DEFAULT]
"""A number or a quotient such as 8/255."""
Seconds = Annotated[T, _type(_seconds, "S"), _DEFAULT]
"""A finite time above 0."""
Choice = Annotated[T, _DEFAULT]
"""A Literal, or None as a default."""
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")]
"""False unless given."""
Results = Annotated[Folder[Path], tyro.conf.arg(help="Folder for results; $CGRO_RESULTS sets the default.")]
DataDir = Annotated[Folder[Path | None], tyro.conf.arg(help="Folder of image data sets; by default $CGRO_DATA.")]
Quiet = Annotated[Flag, tyro.conf.arg(help="Show no progress, only the result.")]
Names = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAME ...]", help_behavior_hint="")]
"""Positional arguments."""

REGISTRY = ConstructorRegistry()


@REGISTRY.primitive_rule
def _choices(about: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """One of the values of a Literal."""
    literal = next((kind for kind in (about.type, *get_args(about.type)) if get_origin(kind) is Literal), None)
    if literal is None:
        return None
    allowed = get_args(literal)

    def read(text: str) -> str:
        if text not in allowed:
            raise UserError(f"must be one of {', '.join(map(repr, allowed))}, got {text!r}")
        return text

    return _type(read, f"{{{','.join(allowed)}}}")


@REGISTRY.primitive_rule
def _series(about: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Any number of values; unlike tyro's own rule, it says which one is wrong."""
    kinds = get_args(about.type)
    if get_origin(about.type) is not tuple or kinds[1:] != (...,):
        return None
    one = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kinds[0], about.markers))
    if not isinstance(one, PrimitiveConstructorSpec):  # e.g. a dataclass
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"[{one.metavar} ...]",
        instance_from_str=lambda words: tuple(one.instance_from_str([word]) for word in words),
        is_instance=lambda _: True,
        str_from_instance=lambda values: [word for value in values for word in one.str_from_instance(value)],
    )


@REGISTRY.primitive_rule
def _numbers(about: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Integers and real numbers as `cgro.base.numerals` reads them, real numbers also as quotients; or None."""
    kinds = set(get_args(about.type)) or {about.type}
    if kinds - {NoneType} not in ({int}, {float}):
        return None

    def read(text: str) -> float | None:
        if text == "None" and NoneType in kinds:
            return None
        return read_integer(text) if int in kinds else read_fraction(text) if "/" in text else read_number(text)

    return _type(read, ("INT" if int in kinds else "FLOAT") + ("|None" if NoneType in kinds else ""))
