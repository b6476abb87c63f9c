"""Observers are called at every update of the training loop. They keep per-sample tensors and may change targets and
weights.

An observer has no state of its own. The trainer owns its tensors, passes in the rows of the current images, and writes
back the rows that it returns. The tensors are therefore saved in checkpoints, resume bit for bit, and agree between
processes. An objective may be an observer as well; it finds its rows in `Batch.state`. Observing costs no forward pass
unless `prepare` makes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cgro.base.errors import UserError
from cgro.training.distributed import Team

TARGETS, WEIGHTS = "targets", "weights"


@dataclass(frozen=True)
class Batch:
    """The images of an update, or the piece of them that is processed at once: B images of C channels and K classes."""

    x: Tensor
    """Augmented images (B, C, S, S), float32 in [0, 1]."""
    y: Tensor
    """Targets: labels (B,), or probabilities (B, K)."""
    indices: Tensor
    """Their indices in the training set (B,)."""
    epoch: int = 0
    """Number of epochs completed before this update."""
    state: dict[str, Tensor] = field(default_factory=dict)
    """Rows (B, ...) of the per-sample tensors of the objective or observer. What an objective adds in `ascent` is there
    in its `losses` and `observe`."""


@dataclass(frozen=True)
class Seen:
    """What the update computed anyway, detached. With adversarial weight perturbation: before the perturbation."""

    batch: Batch
    """Its `state` holds the rows of the observer that is called."""
    clean: Tensor | None
    """Logits (B, K) of the clean images in training mode; None if the objective does not compute them."""
    attacked: Tensor | None
    """Logits (B, K) of the attacked images in training mode; None if the objective does not compute them."""
    losses: Tensor
    """Losses (B,) in nats, before the weights of the images are applied."""
    step: int
    """Number of updates completed before this one."""
    model: nn.Module
    """The network before the update."""
    gradient: Tensor | None = None
    """Gradients (B, C, S, S) of what the attack maximizes, at its starting points; None without PGD."""
    weights: Tensor | None = None
    """Weights (B,) that the objective gave to the losses; None if it gives none."""


class Observer:
    """Called at every update. Override the methods that you need; by default nothing is kept or changed.

    `prepare` and `observe` return new rows (B, ...) of the observer's tensors, by name. They may also return "weights",
    factors >= 0 that multiply the losses of these images from their next visit on. If `changes_targets` is true, they
    may return "targets" as well: probabilities (B, K), which start one-hot.
    """

    changes_targets: bool = False

    @property
    def name(self) -> str:
        """Names its tensors in checkpoints."""
        return type(self).__name__

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        """Initial values of its tensors, each (N, ...), given the labels (N,)."""
        return {}

    @property
    def prepares(self) -> bool:
        """Whether it overrides `prepare`."""
        return type(self).prepare is not Observer.prepare

    def prepare(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Called before the attack, in evaluation mode and without gradients. `model(batch.x)` costs one forward pass,
        except with TRADES, whose attack shares it."""
        return {}

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        """Called once the losses of the update are known."""
        return {}


class Weighted(NamedTuple):
    """Losses with weights >= 0. The update minimizes sum w_i l_i / sum w_i over the whole batch, across processes,
    instead of the mean."""

    losses: Tensor
    """(B,)."""
    weights: Tensor
    """(B,), detached."""


