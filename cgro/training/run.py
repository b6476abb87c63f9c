"""A training run from start to end: data, learning curves, checkpoints.

Robust accuracy is measured by the evaluation attack on at most `evaluation_images` images of each part. The best
checkpoint has the largest robust accuracy on the held-out part, never on the test images; without held-out images there
is none. Robust overfitting is the best minus the last robust test accuracy (Rice, Wong & Kolter, ICML 2020,
arXiv:2002.11569).

`last.safetensors` holds everything needed to resume, including the best network. `best.safetensors` is written after it
with the same content, so a run killed between the two does not lose the best network.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from cgro.attacks.calls import AttackCall
from cgro.attacks.images import correct
from cgro.attacks.modes import evaluating
from cgro.base import interrupts
from cgro.base.errors import AccuracyWarning, UserError
from cgro.base.files import StorageError, remove_leftovers, write_whole
from cgro.base.machine import in_batches_that_fit, is_out_of_memory, resolve_device, single_thread
from cgro.base.randomness import Stream, at, spawn_streams, torch_generator
from cgro.base.work import Tick, scratch_of
from cgro.data.batches import Images
from cgro.data.catalog import CLASSES
from cgro.data.images import ImageData, load_images, stratified_subset
from cgro.data.labels import class_subset, noisy_labels
from cgro.data.scores import require_same_classes
from cgro.models.convolutional import parameter_count
from cgro.models.zoo import image_model
from cgro.training import limits
from cgro.training.checkpoint import Checkpoint
from cgro.training.choices import CURES_OF_OBJECTIVES
from cgro.training.config import TrainingConfig
from cgro.training.distributed import Team, synchronized
from cgro.training.loop import Trainer
from cgro.training.objectives import Objective
from cgro.training.observers import Observer
from cgro.training.recipe import Recipe
from cgro.training.record import config_of, observed_of, plain, processes_of, require_config, rows_of
from cgro.training.sample_weights import SampleWeights, effective_sample_size
from cgro.training.state import require_alike

log = logging.getLogger(__name__)

PARTS = {"train": "training", "held_out": "held-out", "test": "test"}
"""Evaluated parts of the data and their names in print."""

_BEST = "best."
"""Prefix of tensor names of the best network so far."""
_CHOSEN_BY = "robust_held_out_accuracy"

VARIABLES = {
    "train_loss": ("Training loss, mean over the epoch", "nat"),
    **{
        f"{kind}_{part}_accuracy": (f"Accuracy on {adjective} {name} images", "fraction")
        for kind, adjective in (("clean", "clean"), ("robust", "perturbed"))
        for part, name in PARTS.items()
    },
    "effective_sample_size": ("Effective number of weighted training images in the epoch", "1"),
}
"""Variables of the result: long name and unit. Held-out variables are absent if nothing is held out, and the effective
sample size if the objective has no weights."""


CURVE_BATCH = 512
"""Images attacked at once for the learning curves, unless `micro_batch` is given."""


def evaluation_stream(seed: int, epoch: int, part: str, team: Team) -> Stream:
    """Random starts of one process's attack on a part of the data after an epoch, counted from 1."""
    stream = at(spawn_streams(seed)["evaluation"], epoch, list(PARTS).index(part))
    return at(stream, team.rank) if team.size > 1 else stream


