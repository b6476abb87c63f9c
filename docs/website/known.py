"""Experiments, checks and figures by name, looked up once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from cgro.runs import registry
from cgro.runs.registry import Kind


@cache
def objects(kind: Kind) -> Mapping[str, Any]:
    """All objects of that kind."""
    return registry.find_all(kind)


@cache
def titles(kind: Kind) -> Mapping[str, str]:
    """Their titles; of checks their statements."""
    return registry.titles(kind)


@cache
def sources(kind: Kind) -> Mapping[str, str]:
    """Their source code."""
    return {name: path.read_text(encoding="utf-8") for name, path in registry.files(kind).items()}
