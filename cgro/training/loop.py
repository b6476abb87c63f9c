"""The training loop: each update is a function of the state, the seed and the number of the update.

It minimizes E max over |z - x| <= radius of a loss over the weights. PGD solves the inner maximum (Madry et al., ICLR
2018, arXiv:1706.06083); `objectives.py` has the losses. The loop adds
- free training (Shafahi et al., NeurIPS 2019): each batch is replayed m times, and every backward pass updates both the
  weights and a perturbation that is kept from batch to batch;
- fast training (Wong et al., ICLR 2020): PGD-AT with one step of 1.25 radii from a random start;
- AWP (`weight_perturbation.py`) and weight averaging (EMA, SWA).

Random numbers are indexed by the number of the update. An interrupted and resumed run, or one shared by several
processes, therefore draws the same numbers as an uninterrupted run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from cgro.attacks.ball import Budget, inside, project, random_start, steepest
from cgro.attacks.calls import require_points
from cgro.attacks.images import BOX, Attack
from cgro.attacks.modes import evaluating
from cgro.base import interrupts
from cgro.base.errors import UserError
from cgro.base.machine import in_batches_that_fit, is_out_of_memory
from cgro.base.randomness import Stream, at, torch_generator
from cgro.data.batches import Images
from cgro.training.averages import AVERAGES
from cgro.training.descent import Descent
from cgro.training.distributed import Team
from cgro.training.observers import Batch, Kept, Observer, Remembering, Seen, Weighted
from cgro.training.recipe import Recipe
from cgro.training.state import require_alike
from cgro.training.weight_perturbation import kept_buffers, perturbed_weights

NORMAL_START = 1e-3
"""Standard deviation of normal starts, in pixels, as in TRADES and MART."""


class Trainer:
    """A model in training, after `step` updates.

    targets: the targets of the training images, labels (N,) or probabilities (N, classes); weights: the weights of
    their losses (N,). Both may be changed between updates and are part of the state.
    """

    def __init__(
        self, model: nn.Module, data: Images, recipe: Recipe, streams: dict[str, Stream], team: Team | None = None
    ) -> None:
        self.model, self.data, self.recipe, self.streams, self.team = model, data, recipe, streams, team or Team()
        self.device = data.labels.device
        if recipe.replays > 1 and self.team.size > 1:
            raise UserError("free training keeps one perturbation for all batches: run it on one process")
        if recipe.attack_mode == "training" and self.team.size > 1:
            raise UserError("attack_mode training needs whole batches: run it on one process, or in mode evaluation")
        require_whole_batches(recipe, self.team)
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        network: nn.Module = model
        if recipe.compile:
            network = torch.compile(network)  # type: ignore[assignment]
        if recipe.precision == "bfloat16":
            network = _Bfloat16(network)
        self.network = Remembering(network)
        self.optimizer = Descent(
            model.parameters(), rate=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        self.classes = _classes(model, data)
        self.averaged: AveragedModel | None = None
        if recipe.averaging != "none":
            self.averaged = AveragedModel(model, multi_avg_fn=AVERAGES[recipe.averaging], use_buffers=True)
        of_objective = (recipe.objective,) if isinstance(recipe.objective, Observer) else ()
        self.kept = Kept((*of_objective, *recipe.observers), data.labels, self.classes)
        if recipe.label_smoothing > 0:
            one_hot = nn.functional.one_hot(data.labels, self.classes)
            self.targets = (1 - recipe.label_smoothing) * one_hot + recipe.label_smoothing / self.classes
        self.step = 0
        self.steps_per_epoch = math.ceil(len(data) / recipe.batch_size) * recipe.replays
        self.steps = recipe.epochs * self.steps_per_epoch
        self._loss = torch.zeros(2, dtype=torch.float64, device=self.device)
        self._bad = torch.full((2,), -1.0, dtype=torch.float64, device=self.device)
        self._free = torch.zeros(min(recipe.batch_size, len(data)), *data.pixels.shape[1:], device=self.device)
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    @property
    def targets(self) -> Tensor:
        """Labels (N,) or probabilities (N, classes) that the images are trained towards."""
        return self.kept.targets

    @targets.setter
    def targets(self, targets: Tensor) -> None:
        self.kept.targets = targets

    @property
    def weights(self) -> Tensor:
        """Of the losses of the images (N,)."""
        return self.kept.weights

    @property
    def epoch(self) -> int:
        """Number of completed epochs."""
        return self.step // self.steps_per_epoch

    @property
    def evaluated(self) -> nn.Module:
        """The model to evaluate: the averaged one, once there is an average."""
        return self.averaged.module if self.averaged is not None and self.averaged.n_averaged > 0 else self.model

    def advance(self, to: int, after_step: Callable[[], object] = lambda: None) -> None:
        """Update until `step` is `to`. Ctrl-C takes effect between two updates.

        Raises: UserError if a loss was not finite or memory ran out.
        """
        self.model.train()
        while self.step < to:
            with interrupts.postponed():
                self._update()
            if self.step % 50 == 0 or self.step == to:
                self.require_finite()
            after_step()

    def mean_loss(self) -> float:
        """Mean loss per image since `reset_loss`, each taken just before its update, in nats; if the objective has
        weights, of the weighted means that were minimized."""
        total, count = self._loss.tolist()
        return total / max(count, 1.0)

    def reset_loss(self) -> None:
        """Start a new mean."""
        self._loss.zero_()

    def require_finite(self) -> None:
        """Raises: UserError naming the first update whose loss was not finite, or what an observer returned."""
        step, loss = self._bad.tolist()
        if step >= 0:
            raise UserError(
                f"training diverged at step {int(step) + 1}, in epoch {int(step) // self.steps_per_epoch + 1}: the "
                f"loss is {loss}; lower the learning rate (it is {self.recipe.learning_rate:g})"
            )
        self.kept.require_valid()

    def _update(self) -> None:
        recipe = self.recipe
        progress = (self.step + 1) / (self.steps + 1)
        self.optimizer.rate = recipe.rate_at(progress)
        batch = self._batch()
        losses = None
        try:
            losses = self._gradients(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if losses is None:  # outside `except`, where the memory of the failed pass has been freed
            raise UserError(self._memory_advice(batch))
        self.optimizer.step()
        self.kept.share(self.team, batch.indices)
        total = losses.double().sum()
        seen = torch.stack([total, torch.full_like(total, len(losses))])
        # Sum over the whole batch: the state is the same in every process, and all stop at the same step.
        self.team.sum_in_place([seen])
        total, count = seen
        self._loss += seen
        now = torch.stack([torch.full_like(total, self.step), total / count])
        self._bad = torch.where((self._bad[0] < 0) & ~torch.isfinite(total), now, self._bad)
        self.step += 1
        self._average()

    def _gradients(self, batch: _Batch) -> Tensor:
        """Attack the batch, leave the gradient of its mean loss in the model, return the losses of this process."""
        recipe, count = self.recipe, len(batch.indices)
        pieces = [self._attacked(batch, piece) for piece in self._split(count)]
        if recipe.weight_perturbation > 0:
            with kept_buffers(self.model):
                self._differentiate(pieces, count)
            with perturbed_weights(self.model, recipe.weight_perturbation):
                return self._differentiate(pieces, count, observed=False)
        losses = self._differentiate(pieces, count)
        if recipe.replays > 1:
            self._move_free(pieces, batch)
        return losses

    def _average(self) -> None:
        if self.averaged is None:
            return
        start = 0.75 * self.recipe.epochs if self.recipe.averaging_start is None else self.recipe.averaging_start
        late = self.step % self.steps_per_epoch == 0 and self.step > start * self.steps_per_epoch
        if self.recipe.averaging == "ema" or late:
            self.averaged.update_parameters(self.model)

    def _batch(self) -> _Batch:
        """The whole batch of the next update, with the random draws for every image."""
        recipe = self.recipe
        epoch, index = divmod(self.step, self.steps_per_epoch)
        number = index // recipe.replays
        if self._order[0] != epoch:
            generator = torch_generator(at(self.streams["order"], epoch))
            self._order = (epoch, torch.randperm(len(self.data), generator=generator).to(self.device))
        indices = self._order[1][number * recipe.batch_size : (number + 1) * recipe.batch_size]
        size = self.data.pixels.shape[-1]
        augmentation = torch_generator(at(self.streams["augmentation"], epoch, number), self.device)
        drawn = recipe.augmentation.draw(len(indices), size, augmentation)
        attack = recipe.attack_at((self.step + 1) / self.steps) if recipe.objective.attacks else None
        start = None
        if attack is not None and attack.start and recipe.replays == 1:
            generator = torch_generator(at(self.streams["attack"], self.step), self.device)
            like = torch.empty(len(indices), *self.data.pixels.shape[1:], device=self.device)
            if recipe.attack_start == "normal":
                start = NORMAL_START * torch.randn(like.shape, generator=generator, device=self.device)
            else:
                start = random_start(like, attack.budget, generator)
        return _Batch(indices, drawn, attack, start)

    def _split(self, count: int) -> tuple[Tensor, ...]:
        """Positions in the batch that belong to this process, in pieces: equally many in each process, some empty."""
        mine, most = self.team.share(torch.arange(count, device=self.device)), math.ceil(count / self.team.size)
        size = self.recipe.micro_batch or most
        return tuple(mine[start : start + size] for start in range(0, most, size))

    def _filled(self, piece: Tensor) -> Tensor:
        """The piece, repeated to fill the size that the network is compiled for."""
        whole = math.ceil(min(self.recipe.batch_size, len(self.data)) / self.team.size)
        size = min(self.recipe.micro_batch or whole, whole)
        if len(piece) == size:
            return piece
        turns = torch.arange(size, device=self.device)
        return piece[turns % len(piece)] if len(piece) else torch.zeros_like(turns)

    def _attacked(self, batch: _Batch, piece: Tensor, *, fill: bool = True) -> _Piece:
        """Clean and attacked images of a piece of the batch."""
        recipe = self.recipe
        rows = self._filled(piece) if recipe.compile and fill else piece
        indices = batch.indices[rows]
        pixels = recipe.augmentation.apply(self.data.pixels[indices], batch.drawn[rows], self.data.grey)
        x, y, weights = self.data.scaled(pixels), self.targets[indices], self.weights[indices]
        if len(rows) > len(piece):
            weights[len(piece) :] = 0
        self.network.begin(x)
        seen = self._prepared(Batch(x, y, indices, self.epoch), len(piece))
        if recipe.attack_mode == "training":
            self.network.begin(x)
        z, first = x, list[Tensor]()
        if batch.attack is not None and recipe.replays > 1:
            z = (x + self._free[rows]).clamp(*BOX).requires_grad_(True)
        elif batch.attack is not None and len(rows):
            with evaluating(self.network) if recipe.attack_mode == "evaluation" else _frozen(self.network):
                start = None if batch.start is None else batch.start[rows]
                if recipe.search is None:
                    ascent = recipe.objective.ascent(self.network, seen)
                    z = batch.attack.ascend(
                        ascent,
                        x,
                        start,
                        check=False,
                        watch=lambda _z, gradient: first.append(gradient) if not first else None,
                    )
                else:
                    budget = batch.attack.budget
                    z = inside(require_points(recipe.search(self.network.network, x, y, budget), x), x, budget, BOX)
        return _Piece(piece, seen, z, weights, first[0] if first else None)

    def _prepared(self, batch: Batch, count: int) -> Batch:
        """The batch with what the objective keeps, after every observer has seen its first `count` images."""
        preparing = [observer for observer in self.kept.observers if observer.prepares]
        if len(batch.indices) and preparing:
            with evaluating(self.network), torch.no_grad():
                for observer in preparing:
                    own = replace(batch, state=self.kept.rows(observer, batch.indices))
                    self._write(observer, observer.prepare(self.network, own), batch.indices[:count])
        return replace(batch, state=self.kept.rows(self.recipe.objective, batch.indices))

    def _write(self, observer: Observer, rows: Mapping[str, Tensor], indices: Tensor) -> None:
        self.kept.write(observer, rows, indices, self.step)

    def _differentiate(self, pieces: list[_Piece], count: int, *, observed: bool = True) -> Tensor:
        """Losses of the images of this process; leaves the gradient of the batch mean in the model."""
        self.optimizer.zero_grad()
        found, weighted = [], False
        weight = torch.zeros((), device=self.device)
        for piece in pieces:
            self.network.begin(piece.batch.x, piece.z)
            answer = self.recipe.objective.losses(self.network, piece.batch, piece.z)
            weights, weighted, own = piece.weights, isinstance(answer, Weighted), None
            if isinstance(answer, Weighted):
                answer, own = answer
                weights = weights * own
                weight += weights.sum()
            losses = answer * weights
            (losses.sum() / count).backward()
            found.append(losses.detach()[: len(piece.positions)])
            if observed:
                self._observe(piece, answer.detach(), own)
        self.network.begin()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        self.team.sum_in_place([*gradients, weight] if weighted else gradients)
        all_losses = torch.cat(found)
        if weighted:
            # Without any weight the gradient is 0; a quotient would be infinite, and infinity times 0 is no number.
            enough = weight > count * torch.finfo(weight.dtype).tiny
            factor = torch.where(enough, count / weight, 0.0)
            torch._foreach_mul_(gradients, factor)
            all_losses = all_losses * factor
        return all_losses

    @torch.no_grad()
    def _observe(self, piece: _Piece, losses: Tensor, weights: Tensor | None) -> None:
        if not len(piece.positions):
            return
        clean, attacked = self.network.recall(piece.batch.x), self.network.recall(piece.z)
        for observer in self.kept.observers:
            batch = piece.batch
            if observer is not self.recipe.objective:
                batch = replace(batch, state=self.kept.rows(observer, batch.indices))
            attacked = None if piece.z is piece.batch.x else attacked
            seen = Seen(batch, clean, attacked, losses, self.step, self.model, piece.gradient, weights)
            self._write(observer, observer.observe(seen), piece.batch.indices[: len(piece.positions)])

    def _move_free(self, pieces: list[_Piece], batch: _Batch) -> None:
        assert batch.attack is not None
        budget: Budget = batch.attack.budget
        for piece in pieces:
            assert piece.z.grad is not None
            own = slice(len(piece.positions))
            direction = steepest(piece.z.grad[own], budget.norm, piece.z.detach()[own], BOX)
            moved = self._free[piece.positions] + budget.radius * direction
            self._free[piece.positions] = project(moved, piece.batch.x[own], budget, None)

    def _memory_advice(self, batch: _Batch) -> str:
        """Advice after memory ran out: the largest number of images that fits, found by halving."""
        self.network.begin()  # it holds activations of the failed pass
        size = min(self.recipe.micro_batch or len(batch.indices), len(batch.indices))
        said = f"out of memory with {size} images at once"
        if self.team.size > 1:  # a trial pass would wait for the other processes
            return f"{said} on {self.team.size} processes; use --micro-batch {max(1, size // self.team.size // 2)}"

        def fits(size: int) -> int:
            self.optimizer.zero_grad()
            with kept_buffers(self.model):
                piece = torch.arange(size, device=self.device)
                self._differentiate([self._attacked(batch, piece, fill=False)], size)
            return size

        found = 0
        try:
            found = in_batches_that_fit(fits, max(1, size // 2))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if found:
            return f"{said}: {found} fit; use --micro-batch {found}, which adds up the gradients of such pieces"
        return f"{said}, and a single one does not fit; use a smaller network"

    def state(self) -> dict[str, Tensor]:
        """Everything that later updates depend on besides recipe, data and seed.

        Raises: UserError if a loss or a weight is not finite: such a run cannot continue.
        """
        self.require_finite()
        if not bool(torch.stack([p.detach().isfinite().all() for p in self.model.parameters()]).all()):
            raise UserError(
                f"training diverged by step {self.step}: weights are not finite; lower the learning rate (it is "
                f"{self.recipe.learning_rate:g})"
            )
        found = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for name, p in self.model.named_parameters():
            if p in self.optimizer.momenta:
                found[f"momentum.{name}"] = self.optimizer.momenta[p]
        if self.averaged is not None:
            found |= {f"averaged.{name}": value for name, value in self.averaged.state_dict().items()}
        found |= {f"observer.{name}": value for name, value in self.kept.state().items()}
        loop = {"step": torch.tensor(self.step), "loss": self._loss, "targets": self.targets, "weights": self.weights}
        if self.recipe.replays > 1:
            loop["free"] = self._free
        return {name: value.detach() for name, value in (found | {f"loop.{k}": v for k, v in loop.items()}).items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Resume from a state. Raises: UserError for a state of another model or recipe; then nothing is changed."""
        own = {name: value for name, value in self.state().items() if not name.startswith("momentum.")}
        step = state.get("loop.step", torch.tensor(0))
        if self.recipe.momentum > 0 and not torch.equal(step, torch.tensor(0)):
            own |= {f"momentum.{name}": p.detach() for name, p in self.model.named_parameters()}
        # Targets may have been replaced by probabilities.
        soft = torch.zeros(len(self.data), self.classes)
        require_alike(state, own | ({"loop.targets": soft} if state.get("loop.targets", soft).ndim == 2 else {}))
        targets = state["loop.targets"]
        if not 0 <= int(step) <= self.steps or (
            targets.ndim == 1 and not 0 <= targets.min() <= targets.max() < self.classes
        ):
            raise UserError("a state that no training reaches: its step or its targets are out of range; train again")
        part = {kind: _below(kind, state) for kind in ("model", "momentum", "averaged", "observer", "loop")}
        self.model.load_state_dict(part["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(part["averaged"])
        for name, p in self.model.named_parameters():
            if name in part["momentum"]:
                self.optimizer.momenta[p] = torch.empty_like(p).copy_(part["momentum"][name]).detach()
        loop = part["loop"]
        self.step = int(loop["step"])
        self._loss = loop["loss"].to(self._loss)
        self.targets = loop["targets"].to(self.device)
        self.weights.copy_(loop["weights"])
        self.kept.load(part["observer"])
        if "free" in loop:
            self._free = loop["free"].to(self.device)


def require_whole_batches(recipe: Recipe, team: Team) -> None:
    """Refuse to cut batches if the loss of an image depends on the others of its batch. Raises: UserError."""
    if not getattr(recipe.objective, "whole_batches", False):
        return
    pieces = recipe.micro_batch is not None and recipe.micro_batch < recipe.batch_size
    for cut, how in (
        (team.size > 1, f"{team.size} processes: run it on one process"),
        (pieces, f"micro_batch {recipe.micro_batch}: leave micro_batch out, or choose a smaller batch_size"),
        (recipe.compile, "compile, which fills up small batches: leave compile out"),
    ):
        if cut:
            raise UserError(f"objective {type(recipe.objective).__name__} needs whole batches, got {how}")


@dataclass(frozen=True)
class _Batch:
    """A whole batch, the same in every process: image indices, augmentation draws, the attack and its starts."""

    indices: Tensor
    drawn: Tensor
    attack: Attack | None
    start: Tensor | None


@dataclass(frozen=True)
class _Piece:
    """Images at some positions of the batch, perhaps more to fill it up: clean, attacked, and their weights."""

    positions: Tensor
    batch: Batch
    z: Tensor
    weights: Tensor
    gradient: Tensor | None


class _Bfloat16(nn.Module):
    """The model in bfloat16 wherever torch considers that safe, with float32 logits. No loss scaling is needed."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.model(x).float()


@torch.no_grad()
def _classes(network: nn.Module, data: Images) -> int:
    """Number of logits of the network. Raises: UserError for labels beyond them."""
    with evaluating(network):
        classes = network(data.scaled(data.pixels[:1])).shape[1]
    if int(data.labels.max()) >= classes:
        raise UserError(
            f"labels must be 0 to {classes - 1} for a network with {classes} classes, got {int(data.labels.max())}: "
            "renumber the labels or choose another network"
        )
    return int(classes)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Weights take no gradients inside; the mode is unchanged."""
    free = [p for p in model.parameters() if p.requires_grad]
    for p in free:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in free:
            p.requires_grad_(True)


def _below(kind: str, state: dict[str, Tensor]) -> dict[str, Any]:
    return {name[len(kind) + 1 :]: value for name, value in state.items() if name.startswith(f"{kind}.")}
