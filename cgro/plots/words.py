"""Words that captions share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def method(attrs: Mapping[str, Any]) -> str:
    """How the networks of a result were trained."""
    return str(attrs.get("method", "PGD adversarial training"))


def ball(attrs: Mapping[str, Any]) -> str:
    """The perturbations of a result: norm and radius."""
    return f"l_{attrs.get('norm', 'inf')} radius {attrs['radius']:.3g}"