@dataclass(frozen=True)
class Data:
    """Training and evaluation data of a run; `held_out` may be empty.

    unseen: at most `evaluation_images` images drawn like the training images from those that are left. They are
    exchangeable with the training images. The held-out end of the file is not: other people wrote those digits.
    """

    train: Images
    unseen: Images
    held_out: Images
    test: Images
    classes: int
    test_name: str
    """Name of the test images in print."""
    files: str | None
    """Which files were read, if the name of the data set does not say."""
    index: Tensor
    """Where each training image is among those of the data set, from 0, int64 (N,)."""

    @classmethod
    def of(cls, config: TrainingConfig, own: ImageData | None = None) -> Data:
        """The data of a configuration, on its device; `own` replaces its data set.

        Raises: UserError for missing data, a missing device, or classes that do not exist.
        """
        device, streams = resolve_device(config.device), spawn_streams(config.seed)
        if (config.data == "own") != (own is not None):
            raise UserError(f"data must be 'own' with arrays given to cgro.train, and only then, got {config.data!r}")
        data = load_images(config.data) if own is None else own
        limits.require_images(config, len(data.train_labels), data.classes)
        limits.require_radius(config.radius, config.norm, data.train_images[:1].numel())
        split, parts = len(data.train_labels) - config.held_out, {}
        for name, images, labels in (
            ("train", data.train_images[:split], data.train_labels[:split]),
            ("held_out", data.train_images[split:], data.train_labels[split:]),
            ("test", data.test_images, data.test_labels),
        ):
            kept = torch.arange(len(labels))
            if config.classes and len(labels):
                kept, labels = class_subset(labels, config.classes)
            most = (config.samples or len(kept)) if name == "train" else min(config.evaluation_images, len(kept))
            if most > len(kept):
                raise UserError(f"samples must be at most {len(kept)} for classes {config.classes}, got {most}")
            # Stratified by the true classes: label noise must not change which images are chosen.
            if name == "train":
                # Subsets are nested: the images after the subset are drawn like those in it.
                longer = stratified_subset(labels, min(len(kept), most + config.evaluation_images), streams["subset"])
                part, rest = longer[:most], longer[most:]
                index = kept[part]
                parts["unseen"] = Images(images[kept[rest]], labels[rest], data.white).to(device)
                count = len(config.classes) or data.classes
                labels = noisy_labels(labels, config.label_noise, count, streams["labels"])
            else:
                part = stratified_subset(labels, most, 0) if most else kept
            parts[name] = Images(images[kept[part]], labels[part], data.white).to(device)
        tested, whole = len(parts["test"]), data.test_name
        name = whole if tested == len(data.test_labels) else f"{tested:,} of the {whole}"
        classes = len(config.classes) or data.classes
        return cls(**parts, classes=classes, test_name=name, files=data.files, index=index)


Watch = Callable[[nn.Module, Data], Mapping[str, Any]]
"""(model in evaluation mode, data) -> JSON values to record, by name."""


def make_model(config: TrainingConfig, data: Data) -> nn.Module:
    """The network of a configuration, with weights drawn from its seed.

    Raises: UserError for a width that is impossible or does not fit into memory.
    """
    channels, size, width = data.train.pixels.shape[1:]
    if width != size:
        raise UserError(
            f"images must be square for model {config.model}, got {size} x {width}: give a model of your own"
        )
    generator = torch_generator(spawn_streams(config.seed)["weights"])
    try:
        return image_model(config.model, channels, size, data.classes, config.own_width, generator)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    raise UserError(f"width must be smaller, got {config.own_width:g}: that {config.model} does not fit into memory")


@dataclass(frozen=True)
class Own:
    """Parts passed in Python that replace those of a configuration; None: as in the configuration."""

    data: ImageData | None = None
    model: nn.Module | None = None
    objective: Objective | None = None
    attack: AttackCall | None = None
    observers: tuple[Observer, ...] = ()
    prepared: Data | None = None
    """Training and evaluation images of the run, in place of those that its configuration chooses."""

    def recipe(self, config: TrainingConfig, index: Tensor) -> Recipe:
        """The recipe of a configuration with this objective, attack and these observers, for images with these indices.

        Raises: UserError if the objective of the configuration does not allow them.
        """
        recipe = replace(config.recipe_of(index.numpy()), observers=self.observers)
        if self.objective is None and self.attack is None:
            return recipe
        if config.objective != "adversarial":
            raise UserError(
                f"objective must be adversarial with an objective or attack of your own, got {config.objective}"
            )
        if self.objective is not None and config.cure in CURES_OF_OBJECTIVES:
            raise UserError(f"cure must be none with an objective of yours, got {config.cure}: it would replace it")
        recipe = replace(recipe, objective=self.objective or recipe.objective, search=self.attack)
        if self.attack is not None and not recipe.objective.attacks:
            raise UserError(f"objective {type(recipe.objective).__name__} trains on clean images: give no attack")
        return recipe


