"""`cgro evaluate`: clean and robust accuracy of a trained network."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from cgro.base.errors import UserError
from cgro.base.files import write_whole
from cgro.base.machine import available_cores
from cgro.cli.reading import Rest
from cgro.cli.train import bar_of
from cgro.cli.values import Choice, Count, DataDir, File, Flag, Fraction, Positive, Quiet
from cgro.runs.filetypes import what_is

if TYPE_CHECKING:  # imported where work begins
    import torch

    from cgro.attacks.ball import Budget
    from cgro.attacks.evaluation import Evaluation
    from cgro.data.batches import Images
    from cgro.training.checkpoint import Checkpoint
    from cgro.training.config import TrainingConfig
    from cgro.training.run import Data

log = logging.getLogger(__name__)
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Options:
    """Clean and robust accuracy with Wilson intervals: under PGD, and after each attack of a strong ensemble (PGD,
    APGD, targeted APGD). Norm and radius are those of training unless given."""

    checkpoints: Annotated[
        tuple[File[Path], ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="FILE [FILE ...]", help_behavior_hint="(required)"),
    ]
    """Checkpoints of `cgro train`, or its folders, of which the best checkpoint is taken."""
    part: Choice[Literal["test", "held_out", "train"]] = "test"
    """Part of the data to evaluate."""
    images: Positive[int] = 1000
    """Maximum number of images, 10 or more."""
    steps: Positive[int] = 20
    """PGD steps; raised to those of training if they are fewer."""
    fast: Flag = False
    """Skip the strong ensemble."""
    norm: Choice[Literal["1", "2", "inf"] | None] = None
    """Norm of the perturbations, by default that of training."""
    radius: Fraction[float | None] = None
    """Radius for pixels in [0, 1], e.g. 8/255, by default that of training; required with another norm."""
    batch: Positive[int] = 256
    """Number of images attacked at once."""
    device: Choice[Literal["auto", "cpu", "cuda"]] = "auto"
    """Device: auto (a GPU if there is one), cpu or cuda."""
    seed: Count[int] = 0
    """Seed of the random starts."""
    json: Flag = False
    """Print JSON instead of the table."""
    quiet: Quiet = False
    data_dir: DataDir = None


def run(options: Options, _rest: Rest) -> int:
    """Evaluate every checkpoint and print tables or JSON; an array for several checkpoints."""
    if not options.checkpoints:
        raise UserError("the following arguments are required: FILE; see `cgro evaluate --help`")
    import torch

    from cgro.base.validate import integer
    from cgro.training.limits import LOWEST, MANY

    torch.set_num_threads(available_cores())
    integer("--images", options.images, low=LOWEST["evaluation_images"], high=MANY)
    found = [_evaluated(path, options) for path in [_checkpoint(given) for given in options.checkpoints]]
    if options.json:
        print(json.dumps(found if len(found) > 1 else found[0], indent=2))
    return 0


def _evaluated(checkpoint: Path, options: Options) -> dict[str, Any]:
    """Clean and robust accuracy of a checkpoint with Wilson intervals. Prints a table unless JSON is asked for, and
    saves the JSON under a name unique to this checkpoint and these settings."""
    import numpy as np
    import torch

    from cgro.attacks.evaluation import wilson
    from cgro.models.convolutional import parameter_count
    from cgro.runs import store
    from cgro.training.checkpoint import Checkpoint
    from cgro.training.evaluation import evaluate_network
    from cgro.training.record import last_epoch, processes_of
    from cgro.training.run import load_model

    model, config, data = load_model(checkpoint, images=options.images, device=options.device)
    budget = _budget(config, options)
    images: Images = getattr(data, options.part)
    if not len(images):
        raise UserError(f"--part {options.part}: the run held out no images; use --part test or --part train")
    images = images.take(torch.arange(min(options.images, len(images))))
    stored = Checkpoint.load(checkpoint)
    epoch = last_epoch(checkpoint, stored, config)
    with bar_of(len(images) * (1 if options.fast else 2), "image", quiet=options.quiet) as bar:
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
    accuracy = {}
    for name, mask in evaluation.masks.items():
        low, high = wilson(int(mask.sum()), len(mask), CONFIDENCE)
        accuracy[name] = {"value": float(mask.double().mean()), "low": low, "high": high}
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
        "accuracy": accuracy,
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
    _print_accuracy(accuracy, evaluation)
    Console().print(
        f"{found['part']}; {parameter_count(model):,} parameters; l_{budget.norm} radius {budget.radius:.4g}",
        highlight=False,
    )
    print(path)
    return found


def _compare(stored: Checkpoint, config: TrainingConfig, part: str, epoch: int, left: torch.Tensor) -> None:
    """Warn if robust accuracy exceeds that of the learning curve on the same images: its starts were not reproduced."""
    there = stored.record["rows"][-1].get(f"robust_{part}_accuracy") if stored.record["rows"] else None
    here, measured = float(left.double().mean()), "loop.step" not in stored.tensors or epoch == config.epochs
    if measured and isinstance(there, float) and here > there + 1e-9:
        log.warning(
            "warning: the learning curve has a robust accuracy of %.2f %%, but the same attack leaves %.2f %% here; "
            "its random starts could not be reproduced (another device, or other image files)",
            100 * there,
            100 * here,
        )


def _checkpoint(path: Path) -> Path:
    """The checkpoint at a path; in the folder of a run, the best one. Raises: UserError if there is none."""
    try:
        if path.is_dir():
            for name in ("best.safetensors", "last.safetensors"):
                if (path / name).is_file():
                    log.info("%s: taking %s", path, name)
                    return path / name
            raise UserError(f"checkpoint {path}: {what_is(path)}, not a checkpoint; give a folder of `cgro train`")
        if not path.exists():
            raise UserError(f"checkpoint {path}: not found; give a file that `cgro train` wrote")
        kind = what_is(path)
    except OSError as error:
        raise UserError(f"checkpoint {path}: cannot be read ({error.strerror or error})") from error
    # Files that look like checkpoints, or like nothing known, are read; the reader says what is wrong.
    if kind not in ("a checkpoint of `cgro train`", "a file of an unknown format"):
        raise UserError(f"checkpoint {path}: is {kind}; give best.safetensors or last.safetensors of `cgro train`")
    return path


def _budget(config: TrainingConfig, options: Options) -> Budget:
    """The budget of training, unless another one is asked for. Raises: UserError."""
    from cgro.attacks.ball import Budget
    from cgro.training.limits import pixels_of, require_radius

    if options.norm is None and options.radius is None:
        return config.budget
    norm = options.norm or config.norm
    if norm != config.norm and options.radius is None:
        raise UserError(
            f"--norm {norm} requires --radius: the network was trained at radius {config.radius:.4g} in "
            f"l_{config.norm}, which does not carry over to l_{norm}"
        )
    radius = config.radius if options.radius is None else options.radius
    require_radius(radius, norm, pixels_of(config))
    return Budget(norm, radius)


def _print_accuracy(accuracy: dict[str, dict[str, float]], evaluation: Evaluation) -> None:
    """Print the table of accuracies, and below it all reasons to distrust them."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("attack", "accuracy, %", f"{CONFIDENCE:.0%} interval"):
        table.add_column(heading, justify="left" if heading == "attack" else "right")
    for attack, each in accuracy.items():
        value, low, high = (f"{100 * number:.2f}" for number in each.values())
        table.add_row(attack, value, f"{low} to {high}")
    console = Console()
    console.print(table)
    for complaint in evaluation.complaints():
        console.print(f"warning: {complaint}", style="yellow", highlight=False, soft_wrap=True)
    clean = evaluation.clean
    console.print(
        f"gradients vanish at {clean.vanishing} of {int(clean.right.sum())} correct images; with an unlimited radius "
        f"{evaluation.resisting} of {evaluation.tried} stay correct",
        highlight=False,
        soft_wrap=True,
    )


def _called(part: str, data: Data, count: int) -> str:
    name = {"train": "training images", "held_out": "held-out part of the training set", "test": data.test_name}[part]
    return name if f"{count:,}" in name else f"{count:,} images, {name}"
