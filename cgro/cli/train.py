"""`cgro train`: train one network on images; the fields of its configuration are options."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from cgro.base.files import require_writable
from cgro.base.machine import available_cores, resolve_device
from cgro.cli.reading import Page, Rest, preset_in, summary
from cgro.cli.values import Choice, DataDir, Flag, Folder, Quiet, Results, Seconds
from cgro.cli.work import results_folder

if TYPE_CHECKING:  # imported where work begins
    import xarray as xr

    from cgro.training.config import TrainingConfig

log = logging.getLogger(__name__)
Preset = Literal["digits", "mnist", "cifar10"]
FILES = ("curves.nc", "best.safetensors", "last.safetensors")
"""Files of a training run; the best network exists only if images were held out to select it."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to train, and where to save checkpoints."""

    results: Results = field(default_factory=results_folder)
    preset: Choice[Preset] = "digits"
    """Data set, network and recipe."""
    output: Folder[Path | None] = None
    """Folder for the checkpoints; by default RESULTS/train/HASH."""
    fresh: Flag = False
    """Start over and delete the checkpoints of this configuration."""
    checkpoint_every: Seconds[float] = 120.0
    """Seconds between checkpoints; one is always saved at the end."""
    quiet: Quiet = False
    data_dir: DataDir = None


def page(words: Sequence[str]) -> Page:
    """The fields of the configuration, with the values of the preset."""
    from cgro.training.config import TrainingConfig

    preset = preset_in(words, get_args(Preset))
    about = (
        f"{summary(TrainingConfig)} Repeat an interrupted command to resume it; `torchrun --nproc-per-node N -m cgro "
        f"train ...` trains on N processes. Defaults are those of --preset {preset}."
    )
    return Page("cgro train", TrainingConfig, getattr(TrainingConfig, preset)(), about)


def run(options: Options, rest: Rest) -> int:
    """Train one network, resuming if possible; print its files and its best and last accuracies."""
    import torch
    from tqdm.contrib.logging import logging_redirect_tqdm

    from cgro.base.work import Progress
    from cgro.runs import store
    from cgro.training.distributed import Team
    from cgro.training.run import TrainingRun

    config: TrainingConfig = rest.fields
    # Processes on one machine share its cores.
    torch.set_num_threads(max(1, available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    team = Team.joined(resolve_device(config.device))
    folder = options.output or options.results / "train" / store.content_hash("train", store.as_json(config))
    require_writable(folder)
    if options.fresh and team.rank == 0:
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
    team.wait()
    curves = _finished(folder, config)
    if curves is not None:
        if team.rank == 0:
            log.info("already trained; --fresh trains again")
            _print_curves(curves)
            _print_files(folder)
        return 0
    store.git_commit()  # cached, so that it is the commit at the start of the run
    start = time.perf_counter()
    run = TrainingRun(config, folder, team=team, every=options.checkpoint_every)
    before = run.trainer.step
    told = team.rank == 0 and not options.quiet
    epochs = logging.getLogger("cgro.training.run")
    epochs.setLevel(logging.DEBUG if told else logging.NOTSET)
    try:
        with bar_of(config.epochs, "epoch", quiet=options.quiet or team.rank > 0) as bar, logging_redirect_tqdm():
            curves = run.run(Progress(bar.update, folder))
    finally:
        epochs.setLevel(logging.NOTSET)
    seconds = time.perf_counter() - start
    if team.rank > 0:
        return 0
    store.save(curves.assign_attrs(store.provenance(config, seconds), experiment="train"), folder / "curves.nc")
    images = (run.trainer.step - before) * config.batch_size
    if images:
        log.info("%.0f s, %.0f images/s including evaluations", seconds, images / seconds)
    _print_curves(curves)
    _print_files(folder)
    return 0


def _finished(folder: Path, config: TrainingConfig) -> xr.Dataset | None:
    """The learning curves of a finished run of this configuration, if all its files exist.

    Raises: UserError for a file that is damaged or of another configuration.
    """
    from cgro.runs import store
    from cgro.training.checkpoint import Checkpoint
    from cgro.training.record import require_config

    names = [name for name in FILES if config.held_out or name != "best.safetensors"]
    if not all((folder / name).exists() for name in names):
        return None
    curves = store.load(folder / "curves.nc")
    store.require_same_files(f"result file {folder / 'curves.nc'}", curves.attrs, config)
    for name in names[1:]:
        require_config(folder / name, Checkpoint.load(folder / name), config)
    ended = "epoch" in curves.coords and curves["epoch"].values[-1:].tolist() == [config.epochs]
    whole = ended and {"held_out_images", "best_epoch"} <= curves.attrs.keys()
    return curves if whole and curves.attrs.get("config") == store.as_json(config) else None


def _print_files(folder: Path) -> None:
    if not (folder / "best.safetensors").exists():
        log.info("no images were held out to select the best checkpoint: only the last one is saved")
    print(*(folder / name for name in FILES if (folder / name).exists()), sep="\n")


def _print_curves(curves: xr.Dataset) -> None:
    """Print the accuracies at the best and the last epoch."""
    from cgro.training.run import PARTS

    epochs = {"last": int(curves["epoch"][-1])}
    if curves.attrs["held_out_images"]:
        epochs = {"best": int(curves.attrs["best_epoch"])} | epochs
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("accuracy, %")
    for label, epoch in epochs.items():
        table.add_column(f"{label} epoch ({epoch})", justify="right")
    for part, called in PARTS.items():
        for kind in ("clean", "robust"):
            name = f"{kind}_{part}_accuracy"
            if name in curves:
                values = (100 * float(curves[name].sel(epoch=epoch)) for epoch in epochs.values())
                table.add_row(f"{kind} {called}", *(f"{value:.1f}" for value in values))
    Console().print(table)


@contextmanager
def bar_of(total: float, unit: str, *, quiet: bool) -> Iterator[tqdm]:
    """A progress bar that closes when the block ends."""
    bar_format = "{l_bar}{bar}| {n:.1f}/{total:.0f} {unit} [{elapsed}<{remaining}, {rate_fmt}]"
    with tqdm(total=total, unit=unit, disable=quiet, leave=False, smoothing=0.1, bar_format=bar_format) as bar:
        yield bar
