"""Stored results in results/published, their pictures, captions and tables, and where they came from."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import xarray as xr

from cgro.base.errors import UserError
from cgro.plots.figure import Figure, Table
from cgro.plots.interactive import Map
from cgro.plots.output import draw_figure
from cgro.runs import store
from cgro.runs.inventory import Result, results_in
from website import known
from website.ledger import ROOT
from website.text import cell, plain, table

FOLDER = ROOT / "results" / "published"


@dataclass(frozen=True)
class Picture:
    """A figure of one stored result."""

    name: str
    """Name of the picture's file, without its ending: the figure's, and what is particular about the result."""
    figure: str
    result: str
    """Name of the result's file, without its ending."""
    path: Path
    caption: str
    """What it shows, with the numbers of the result."""
    table: Table | None

    @property
    def title(self) -> str:
        """Title of the figure."""
        return figures()[self.figure].title

    @property
    def legend(self) -> str:
        """Title and caption in Markdown."""
        return f"*{self.title}{'' if self.title.endswith('?') else '.'}* {plain(self.caption)}"

    @property
    def experiment(self) -> str:
        """The experiment whose result it shows."""
        return figures()[self.figure].experiment

    @property
    def words(self) -> str:
        """What is particular about the result, e.g. its data."""
        return self.result.removeprefix(f"{self.experiment}-")


@cache
def figures() -> Mapping[str, Figure]:
    """All figures by name, in the order of the report."""
    found: Mapping[str, Figure] = known.objects("figure")
    return dict(sorted(found.items(), key=lambda each: (each[1].order, each[0])))


@cache
def results() -> Mapping[str, Result]:
    """All stored results of experiments by file name, without their values; those of the quick presets last."""
    found = {each.path.stem: each for each in results_in(FOLDER) if each.experiment in known.titles("experiment")}
    return dict(sorted(found.items(), key=lambda each: (_scale(each[0]), -float(each[1].attributes["wall_seconds"]))))


@cache
def values(name: str) -> xr.Dataset:
    """A stored result."""
    return store.load(FOLDER / f"{name}.nc")


def _scale(name: str) -> int:
    return 0 if name.endswith("-paper") else 2 if name.endswith("-quick") else 1


def results_of(experiment: str) -> list[str]:
    """Names of the stored results of an experiment, the largest first; quick ones only if there are no others."""
    found = [name for name, result in results().items() if result.experiment == experiment]
    return [name for name in found if not name.endswith("-quick")] or found


def pictures(drawn: Path) -> tuple[Picture, ...]:
    """All published pictures; a figure without one is drawn into the folder `drawn` from its largest result.

    Captions and tables take seconds, as some of them resample; two processes share them.
    """
    wanted = [each for figure in figures() for each in _pictures_of(figure, drawn)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return tuple(pool.starmap(_told, wanted, chunksize=1))


def _pictures_of(figure: str, drawn: Path) -> list[tuple[str, str, str, Path]]:
    """Name, figure, result and path of each picture of a figure."""
    experiment = figures()[figure].experiment
    published = [
        path for path in sorted((FOLDER / "figures").glob(f"{figure}*.png")) if _figure_of(path.stem) == figure
    ]
    found = [
        (path.stem, figure, f"{experiment}-{path.stem.removeprefix(figure).removeprefix('-') or 'quick'}", path)
        for path in published
    ]
    if not found:
        drawable = (name for name in results_of(experiment) if _has_what_it_needs(figure, name))
        found = [(figure, figure, name, drawn / f"{figure}.png") for name in islice(drawable, 1)]
    return sorted(found, key=lambda each: list(results()).index(each[2]))


def _has_what_it_needs(figure: str, result: str) -> bool:
    try:
        figures()[figure].require(figure, values(result))
    except UserError:
        return False
    return True


def _figure_of(stem: str) -> str:
    return max((name for name in figures() if stem == name or stem.startswith(f"{name}-")), key=len)


def _told(name: str, figure: str, result: str, path: Path) -> Picture:
    about = figures()[figure]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_figure(about, figure, values(result), path.parent, kinds=("png",))
    made = about.table(values(result)) if about.table is not None else None
    return Picture(name, figure, result, path, about.caption(values(result)), made)


def map_of(experiment: str) -> tuple[str, Map] | None:
    """A map to explore, from the largest result of an experiment that has what it takes, and that result's name."""
    names = [name for name, result in results().items() if result.experiment == experiment]
    for about in figures().values():
        if about.experiment == experiment and about.interactive is not None:
            for name in names:
                if (found := about.interactive(values(name))) is not None:
                    return name, found
    return None


def provenance(name: str) -> str:
    """Where a stored result came from, as a table."""
    attributes = results()[name].attributes
    libraries = json.loads(attributes["library_versions"])
    facts = {
        "file": cell(f"results/published/{name}.nc"),
        "command": cell(str(attributes.get("command", "-"))),
        "commit": cell(str(attributes["git_commit"])[:12]),
        "device": plain(str(attributes["device"])),
        "versions": plain(", ".join(f"{library} {version}" for library, version in libraries.items())),
        "created": plain(str(attributes["created"])),
        "wall time": f"{float(attributes['wall_seconds']):,.0f} s",
    }
    return table(["provenance", ""], [[key, value] for key, value in facts.items()])
