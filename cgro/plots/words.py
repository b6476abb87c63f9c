"""Words that captions share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def method(attrs: Mapping[str, Any]) -> str:
    """How the networks of a result were trained."""
    return str(attrs.get("method", "PGD adversarial training"))


def lines(seeds: int) -> str:
    """What lines and bands of runs with several seeds are."""
    if seeds == 1:
        return "Lines are of one seed."
    return f"Lines are means over {seeds} seeds, bands reach from the smallest to the largest."


def ball(attrs: Mapping[str, Any]) -> str:
    """The perturbations of a result: norm and radius."""
    return f"l_{attrs.get('norm', 'inf')} radius {attrs['radius']:.3g}"
