"""`cgro figure`: choose stored results and draw them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cgro.base.errors import UserError
from cgro.base.files import StorageError, remove_leftovers, require_writable
from cgro.cli.reading import Rest
from cgro.cli.values import Choice, File, Folder, Names, Results
from cgro.cli.work import Preset, results_folder
from cgro.runs.registry import find, find_all, require

if TYPE_CHECKING:  # imported where work begins
    import xarray as xr

    from cgro.plots.figure import Figure

log = logging.getLogger(__name__)
PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"
"""Results that come with the repository; an installed cgro has none."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw figures as PDF and PNG, with their numbers as CSV, from the newest stored results; without any, from the
    published results in the repository."""

    names: Names = ()
    """Figures to draw, see `cgro list`; by default all that have a result."""
    results: Results = field(default_factory=results_folder)
    preset: Choice[Preset | None] = None
    """Draw the result of this preset; by default the newest result."""
    result: File[Path | None] = None
    """Draw this result file."""
    output: Folder[Path | None] = None
    """Folder for the figures; by default RESULTS/figures."""


def run(options: Options, _rest: Rest) -> int:
    """Draw figures, log which results they come from, and print the files."""
    for name in options.names:
        require("figure", name)  # refuse unknown names at once: imports take longer
    from cgro.plots.output import draw_figure

    if options.result is not None and len(options.names) != 1:
        raise UserError(f"--result {options.result}: one result belongs to one figure; name the figure")
    figures = {name: find("figure", name) for name in options.names} if options.names else find_all("figure")
    chosen = {name: _chosen(each, options) for name, each in figures.items()}
    missing = [name for name, path in chosen.items() if path is None]
    if missing and (options.names or len(missing) == len(chosen)):
        raise _missing(figures[missing[0]].experiment, options)
    for name in missing:
        log.info("%s: no result yet; run `cgro simulate %s`", name, figures[name].experiment)
    output = options.output or options.results / "figures"
    remove_leftovers(output)
    results = {name: (path, _loaded(path, figures[name])) for name, path in chosen.items() if path is not None}
    require_writable(output)
    for name, (path, result) in results.items():
        log.info("%s: drawn from %s", name, path)
        try:
            files = draw_figure(figures[name], name, result, output)
        except StorageError:
            raise
        except UserError as error:
            raise UserError(f"result file {path}: {error}") from error
        except Exception as error:  # values that no experiment makes, e.g. text instead of numbers
            raise UserError(
                f"result file {path}: figure {name} cannot be drawn from it ({type(error).__name__}: {error}); make it "
                f"again with `cgro simulate {figures[name].experiment}`"
            ) from error
        print(*files.values(), sep="\n")
    return 0


def _chosen(figure: Figure, options: Options) -> Path | None:
    """The file to draw: the one asked for, else the newest stored result, else a published one."""
    from cgro.runs import store

    experiment = figure.experiment
    if options.result is not None:
        return options.result
    if options.preset is None:
        stored = sorted((options.results / experiment).glob("*.nc"), key=lambda path: path.stat().st_mtime)
        return stored[-1] if stored else next(_published(experiment, options), None)
    config = find("experiment", experiment).preset(options.preset)
    path = store.result_path(options.results, experiment, config)
    if path.exists():
        return path
    published = (
        p for p in _published(experiment, options) if store.load(p).attrs.get("config") == store.as_json(config)
    )
    return next(published, None)


def _published(experiment: str, options: Options) -> Iterator[Path]:
    """Published results of an experiment, beside the user's results or in the repository that cgro was imported from:
    presets first, the larger before the smaller, then the others."""
    from cgro.runs import store

    rank = {f"{experiment}-paper": 0, f"{experiment}-quick": 1}
    found = {
        path.resolve()
        for folder in (options.results / "published", PUBLISHED)
        for path in folder.glob(f"{experiment}-*.nc")
    }
    for path in sorted(found, key=lambda path: (rank.get(path.stem, 2), path)):
        if store.load(path).attrs.get("experiment") == experiment:
            yield path


def _missing(experiment: str, options: Options) -> UserError:
    preset = "" if options.preset is None else f" --preset {options.preset}"
    return UserError(
        f"{options.results / experiment} must hold a result{preset and f' of{preset}'}, got none; make one with "
        f"`cgro simulate {experiment}{preset} --results {options.results}`, or give a file with --result FILE"
    )


def _loaded(path: Path, figure: Figure) -> xr.Dataset:
    from cgro.runs import store

    try:
        return store.load_result(path, figure.experiment)
    except FileNotFoundError:
        raise UserError(f"result file {path}: not found; give a file that `cgro simulate` printed") from None
