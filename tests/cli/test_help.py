"""Help pages: the docstrings of fields are prose, and prose breaks at the margin only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import tyro

from cgro.cli.reading import Page, read


@dataclass(frozen=True)
class Inner:
    depth: int = 2
    """A sentence that the source wraps
    (in the middle)."""


@dataclass(frozen=True)
class Base:
    inner: Annotated[Inner, tyro.conf.arg(name="")] = field(default_factory=Inner)
    """Nested fields."""
    seeds: int = 1
    """Another sentence that the source
    wraps.

    A second paragraph."""


@dataclass(frozen=True)
class Fields(Base):
    classes: tuple[int, ...] = ()
    """Without a
    default."""


def page(capsys: pytest.CaptureFixture[str], kind: type, defaults: Any) -> list[str]:
    with pytest.raises(SystemExit):
        read(Options, ["--help"], Page("cgro test", kind, defaults))
    return [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options."""

    quiet: bool = False


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def test_docstrings_are_reflowed(capsys: pytest.CaptureFixture[str]) -> None:
    shown = page(capsys, Fields, Fields(Inner(depth=3), seeds=5))
    assert any(line.endswith("A sentence that the source wraps (in the middle). (default: 3)") for line in shown)
    assert any(line.endswith("Another sentence that the source wraps.") for line in shown)
    assert any(line.endswith("A second paragraph. (default: 5)") for line in shown)


def test_no_default_is_shown_where_there_is_nothing_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert any(line.endswith("Without a default.") for line in page(capsys, Fields, Fields()))