def make_trainer(config: TrainingConfig, data: Data, team: Team | None = None, own: Own | None = None) -> Trainer:
    """The trainer of a configuration at step 0."""
    team, own = team or Team(), own or Own()
    if config.cure_scores is not None and config.data in CLASSES and config.label_noise == 0:
        names = CLASSES[config.data]
        labels = [config.classes[k] if config.classes else k for k in data.train.labels.tolist()]
        require_same_classes(config.cure_scores, data.index.numpy(), [names[k] for k in labels])
    model = synchronized(own.model or make_model(config, data), team, data.train.labels.device)
    return Trainer(model, data.train, own.recipe(config, data.index), spawn_streams(config.seed), team)


class NotResumableError(UserError):
    """The checkpoint cannot be resumed: damaged, of another configuration, or of another version."""


class TrainingRun:
    """A configuration in training: `rows` holds the learning curves so far, `observed` the values that `run` watched.

    folder: where `last.safetensors` and `best.safetensors` are saved; an existing run there is resumed. None: nothing
    is saved. every: seconds between checkpoints; the run also saves at its end and when interrupted. own: your own
    parts; they exclude a folder, since a checkpoint cannot tell whether they are the same, unless the folder is that of
    a cell, which names them (`of_cell`).
    """

    def __init__(
        self,
        config: TrainingConfig,
        folder: Path | None = None,
        *,
        team: Team | None = None,
        every: float = 120.0,
        own: Own | None = None,
        named: bool = False,
    ) -> None:
        self.config, self.folder, self.team, self.every = config, folder, team or Team(), every
        self.own = own or Own()
        if folder is not None and not named and self.own != Own():
            raise UserError("folder is for what a configuration names: with parts of yours, save the weights yourself")
        self.data = self.own.prepared or Data.of(config, self.own.data)
        self.trainer = make_trainer(config, self.data, self.team, self.own)
        self.streams = spawn_streams(config.seed)
        self.rows: list[dict[str, float]] = []
        self.observed: list[dict[str, Any]] = []
        self._processes: dict[int, int] = {}
        """How many processes measured an epoch, if more than one: each has its own random starts."""
        self._best: dict[str, Tensor] = {}
        self._written_best, self._saved = 0, time.monotonic()
        self._kept = 0
        """Step of the checkpoint in the folder; 0 if there is none."""
        if folder is not None and self.team.rank == 0:
            remove_leftovers(folder)
        if folder is not None and (folder / "last.safetensors").exists():
            self._resume(folder / "last.safetensors")

    @classmethod
    def of_cell(cls, config: TrainingConfig, tick: Tick, own: Own | None = None) -> TrainingRun:
        """The run of one cell of a sweep. A cell that cannot be resumed starts over, like a damaged one.

        own: parts that the cell names completely, so that a checkpoint in its folder is of the same ones.
        """
        folder = scratch_of(tick)
        try:
            return cls(config, folder, own=own, named=True)
        except NotResumableError as error:
            log.warning("%s; this cell starts over", error)
        assert folder is not None
        (folder / "last.safetensors").unlink()
        return cls(config, folder, own=own, named=True)

    def _resume(self, path: Path) -> None:
        """Resume from a checkpoint. Raises: NotResumableError for one that this run did not write."""
        try:
            self._restore(path)
        except UserError as error:
            raise NotResumableError(str(error)) from error

    def _restore(self, path: Path) -> None:
        found = Checkpoint.load(path)
        require_config(path, found, self.config)
        theirs = found.record.get("image_files", self.data.files)
        if theirs != self.data.files:
            raise UserError(f"checkpoint {path}: of other image files ({theirs}; here are {self.data.files})")
        try:
            self.trainer.load({name: value for name, value in found.tensors.items() if not name.startswith(_BEST)})
        except UserError as error:
            raise UserError(f"checkpoint {path}: {error}") from error
        epochs = range(1, self.trainer.epoch + 1)
        self.rows = rows_of(path, found, self._names, [epoch for epoch in epochs if self.config.is_due(epoch)])
        self.observed = observed_of(path, found, self.trainer.step)
        measured = {int(row["epoch"]): processes_of(path, found, int(row["epoch"])) for row in self.rows}
        self._processes = {epoch: count for epoch, count in measured.items() if count > 1}
        best = {name: value for name, value in found.tensors.items() if name.startswith(_BEST)}
        self._best = {name.removeprefix(_BEST): value for name, value in best.items()}
        expected = self.trainer.model.state_dict() if self.rows and len(self.data.held_out) else {}
        try:
            require_alike(self._best, expected)
        except UserError as error:
            raise UserError(f"checkpoint {path}: best network: {error}") from error
        self._kept = self.trainer.step
        log.info("resuming at step %d of %d", self.trainer.step, self.trainer.steps)

    @property
    def _names(self) -> list[str]:
        """Names in a row of the learning curves besides the epoch."""
        parts = [part for part in PARTS if len(getattr(self.data, part))]
        names = ["train_loss", *(f"{kind}_{part}_accuracy" for part in parts for kind in ("clean", "robust"))]
        return [*names, "effective_sample_size"] if self.weights is not None else names

    @property
    def weights(self) -> Tensor | None:
        """The last weight of each training image; None if the objective has none."""
        objective = self.trainer.recipe.objective
        return self.trainer.kept.of(objective)["weight"] if isinstance(objective, SampleWeights) else None

    def run(self, tick: Tick, watch: Watch | None = None, at_steps: Collection[int] = ()) -> xr.Dataset:
        """Train to the end and return the learning curves. Ctrl-C saves a checkpoint of the last completed update.

        `watch` is called with the model after each of `at_steps` updates; `observed` collects what it returns.
        """
        trainer, began = self.trainer, self._position
        tick(trainer.step / trainer.steps_per_epoch)
        # Only where it changes something: torch imports its compiler to set this.
        sets_deterministic = self.config.deterministic and not torch.are_deterministic_algorithms_enabled()
        if self.config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it torch refuses matrix products
        if sets_deterministic:
            torch.use_deterministic_algorithms(True)
        try:
            # A measurement may be due from before an interruption.
            self._measure(watch, at_steps)
            while trainer.step < trainer.steps:
                ends = (trainer.epoch + 1) * trainer.steps_per_epoch
                trainer.advance(min([ends, *(s for s in at_steps if s > trainer.step)]), lambda: self._after_step(tick))
                self._measure(watch, at_steps)
            if self._position != began:
                self.save()
            else:
                self._write_best()
        except KeyboardInterrupt:
            self._save_in_any_case()
            raise
        except UserError:  # e.g. diverged: the best network so far is worth keeping
            self._write_best()
            raise
        except RuntimeError as error:
            if self.config.deterministic and "deterministic" in str(error):
                what = str(error).split(".")[0]
                raise UserError(f"deterministic is True: {what}; train without --deterministic") from error
            raise
        finally:
            if sets_deterministic:
                torch.use_deterministic_algorithms(False)
        return self.curves()

    @property
    def _position(self) -> tuple[int, int, int]:
        return self.trainer.step, len(self.rows), len(self.observed)

    def _after_step(self, tick: Tick) -> None:
        tick(1 / self.trainer.steps_per_epoch)
        self._save_in_time()

    def _save_in_time(self) -> None:
        if time.monotonic() - self._saved > self.every:
            self.save()

    def _save_in_any_case(self) -> None:
        """Save, even if more signals arrive. Raises: StorageError saying what is kept if saving fails."""
        saved = False
        while not saved:
            with suppress(KeyboardInterrupt), interrupts.postponed():
                try:
                    self.save()
                except UserError as error:
                    kept = f"the checkpoint of step {self._kept} is kept" if self._kept else "no checkpoint is kept"
                    raise StorageError(f"step {self.trainer.step} is lost: {error}; {kept}") from error
                saved = True

    def _measure(self, watch: Watch | None, at_steps: Collection[int]) -> None:
        """Take the measurements that are due after this update, unless they exist."""
        step, (epoch, rest) = self.trainer.step, divmod(self.trainer.step, self.trainer.steps_per_epoch)
        if watch is not None and step in at_steps and step not in (row["step"] for row in self.observed):
            with evaluating(self.trainer.evaluated):
                self.observed.append({"step": step, **watch(self.trainer.evaluated, self.data)})
        if rest or epoch == 0:
            return
        if not self.config.is_due(epoch) or epoch in (row["epoch"] for row in self.rows):
            self.trainer.reset_loss()
            return
        row = self._row(epoch)
        with interrupts.postponed():  # the row and its network belong together
            self.rows.append(row)
            if self.team.size > 1:
                self._processes[epoch] = self.team.size
            if self._is_best():
                self._best = {name: t.detach().clone() for name, t in self.trainer.evaluated.state_dict().items()}
            self.trainer.reset_loss()
        log.debug(_words(row))
        self._save_in_time()

    def _row(self, epoch: int) -> dict[str, float]:
        row: dict[str, float] = {"epoch": epoch, "train_loss": self.trainer.mean_loss()}
        for part in PARTS:
            images: Images = getattr(self.data, part)
            if len(images):
                images = images.take(torch.arange(min(len(images), self.config.evaluation_images)))
                stream = evaluation_stream(self.config.seed, epoch, part, self.team)
                row[f"clean_{part}_accuracy"] = self._accuracy(images, robust=False)
                row[f"robust_{part}_accuracy"] = self._accuracy(images, robust=True, stream=stream)
        if self.weights is not None:
            row["effective_sample_size"] = effective_sample_size(self.weights)
        return row

    def _accuracy(self, images: Images, *, robust: bool, stream: Any = None) -> float:
        mine = images.take(self.team.share(torch.arange(len(images))))
        attack = self.config.stronger if robust else None
        with warnings.catch_warnings():
            # A network in training may have zero gradients; `cgro evaluate` warns about them at the end.
            warnings.simplefilter("ignore", AccuracyWarning)
            mask = in_batches_that_fit(
                lambda size: correct(self.trainer.evaluated, mine, attack, stream, batch_size=size),
                self.config.micro_batch or CURVE_BATCH,
            )
        count = mask.sum().double()
        self.team.sum_in_place([count])
        return float(count) / len(images)

    def _is_best(self) -> bool:
        """Whether the last row is the first with the largest robust accuracy on the held-out part."""
        values = [row[_CHOSEN_BY] for row in self.rows if _CHOSEN_BY in row]
        return bool(values) and values.index(max(values)) == len(self.rows) - 1

    def _checkpoint(self, tensors: dict[str, Tensor], rows: int, step: int) -> Checkpoint:
        """A checkpoint of these tensors with the record up to the given row and step."""
        observed = [seen for seen in self.observed if seen["step"] <= step]
        record = {"config": plain(self.config), "rows": self.rows[:rows], "observed": observed}
        if self.data.files:
            record["image_files"] = self.data.files
        if self._processes:
            record["processes"] = {str(epoch): count for epoch, count in self._processes.items()}
        return Checkpoint(tensors, record)

    def save(self) -> None:
        """Save the state of the run, if it has a folder and this is the process that writes."""
        state = self.trainer.state() | {f"{_BEST}{name}": value for name, value in self._best.items()}
        if self.folder is not None and self.team.rank == 0:
            self._checkpoint(state, len(self.rows), self.trainer.step).save(self.folder / "last.safetensors")
            self._kept = self.trainer.step
            self._write_best()
        self._saved = time.monotonic()

    def _write_best(self) -> None:
        """Write the best network so far, unless its file exists."""
        if self.folder is None or self.team.rank > 0 or not self._best:
            return
        chosen = [row[_CHOSEN_BY] for row in self.rows]
        number = chosen.index(max(chosen))
        epoch = int(self.rows[number]["epoch"])
        if epoch == self._written_best:
            return
        model = {f"model.{name}": value for name, value in self._best.items()}
        content = self._checkpoint(model, number + 1, epoch * self.trainer.steps_per_epoch).content()
        path = self.folder / "best.safetensors"
        if not path.exists() or path.read_bytes() != content:
            write_whole(path, content)
        self._written_best = epoch

    def _method(self) -> dict[str, Any]:
        """Network and method, for the attributes of the learning curves."""
        config, own = self.config, self.own
        found: dict[str, Any] = {"model": config.model, "width": config.own_width}
        if own.model is not None:
            found = {"model": type(own.model).__name__}
        found["parameters"] = parameter_count(self.trainer.model)
        found["method"] = config.method
        if own.objective is not None or own.attack is not None:
            found["method"] = " and ".join(_name(part) for part in (own.objective, own.attack) if part is not None)
        return found

    @property
    def best(self) -> dict[str, Tensor]:
        """Weights of the best network so far; empty without held-out images."""
        return self._best

    def curves(self) -> xr.Dataset:
        """The learning curves over epoch, counted from 1; the attributes describe the training."""
        epochs = ("epoch", [int(row["epoch"]) for row in self.rows], {"long_name": "Epoch", "units": "epoch"})
        names = [name for name in self.rows[-1] if name != "epoch"]
        config, best = self.config, max(self.rows, key=lambda r: r.get("robust_held_out_accuracy", r["epoch"]))
        about = {name: {"long_name": words[0], "units": words[1]} for name, words in VARIABLES.items()}
        return xr.Dataset(
            {name: ("epoch", [row[name] for row in self.rows], about.get(name, {})) for name in names},
            coords={"epoch": epochs},
            attrs={
                "data": config.data,
                **self._method(),
                "norm": config.norm,
                "radius": config.radius,
                "label_noise": config.label_noise,
                "train_images": len(self.data.train),
                "held_out_images": len(self.data.held_out),
                "test_images": len(self.data.test),
                "test_name": self.data.test_name,
                "most_frequent": _most_frequent(self.data.test.labels),
                "best_epoch": int(best["epoch"]),
            },
        )


