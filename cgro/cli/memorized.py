"""`cgro memorized`: which training images a network memorizes, which of them help, and which harm."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table

from cgro.base.errors import AccuracyWarning, UserError
from cgro.base.files import remove_leftovers, require_writable
from cgro.base.machine import available_cores, computes_on_gpu
from cgro.cli.reading import Page, Rest
from cgro.cli.values import Flag, Folder, Name
from cgro.cli.work import Running, stored_context
from cgro.data.catalog import SHAPES
from cgro.memorization.plan import Scoring
from cgro.training.config import TrainingConfig

if TYPE_CHECKING:  # imported where work begins
    import xarray as xr

    from cgro.data.user_images import UserImages
    from cgro.memorization.subset_models import Study

log = logging.getLogger(__name__)
RESULT, SCORES, SHEET = FILES = ("memorization.nc", "scores.csv", "sheet.png")
"""Files of the output folder."""
WORTH_A_LOOK = 0.25
"""Memorization from which Feldman & Zhang call an image memorized."""


@dataclass(frozen=True, kw_only=True)
class Options(Running):
    """Which training images a network memorizes: scores with error bars from models on random subsets."""

    images: Annotated[Name[str], tyro.conf.Positional, tyro.conf.arg(metavar="FILE-or-DATA")]
    """An .npz file with the arrays images and labels, and optionally test_images and test_labels; a folder with a
    subfolder of images for each class, optionally below train and test; or digits, mnist, cifar10, cifar100."""
    output: Folder[Path | None] = None
    """Folder for scores.csv, sheet.png and memorization.nc; by default RESULTS/memorized/HASH."""
    fresh: Flag = False
    """Train all models again."""


@dataclass(frozen=True)
class Memorized(Scoring):
    """All that determines the result."""

    file: str = ""
    """PATH@DIGEST of the images; empty: the data set of the training."""

    @property
    def source(self) -> str:
        return self.file


def page(words: Sequence[str]) -> Page:
    """Configuration of the subset models, with defaults for the data set."""
    if not words or (words[0].startswith("-") and not {"-h", "--help"} & set(words)):
        raise UserError("required: FILE or DATA, before the options; see `cgro memorized --help`")
    data = words[0] if words[0] in SHAPES else "a file or folder"
    about = (
        "Which training images an adversarially trained network memorizes, which help and which harm: scores with "
        "error bars from many models on random subsets (Feldman & Zhang, NeurIPS 2020), cheap scores, a table and a "
        f"contact sheet. Repeat an interrupted command to resume it. Defaults are those for {data}."
    )
    return Page("cgro memorized", Scoring, Scoring(_training(words[0]), threshold=WORTH_A_LOOK), about)


def run(options: Options, rest: Rest) -> int:
    """Train or read all models, write the files, print a table and the paths."""
    config, own = _config(options, rest.fields)
    from cgro.memorization.subset_models import Study
    from cgro.runs import store

    study = Study.of(config.training, config.tampering, config.file)
    config.require_images(len(study.train))
    folder = options.output or options.results / "memorized" / store.content_hash("memorized", store.as_json(config))
    require_writable(folder)
    remove_leftovers(folder)
    found = None if options.fresh else _finished(folder, config)
    if found is None:
        found = _computed(config, study, own, options)
        _write(folder, found, study)
    else:
        log.info("already there; --fresh computes it again")
    _warn(found, config)
    _print(found, study)
    print(*(folder / name for name in FILES), sep="\n")
    return 0


def _training(data: str) -> TrainingConfig:
    """The default training on a data set, or on images of a user."""
    if data not in SHAPES:
        return TrainingConfig(data="own", samples=None, held_out=0, radius=8 / 255)
    preset = {"digits": TrainingConfig.digits, "mnist": TrainingConfig.mnist}.get(data, TrainingConfig.cifar10)()
    return replace(preset, data=data, held_out=0)  # type: ignore[arg-type]


def _config(options: Options, scoring: Scoring) -> tuple[Memorized, UserImages | None]:
    """What is to be computed, and the images of a user. Raises: UserError for images that cannot be read."""
    from cgro.data.user_images import read_user_images
    from cgro.runs.registry import did_you_mean

    named = scoring.training.data
    expected = options.images if options.images in SHAPES else "own"
    if named != expected:
        raise UserError(f"--data {named}: the images are already named, {options.images}; give {named} in their place")
    own = None
    if named == "own":
        if not os.path.exists(options.images) and os.sep not in options.images:
            hint = did_you_mean(options.images, SHAPES, cutoff=0.6)
            raise UserError(
                f"{options.images}: neither a file, a folder, nor one of the data sets {', '.join(SHAPES)}; {hint}give "
                "an .npz file with the arrays images and labels, or a folder with a subfolder of images for each class"
            )
        own = read_user_images(options.images)
        for note in own.notes:
            log.info("%s: %s", options.images, note)
    given = {each.name: getattr(scoring, each.name) for each in fields(Scoring)}
    return Memorized(**given, file=own.recorded if own else ""), own


def _computed(config: Memorized, study: Study, own: UserImages | None, options: Options) -> xr.Dataset:
    """All scores, and the names of images and classes."""
    from cgro.memorization.study import studied, track
    from cgro.memorization.subset_models import train_subset_models
    from cgro.runs import store

    store.git_commit()  # cached, so that it is the commit at the start of the run
    start = time.perf_counter()
    jobs = options.jobs or (1 if computes_on_gpu(config) else available_cores())
    with stored_context(options, "memorized", jobs) as context:
        parts = context.map(train_subset_models, config.subset_cells)
        runs = context.map(track, config.tracked_cells)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # `_warn` tells it in the words of the command
        found = studied(parts, runs, chance=config.chance, least=config.threshold)
    if not len(study.test):
        found = found.drop_dims("test")
    names = _names(config, own)
    found["class_name"] = ("class", names, {"long_name": "Name of the class"})
    if own and own.files:
        files = [own.files[i] for i in study.data.index.tolist()]
        found["file"] = ("sample", files, {"long_name": "Image file"})
    made = store.provenance(config, time.perf_counter() - start)
    return found.assign_attrs(made, experiment="memorized", data=options.images)


def _names(config: Memorized, own: UserImages | None) -> list[str]:
    """Name of each class that is trained on."""
    from cgro.data.catalog import CLASSES

    names = own.classes if own else CLASSES[config.training.data]
    return [names[k] for k in config.training.classes or range(len(names))]


def _finished(folder: Path, config: Memorized) -> xr.Dataset | None:
    """The result of this configuration, if all files exist. Raises: UserError for one that is damaged or of another."""
    from cgro.runs import store

    if not all((folder / name).is_file() for name in FILES):
        return None
    found = store.load_result(folder / RESULT, "memorized", config)
    store.require_same_files(f"result file {folder / RESULT}", found.attrs, config)
    return found


def _write(folder: Path, found: xr.Dataset, study: Study) -> None:
    """Write all files, the result last: with it they are complete."""
    from cgro.base.files import write_whole
    from cgro.memorization.score_table import as_csv
    from cgro.plots.contact_sheet import contact_sheet, memorized_strips
    from cgro.plots.output import picture
    from cgro.runs import store

    write_whole(folder / SCORES, as_csv(found).encode())
    pixels = study.train.scaled(study.train.pixels).contiguous().cpu().numpy()
    sheet = picture(lambda result: contact_sheet(memorized_strips(result, pixels)), found)
    write_whole(folder / SHEET, sheet)
    store.save(found, folder / RESULT)


def _warn(found: xr.Dataset, config: Memorized) -> None:
    """Warn about images without a score, and about too few models for the threshold."""
    from cgro.memorization.chance import models_needed

    scores = found["memorization"].values[0]
    unknown = int((scores != scores).sum())
    if unknown:
        log.warning(
            "warning: no score for %d of %d images, in the subsets of all %d models or of none; give more --models",
            unknown, len(scores), config.models,
        )  # fmt: skip
    reached = float(found["memorization_threshold"].max())
    if 0 < config.threshold < reached - 1e-9:
        # The largest noise is that of images which half of the models classify correctly.
        needed = models_needed(config.threshold, config.chance, 0.5, config.ratio, len(scores))
        log.warning(
            "warning: %d models tell memorization from chance only above %.2f; for %g give --models %d",
            config.models, reached, config.threshold, max(needed, config.models + 1),
        )  # fmt: skip
    if "harm" not in found:
        log.warning("warning: without test images there is no influence: which images harm cannot be told")


def _print(found: xr.Dataset, study: Study) -> None:
    """Print sizes, reliability, thresholds and counts for each criterion."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(f"{len(study.train):,} training images, {len(study.test):,} test images")
    for criterion in found["criterion"].values:
        table.add_column(f"{criterion}", justify="right")
    rows: list[tuple[str, str, str]] = [
        ("reliability of the memorization", "reliability", ".2f"),
        ("atypical above a memorization of", "memorization_threshold", ".2f"),
        ("atypical training images", "atypical", ",.0f"),
        ("harmful training images", "harmful", ",.0f"),
    ]
    table.add_row("models", *(f"{found.attrs['models']:,}" for _ in found["criterion"].values))
    for words, name, shown in rows:
        if name in found:
            values = found[name].sum("sample") if "sample" in found[name].dims else found[name]
            table.add_row(
                words, *(format(value, shown) if value == value else "unknown" for value in map(float, values))
            )
    Console().print(table)
