"""Fields that were added to a dataclass after results of it were stored."""

from __future__ import annotations

from dataclasses import field, fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")
_LATER = "cgro.later"


def later(default: T) -> T:
    """A field that was added later, and whose default does what was done before.

    At its default it is left out of stored configurations, so that earlier results keep their names and stay valid.
    """
    return field(default=default, metadata={_LATER: True})


def plain(value: Any) -> Any:
    """Dataclasses inside a value as dicts, like `dataclasses.asdict`, without later fields at their defaults."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = [f for f in fields(value) if not (_LATER in f.metadata and getattr(value, f.name) == f.default)]
        return {f.name: plain(getattr(value, f.name)) for f in kept}
    if isinstance(value, dict):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