class Remembering(nn.Module):
    """A network that caches logits, so that an objective may ask for the same points more than once.

    It caches the points named in `begin` (the clean and the attacked images) and the most recent ones.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.begin()

    def begin(self, *points: Tensor) -> None:
        """Clear the cache, and from now on keep the logits of these tensors."""
        self._named = points
        self._known: list[tuple[Tensor, int, Tensor]] = []

    def recall(self, points: Tensor) -> Tensor | None:
        """Cached logits, detached; None if there are none."""
        found = [logits for known, _, logits in self._known if known is points]
        return found[0].detach() if found else None

    def forward(self, points: Tensor) -> Tensor:
        """Logits (B, K)."""
        for known, version, logits in self._known:
            if known is points and version == points._version and (logits.requires_grad or not torch.is_grad_enabled()):
                return logits
        # Drop the most recent logits first, so that a search never holds the activations of two passes.
        self._known = [each for each in self._known if any(each[0] is p for p in self._named) and each[0] is not points]
        logits = self.network(points)
        self._known.append((points, points._version, logits))
        return logits


class Kept:
    """The tensors of all observers, and the targets and weights of the images, on the device of `labels`.

    Raises: UserError for two observers with the same name, or tensors without exactly one row per image.
    """

    def __init__(self, observers: Iterable[Observer], labels: Tensor, classes: int) -> None:
        self.observers = tuple(observers)
        names = [observer.name for observer in self.observers]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise UserError(f"observers must have different names, got two called {twice.pop()}")
        self.targets, self.weights = labels.clone(), torch.ones(len(labels), device=labels.device)
        if any(observer.changes_targets for observer in self.observers):
            self.targets = nn.functional.one_hot(labels, classes).float()
        self._own: dict[str, dict[str, Tensor]] = {}
        for observer in self.observers:
            own = {key: value.to(labels.device) for key, value in observer.initial(labels, classes).items()}
            for key, value in own.items():
                if key in (TARGETS, WEIGHTS) or len(value) != len(labels):
                    raise UserError(
                        f"{key} of observer {observer.name} must have one row for each of {len(labels)} images and a "
                        f"name other than {TARGETS} and {WEIGHTS}, got shape {tuple(value.shape)}"
                    )
            self._own[observer.name] = own
        self._invalid: dict[tuple[str, str], Tensor] = {}

    def rows(self, observer: object, indices: Tensor) -> dict[str, Tensor]:
        """Its rows for these images; empty for an objective that is not an observer."""
        own = self._own[observer.name] if isinstance(observer, Observer) else {}
        return {key: value[indices] for key, value in own.items()}

    def write(self, observer: Observer, rows: Mapping[str, Tensor], indices: Tensor, step: int) -> None:
        """Store new rows. Rows beyond `indices` belong to padding and are dropped.

        Raises: UserError for unknown names and wrong shapes or types. `require_valid` checks the values, because that
        waits for the device.
        """
        for key, value in rows.items():
            place = self._place(observer, key, step)
            if value.shape[1:] != place.shape[1:] or len(value) < len(indices) or value.dtype != place.dtype:
                expected = (len(indices), *place.shape[1:])
                raise UserError(
                    f"{_words(observer, key, step)} must be {place.dtype} of shape {expected}, got {value.dtype} of "
                    f"shape {tuple(value.shape)}"
                )
            value = value[: len(indices)].detach()
            place[indices] = value
            if value.is_floating_point():
                wrong = ~value.isfinite()
                if key in (TARGETS, WEIGHTS):
                    wrong = wrong | (value < 0)
                first = self._invalid.setdefault((observer.name, key), torch.tensor(-1, device=place.device))
                self._invalid[observer.name, key] = torch.where((first < 0) & wrong.any(), step, first)

    def _place(self, observer: Observer, key: str, step: int) -> Tensor:
        own = self._own[observer.name]
        if key == WEIGHTS:
            return self.weights
        if key == TARGETS and observer.changes_targets:
            return self.targets
        if key not in own:
            known = ", ".join([*own, WEIGHTS, *([TARGETS] if observer.changes_targets else [])])
            raise UserError(f"{_words(observer, key, step)} must be one of {known}")
        return own[key]

    def require_valid(self) -> None:
        """Raises: UserError naming the observer and the update that first returned invalid values."""
        for (name, key), first in self._invalid.items():
            if (step := int(first)) >= 0:
                limits = "finite and at least 0" if key in (TARGETS, WEIGHTS) else "finite"
                raise UserError(f"{key} of observer {name} at step {step + 1} must be {limits}")

    def share(self, team: Team, indices: Tensor) -> None:
        """After an update, exchange the rows that each process wrote."""
        if team.size == 1 or not self.observers:
            return
        places = [self.weights, *(value for own in self._own.values() for value in own.values())]
        if any(observer.changes_targets for observer in self.observers):
            places.append(self.targets)
        mine = team.share(torch.arange(len(indices), device=indices.device))
        written = [torch.zeros_like(place[indices]) for place in places]
        for place, rows in zip(places, written, strict=True):
            rows[mine] = place[indices[mine]]
        team.sum_in_place(written)
        for place, rows in zip(places, written, strict=True):
            place[indices] = rows

    def of(self, observer: Observer) -> dict[str, Tensor]:
        """The tensors of an observer."""
        return dict(self._own[observer.name])

    def state(self) -> dict[str, Tensor]:
        """The tensors of all observers by name, for a checkpoint."""
        return {f"{name}.{key}": value for name, own in self._own.items() for key, value in own.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore tensors with the same names and shapes."""
        for name, own in self._own.items():
            for key, value in own.items():
                value.copy_(state[f"{name}.{key}"])


def _words(observer: Observer, key: str, step: int) -> str:
    return f"{key} of observer {observer.name} at step {step + 1}"
