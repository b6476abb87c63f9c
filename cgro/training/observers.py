"""Observers look at every update of a training, keep tensors with a row for each image, and may change targets and
weights.

An observer is pure: the trainer owns its tensors, hands it the rows of the images of an update, and writes back what it
returns. So these tensors belong to checkpoints, are resumed bit for bit, and are the same in all processes. An
objective that is an observer, too, finds its rows in `Batch.state`. Observing takes no forward pass, unless `prepare`
makes one.
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
    """Images of one update, or the piece of them that is worked on at once: B images of C channels and K classes."""

    x: Tensor
    """Augmented images (B, C, S, S), float32 in [0, 1]."""
    y: Tensor
    """Targets: labels (B,), or probabilities (B, K)."""
    indices: Tensor
    """Which training images they are (B,)."""
    epoch: int = 0
    """Whole epochs done before this update."""
    state: Mapping[str, Tensor] = field(default_factory=dict)
    """Rows (B, ...) of the tensors that an objective or observer keeps for each image."""


@dataclass(frozen=True)
class Seen:
    """What an update has computed anyway, detached; with adversarial weight perturbation, before the perturbation."""

    batch: Batch
    """With the rows of the observer that is asked."""
    clean: Tensor | None
    """Logits (B, K) of the clean images, in training mode; None: the objective does not need them."""
    attacked: Tensor | None
    """Logits (B, K) of the attacked images, in training mode; None: the objective does not need them."""
    losses: Tensor
    """Losses (B,) in nats, before weights of images."""
    step: int
    """Updates done before this one."""


class Observer:
    """Looks at every update. Override what is needed; the defaults keep nothing and change nothing.

    `prepare` and `observe` return new rows (B, ...) of its own tensors by name, or of "weights", the factors >= 0 of
    the losses from the next visit of these images on. One whose `changes_targets` is true may return "targets", too:
    probabilities (B, K), which are one-hot before.
    """

    changes_targets: bool = False

    @property
    def name(self) -> str:
        """Names its tensors in checkpoints."""
        return type(self).__name__

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        """Its tensors before the first update, each (N, ...), for labels (N,)."""
        return {}

    def prepare(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Called before the attack, in evaluation mode without gradients. The attack of TRADES shares `model(batch.x)`;
        elsewhere that is one more forward pass."""
        return {}

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        """Called after the losses of an update."""
        return {}


class Weighted(NamedTuple):
    """Losses of an objective with weights >= 0: the update takes sum w_i l_i / sum w_i over the batch of all processes,
    in place of the mean."""

    losses: Tensor
    """(B,)."""
    weights: Tensor
    """(B,), detached."""


class Remembering(nn.Module):
    """A network for objectives: points that are asked for twice in a row, clean images and attacked images of a piece
    pass through it once."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.begin()

    def begin(self, *points: Tensor) -> None:
        """Remember logits of these tensors from now on, and of the last one; forget the rest."""
        self._named = points
        self._known: list[tuple[Tensor, int, Tensor]] = []

    def recall(self, points: Tensor) -> Tensor | None:
        """Logits of points, detached; None where they did not pass through."""
        found = [logits for known, _, logits in self._known if known is points]
        return found[0].detach() if found else None

    def forward(self, points: Tensor) -> Tensor:
        """Logits (B, K)."""
        for known, version, logits in self._known:
            if known is points and version == points._version and (logits.requires_grad or not torch.is_grad_enabled()):
                return logits
        # First forget, so that the activations of two passes are never held at once in a search.
        self._known = [each for each in self._known if any(each[0] is p for p in self._named) and each[0] is not points]
        logits = self.network(points)
        self._known.append((points, points._version, logits))
        return logits


class Kept:
    """The tensors of all observers of a training, and its targets and weights, on the device of `labels`.

    Raises: UserError for two observers of one name, and tensors that do not have one row for each image.
    """

    def __init__(self, observers: Iterable[Observer], labels: Tensor, classes: int) -> None:
        self.observers, self.classes = tuple(observers), classes
        names = [observer.name for observer in self.observers]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise UserError(f"two observers are called {twice.pop()}: their tensors would be one; name them apart")
        self.targets, self.weights = labels.clone(), torch.ones(len(labels), device=labels.device)
        if any(observer.changes_targets for observer in self.observers):
            self.targets = nn.functional.one_hot(labels, classes).float()
        self._own: dict[str, dict[str, Tensor]] = {}
        for observer in self.observers:
            own = {key: value.to(labels.device) for key, value in observer.initial(labels, classes).items()}
            for key, value in own.items():
                if key in (TARGETS, WEIGHTS) or len(value) != len(labels):
                    raise UserError(
                        f"observer {observer.name} begins with {key} of shape {tuple(value.shape)}: must have one row "
                        f"for each of {len(labels)} images, and another name than {TARGETS} and {WEIGHTS}"
                    )
            self._own[observer.name] = own
        self._invalid: dict[tuple[str, str], Tensor] = {}

    def rows(self, observer: object, indices: Tensor) -> dict[str, Tensor]:
        """Rows of what it keeps; nothing for an objective that is no observer."""
        own = self._own[observer.name] if isinstance(observer, Observer) else {}
        return {key: value[indices] for key, value in own.items()}

    def write(self, observer: Observer, rows: Mapping[str, Tensor], indices: Tensor, step: int) -> None:
        """Put rows in place; those beyond `indices` belong to images that fill a piece.

        Raises: UserError for names that it does not keep, and other shapes or types. Values that are not finite,
        negative weights and targets are found by `require_valid`, which waits for the device.
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
            raise UserError(f"{_words(observer, key, step)} are unknown: must be among {known}")
        return own[key]

    def require_valid(self) -> None:
        """Raises: UserError naming the observer and the update that first returned what cannot be."""
        for (name, key), first in self._invalid.items():
            if (step := int(first)) >= 0:
                limits = "finite and at least 0" if key in (TARGETS, WEIGHTS) else "finite"
                raise UserError(f"{key} of observer {name} at step {step + 1} must be {limits}")

    def share(self, team: Team, indices: Tensor) -> None:
        """After an update: what other processes have written of its batch."""
        if team.size == 1 or not self.observers:
            return
        places = [self.weights, *(value for own in self._own.values() for value in own.values())]
        if any(observer.changes_targets for observer in self.observers):
            places.append(self.targets)
        mine = team.share(torch.arange(len(indices), device=indices.device))
        for dtype in sorted({place.dtype for place in places}, key=str):
            among = [place for place in places if place.dtype == dtype]
            found = []
            for place in among:
                rows = torch.zeros_like(place[indices], dtype=torch.uint8 if dtype == torch.bool else dtype)
                rows[mine] = place[indices[mine]].to(rows.dtype)
                found.append(rows)
            team.sum_in_place(found)
            for place, rows in zip(among, found, strict=True):
                place[indices] = rows.to(dtype)

    def state(self) -> dict[str, Tensor]:
        """The tensors of the observers by name, for a checkpoint."""
        return {f"{name}.{key}": value for name, own in self._own.items() for key, value in own.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over tensors of the same names and shapes."""
        for name, own in self._own.items():
            for key, value in own.items():
                value.copy_(state[f"{name}.{key}"])


def _words(observer: Observer, key: str, step: int) -> str:
    return f"{key} of observer {observer.name} at step {step + 1}"
