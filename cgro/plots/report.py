"""The report: one self-contained page with all figures, their captions, configurations and commands, and tables."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined

from cgro.base.files import write_whole
from cgro.claims.claim import Claim, Verdict
from cgro.plots.figure import Figure, Table
from cgro.plots.words import found_words, slack_words
from cgro.runs.store import stored_config


@dataclass(frozen=True)
class Section:
    """One figure with its caption, command, configuration and table."""

    name: str
    title: str
    caption: str
    image: str
    """The PNG in base64."""
    command: str
    preset_option: str
    config: list[tuple[str, str]]
    table: Table | None
    explore: str
    """A part of the page to explore the result; may be empty."""

    @classmethod
    def of(cls, name: str, figure: Figure, result: xr.Dataset, files: Mapping[str, Path]) -> Section:
        """The section of a drawn figure."""
        explore = figure.interactive(result) if figure.interactive is not None else None
        command = str(result.attrs.get("command", f"cgro simulate {figure.experiment}"))
        return cls(
            name=name,
            title=figure.title,
            caption=figure.caption(result),
            image=base64.b64encode(files["png"].read_bytes()).decode(),
            command=command,
            preset_option=" --preset paper" if "--preset paper" in command else "",
            config=list(_flat(stored_config(result))),
            table=figure.table(result) if figure.table is not None else None,
            explore=explore.html(f"{name}-explore") if explore is not None else "",
        )


@dataclass(frozen=True)
class Check:
    """One claim with its verdict, ready to print."""

    verdict: Verdict
    about: str
    """What the check does, from its docstring."""
    picture: str
    """A PNG in base64; may be empty."""

    @classmethod
    def of(cls, verdict: Verdict, claim: Claim, data: xr.Dataset) -> Check:
        """A verdict with the picture that the claim draws of the check's numbers, if any."""
        from cgro.plots.output import picture  # imports matplotlib, which rows alone do not need

        drawn = picture(claim.draw, data) if claim.draw is not None and data else b""
        return cls(verdict, claim.about, base64.b64encode(drawn).decode())

    @property
    def found(self) -> str:
        """See `found_words`."""
        return found_words(self.verdict)

    @property
    def slack(self) -> str:
        """See `slack_words`."""
        return slack_words(self.verdict)

    @property
    def verdict_class(self) -> str:
        """CSS class of the verdict."""
        if self.verdict.outcome == "holds":
            return "yes" if self.verdict.as_expected else "no"
        return "soft" if self.verdict.outcome == "undecided" else "known" if self.verdict.known_wrong else "no"


@dataclass(frozen=True)
class Top:
    """What the page opens with: a minute of reading."""

    messages: Sequence[tuple[str, str, str]]
    """Heading, sentences, and the name of the figure that they come from."""
    highlights: Sequence[tuple[str, str]]
    """A number and its meaning."""

    @classmethod
    def of(cls, figures: Mapping[str, Figure], results: Mapping[str, xr.Dataset]) -> Top:
        """The messages and highlights of figures whose experiments have results; figures in the order of the page."""
        drawn = {name: (figure, results[figure.experiment]) for name, figure in figures.items()}
        told = [
            (heading, figure.message(result), name)
            for name, heading in _HEADINGS.items()
            if name in drawn
            for figure, result in [drawn[name]]
            if figure.message is not None
        ]
        return cls(told, [f.highlight(result) for f, result in drawn.values() if f.highlight is not None])


_HEADINGS = {
    "image-cgro": "The phenomenon",
    "phase-transition": "Three stages",
    "phase-diagram": "Where the transition lies",
    "certified-transition": "What is proved",
}
"""Figures whose messages open the page."""


def write_report(
    path: Path, sections: Sequence[Section], results: Mapping[str, xr.Dataset], top: Top, checks: Sequence[Check]
) -> Path:
    """Write the page atomically. Raises: UserError if the folder cannot be written."""
    environment = Environment(
        loader=PackageLoader("cgro.plots", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    page = environment.get_template("report.html").render(
        sections=sections,
        provenance=[_provenance(name, result) for name, result in results.items()],
        top=top,
        checks=checks,
        verdict_class={"agrees": "yes", "differs": "no"},
        outcomes=_counted(check.verdict.words for check in checks),
        evidence=_counted(check.verdict.evidence for check in checks),
    )
    write_whole(path, page.encode())
    return path


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in Counter(words).most_common())


def _provenance(name: str, result: xr.Dataset) -> dict[str, str]:
    libraries = json.loads(result.attrs["library_versions"])
    return {
        "name": name,
        "commit": str(result.attrs["git_commit"])[:12],
        "device": str(result.attrs["device"]),
        "libraries": ", ".join(f"{key} {value}" for key, value in libraries.items()),
        "created": str(result.attrs["created"]),
        "wall": f"{result.attrs['wall_seconds']:.0f}",
    }


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value)
