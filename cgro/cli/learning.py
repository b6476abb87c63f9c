"""What `cgro train` and `cgro evaluate` do."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from rich.console import Console
from rich.table import Table
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from cgro.attacks.ball import Budget
from cgro.attacks.evaluation import Evaluation, wilson
from cgro.base.errors import UserError
from cgro.base.files import require_writable, write_whole
from cgro.base.machine import available_cores, resolve_device
from cgro.base.validate import integer
from cgro.base.work import Progress
from cgro.cli.configure import parse_dataclass
from cgro.data.batches import Images
from cgro.models.convolutional import parameter_count
from cgro.runs import store
from cgro.runs.filetypes import what_is
from cgro.training.checkpoint import Checkpoint
from cgro.training.config import TrainingConfig
from cgro.training.distributed import Team
from cgro.training.evaluation import evaluate_network
from cgro.training.limits import LOWEST, MANY, pixels_of, require_radius
from cgro.training.record import last_epoch, processes_of, require_config
from cgro.training.run import PARTS, Data, TrainingRun, load_model

log = logging.getLogger(__name__)
CONFIDENCE = 0.95


def train(options: argparse.Namespace, fields: Sequence[str]) -> int:
    """Train, or go on with, one network; print its files and its best and last accuracies."""
    config = parse_dataclass(
        TrainingConfig,
        "cgro train",
        f"{(TrainingConfig.__doc__ or '').partition(chr(10))[0]} Defaults are those of --preset {options.preset}.",
        options,
        fields,
        default=getattr(TrainingConfig, options.preset)(),
    )
    # Processes of one machine share its cores.
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
            log.info("trained already; --fresh trains anew")
            _print_curves(curves)
            _print_files(folder)
        return 0
    store.git_commit()  # remembered as it is now
    start = time.perf_counter()
    run = TrainingRun(config, folder, team=team, every=options.checkpoint_every)
    before = run.trainer.step
    told = team.rank == 0 and not options.quiet
    logging.getLogger("cgro.training.run").setLevel(logging.DEBUG if told else logging.NOTSET)
    with _bar(config.epochs, "epoch", quiet=options.quiet or team.rank > 0) as bar, logging_redirect_tqdm():
        curves = run.run(Progress(bar.update, folder))
    seconds = time.perf_counter() - start
    if team.rank > 0:
        return 0
    store.save(curves.assign_attrs(store.provenance(config, seconds), experiment="train"), folder / "curves.nc")
    images = (run.trainer.step - before) * config.batch_size
    if images:
        log.info("%.0f s, %.0f images/s with evaluations", seconds, images / seconds)
    _print_curves(curves)
    _print_files(folder)
    return 0


FILES = ("curves.nc", "best.safetensors", "last.safetensors")
"""What a training run leaves; the best network, if images were held out to choose it by."""


def _finished(folder: Path, config: TrainingConfig) -> xr.Dataset | None:
    """The learning curves of a run of this configuration that is finished, and whose files are all there.

    Raises: UserError for a file that is damaged, or of another configuration.
    """
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
        log.info("no images are held out to choose a best checkpoint by: there is the last one alone")
    print(*(folder / name for name in FILES if (folder / name).exists()), sep="\n")


def _print_curves(curves: xr.Dataset) -> None:
    """Accuracies at the best and at the last epoch."""
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


def evaluate(options: argparse.Namespace) -> int:
    """Accuracies of every checkpoint: print tables or JSON, an array of several."""
    torch.set_num_threads(available_cores())
    integer("--images", options.images, low=LOWEST["evaluation_images"], high=MANY)
    found = [_evaluated(path, options) for path in [_checkpoint(given) for given in options.checkpoints]]
    if options.json:
        print(json.dumps(found if len(found) > 1 else found[0], indent=2))
    return 0


def _evaluated(checkpoint: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Clean and robust accuracies of a checkpoint, with Wilson intervals; print a table unless JSON is wanted, and
    keep the JSON under a name that belongs to this checkpoint and these settings alone."""
    model, config, data = load_model(checkpoint, images=options.images, device=options.device)
    budget = _budget(config, options)
    images: Images = getattr(data, options.part)
    if not len(images):
        raise UserError(f"--part {options.part}: the run held out no images; use --part test or --part train")
    images = images.take(torch.arange(min(options.images, len(images))))
    stored = Checkpoint.load(checkpoint)
    epoch = last_epoch(checkpoint, stored, config)
    with _bar(len(images) * (1 if options.fast else 2), "image", quiet=options.quiet) as bar:
        evaluation = evaluate_network(
            model,
            config,
            images,
            budget,
            part=options.part,
            epoch=epoch,
            processes=processes_of(checkpoint, stored, epoch),
            steps=options.steps,
            stream=np.random.SeedSequence(options.seed),
            fast=options.fast,
            batch_size=options.batch,
            tick=bar.update,
        )
    if budget == config.budget and options.images >= config.evaluation_images:
        _compare(stored, config, options.part, epoch, list(evaluation.masks.values())[1][: config.evaluation_images])
    rows = [Row.of(name, mask) for name, mask in evaluation.masks.items()]
    settings = {
        "radius": budget.radius,
        "steps": options.steps,
        "fast": options.fast,
        "batch": options.batch,
        "seed": options.seed,
        "device": images.labels.device.type,
    }
    made = store.provenance(config, 0.0)
    found = {
        "checkpoint": checkpoint.name,
        "epoch": epoch,
        "part": _called(options.part, data, len(images)),
        "images": len(images),
        "norm": budget.norm,
        "parameters": parameter_count(model),
        "confidence": CONFIDENCE,
        "accuracy": {row.attack: {"value": row.value, "low": row.low, "high": row.high} for row in rows},
        "gradients": evaluation.record(),
        **settings,
        "provenance": made | {"wall_seconds": None},
    }
    what = f"{options.part}-{len(images)}-l{budget.norm}-{budget.radius:.4g}-{'fast' if options.fast else 'strong'}"
    read = hashlib.sha256(checkpoint.read_bytes()).hexdigest(), str(made.get("image_files"))
    own = store.content_hash(*read, store.as_json(settings), what)
    path = checkpoint.with_name(f"{checkpoint.stem}-{what}-{own}.json")
    write_whole(path, (json.dumps(found, indent=2) + "\n").encode())
    if options.json:
        return found
    print(f"{checkpoint}, epoch {epoch}")
    _print_rows(rows, evaluation)
    Console().print(
        f"{found['part']}; {parameter_count(model):,} parameters; l_{budget.norm} radius {budget.radius:.4g}",
        highlight=False,
    )
    print(path)
    return found


