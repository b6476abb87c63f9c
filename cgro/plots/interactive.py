"""A map to explore in a page: values of a cell under the pointer, its trajectory after a click. Needs no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from jinja2 import Environment, PackageLoader, StrictUndefined

_DIGITS = 4
"""Significant digits of the numbers in the page."""


@dataclass(frozen=True)
class Scale:
    """One axis of the map."""

    label: str
    """With its symbol, as plain text."""
    values: Sequence[float]
    """Increasing."""
    log: bool


@dataclass(frozen=True)
class Path:
    """One quantity along the trajectories."""

    label: str
    color: str
    values: Float[np.ndarray, "y x steps"]
    chart: int
    """0: the upper chart, in nats; 1: the lower chart, errors as fractions."""


@dataclass(frozen=True)
class Map:
    """A map of errors over two axes, with a curve, and the trajectory of every cell."""

    title: str
    x: Scale
    y: Scale
    panels: Mapping[str, Float[np.ndarray, "y x"]]
    """Errors by name, as fractions; the first is shown first. NaN: not trained."""
    curve: Float[np.ndarray, " y"]
    """x of a predicted boundary in each row; NaN where there is none."""
    curve_label: str
    steps: Sequence[int]
    paths: Sequence[Path]
    selected: tuple[int, int]
    """Row and column of the cell whose trajectory is shown first."""

    def html(self, name: str) -> str:
        """A part of a page, without references to anything outside of it; `name` is its unique id, a-z and hyphens."""
        environment = Environment(loader=PackageLoader("cgro.plots", "."), autoescape=True, undefined=StrictUndefined)
        return environment.get_template("interactive.html").render(
            name=name, title=self.title, data=_json(self._data()), panels=list(self.panels)
        )

    def _data(self) -> dict[str, object]:
        return {
            "x": {"label": self.x.label, "values": list(self.x.values), "log": self.x.log},
            "y": {"label": self.y.label, "values": list(self.y.values), "log": self.y.log},
            "panels": {label: _rounded(values) for label, values in self.panels.items()},
            "curve": _rounded(self.curve),
            "curveLabel": self.curve_label,
            "steps": list(self.steps),
            "paths": [
                {"label": p.label, "color": p.color, "chart": p.chart, "values": _rounded(p.values)} for p in self.paths
            ],
            "selected": list(self.selected),
        }


def _rounded(values: np.ndarray) -> list[object]:
    """Nested lists with few digits; None for what is not finite, which JSON cannot hold."""
    flat = [float(f"{v:.{_DIGITS}g}") if np.isfinite(v) else None for v in np.ravel(values).tolist()]
    nested: list[object] = np.array(flat, dtype=object).reshape(np.shape(values)).tolist()
    return nested


def _json(data: dict[str, object]) -> str:
    """JSON that may stand in a script element."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