@single_thread()
def train_cell(config: TrainingConfig, tick: Tick) -> xr.Dataset:
    """The learning curves of one configuration, to be mapped by a context; unfinished work is resumed."""
    return TrainingRun.of_cell(config, tick).run(tick)


def with_seeds(curves: Sequence[xr.Dataset], first: int = 0) -> xr.Dataset:
    """Learning curves of seeds first, first + 1, ... along the dimension seed, with the best epoch of each."""
    seeds = xr.DataArray(
        range(first, first + len(curves)), dims="seed", name="seed", attrs={"long_name": "Seed", "units": "1"}
    )
    together = xr.concat(curves, dim=seeds, combine_attrs="override")
    best = (
        "seed",
        [d.attrs["best_epoch"] for d in curves],
        {"long_name": "Best epoch by held-out images", "units": "1"},
    )
    together.attrs.pop("best_epoch")
    return together.assign(best_epoch=best)


def load_model(
    path: Path, *, images: int | None = None, device: str | None = None
) -> tuple[nn.Module, TrainingConfig, Data]:
    """The network of a checkpoint in evaluation mode, with its configuration and data.

    images and device replace `evaluation_images` and `device` of the configuration.

    Raises: UserError for a checkpoint or data that cannot be read.
    """
    found = Checkpoint.load(path)
    config = config_of(path, found, **({"device": device} if device else {}))
    data = Data.of(config if images is None else replace(config, evaluation_images=images))
    model = make_model(config, data)
    averages = found.tensors.get("averaged.n_averaged", torch.tensor(0))
    prefix = "averaged.module." if torch.any(averages != 0) else "model."
    weights = {name.removeprefix(prefix): value for name, value in found.tensors.items() if name.startswith(prefix)}
    try:
        require_alike(weights, model.state_dict())
    except UserError as error:
        raise UserError(f"checkpoint {path}: does not fit its own configuration: {error}") from error
    model.load_state_dict(weights)
    return model.to(data.test.labels.device, memory_format=torch.channels_last).eval(), config, data  # type: ignore[call-overload]


def _name(part: object) -> str:
    return getattr(part, "__name__", type(part).__name__)


def _most_frequent(labels: Tensor) -> float:
    """Share of the most frequent label; NaN without any."""
    return float(labels.bincount().max()) / len(labels) if len(labels) else float("nan")


def _words(row: dict[str, float]) -> str:
    """A row of the learning curves as one line of text."""
    parts = [part for part in PARTS if f"clean_{part}_accuracy" in row]
    found = []
    for kind in ("clean", "robust"):
        values = "/".join(f"{100 * row[f'{kind}_{part}_accuracy']:.1f}" for part in parts)
        found.append(f"{kind} {values}")
    names = "/".join(PARTS[part] for part in parts)
    return f"epoch {row['epoch']:.0f}: loss {row['train_loss']:.3f}, accuracy {', '.join(found)} % ({names})"