def _compare(stored: Checkpoint, config: TrainingConfig, part: str, epoch: int, left: torch.Tensor) -> None:
    """Warn where the images of the learning curve resist better than there: on another device starts are others."""
    there = stored.record["rows"][-1].get(f"robust_{part}_accuracy") if stored.record["rows"] else None
    here, measured = float(left.double().mean()), "loop.step" not in stored.tensors or epoch == config.epochs
    if measured and isinstance(there, float) and here > there + 1e-9:
        log.warning(
            "warning: the learning curve has a robust accuracy of %.2f %%, the same attack leaves %.2f %% here: its "
            "random starts could not be replayed (another device, or other image files)",
            100 * there,
            100 * here,
        )


def _checkpoint(path: Path) -> Path:
    """The file that is meant, the best checkpoint where a run's folder is given. Raises: UserError for what is none."""
    try:
        if path.is_dir():
            for name in ("best.safetensors", "last.safetensors"):
                if (path / name).is_file():
                    log.info("%s: taking %s", path, name)
                    return path / name
            raise UserError(f"checkpoint {path}: {what_is(path)} and no checkpoint; give the folder of a `cgro train`")
        if not path.exists():
            raise UserError(f"checkpoint {path}: not found; give a file that `cgro train` wrote")
        kind = what_is(path)
    except OSError as error:
        raise UserError(f"checkpoint {path}: cannot be read ({error.strerror or error})") from error
    # What claims to be a checkpoint, or nothing known, is read, and its reader says what is wrong.
    if kind not in ("a checkpoint of `cgro train`", "a file of an unknown format"):
        raise UserError(f"checkpoint {path}: is {kind}; give best.safetensors or last.safetensors of `cgro train`")
    return path


def _budget(config: TrainingConfig, options: argparse.Namespace) -> Budget:
    """That of the training unless another one is asked for. Raises: UserError."""
    if options.norm is None and options.radius is None:
        return config.budget
    norm = options.norm or config.norm
    if norm != config.norm and options.radius is None:
        raise UserError(
            f"--norm {norm}: the network was trained in l_{config.norm} at radius {config.radius:.4g}, which means "
            f"something else in l_{norm}; give --radius, too"
        )
    radius = config.radius if options.radius is None else options.radius
    require_radius(radius, norm, pixels_of(config))
    return Budget(norm, radius)


def _print_rows(rows: Sequence[Row], evaluation: Evaluation) -> None:
    """The table of accuracies, and below it whatever speaks against them."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("attack", "accuracy, %", f"{CONFIDENCE:.0%} interval"):
        table.add_column(heading, justify="left" if heading == "attack" else "right")
    for row in rows:
        table.add_row(row.attack, f"{100 * row.value:.2f}", f"{100 * row.low:.2f} to {100 * row.high:.2f}")
    console = Console()
    console.print(table)
    for complaint in evaluation.complaints():
        console.print(f"warning: {complaint}", style="yellow", highlight=False, soft_wrap=True)
    clean = evaluation.clean
    console.print(
        f"gradients vanish at {clean.vanishing} of {int(clean.right.sum())} correct images; without a limit "
        f"{evaluation.resisting} of {evaluation.tried} stay correct",
        highlight=False,
        soft_wrap=True,
    )


@dataclass(frozen=True)
class Row:
    """Accuracy under one attack with its Wilson interval."""

    attack: str
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, attack: str, mask: torch.Tensor) -> Row:
        return cls(attack, float(mask.double().mean()), *wilson(int(mask.sum()), len(mask), CONFIDENCE))


def _called(part: str, data: Data, count: int) -> str:
    name = {"train": "training images", "held_out": "held-out part of the training set", "test": data.test_name}[part]
    return name if f"{count:,}" in name else f"{count:,} images, {name}"


@contextmanager
def _bar(total: float, unit: str, *, quiet: bool) -> Iterator[tqdm]:
    bar_format = "{l_bar}{bar}| {n:.1f}/{total:.0f} {unit} [{elapsed}<{remaining}, {rate_fmt}]"
    with tqdm(total=total, unit=unit, disable=quiet, leave=False, smoothing=0.1, bar_format=bar_format) as bar:
        yield bar
