"""The frozen configuration of a training run on images, shared by `cgro train` and the image experiments."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from cgro.base.errors import UserError
from cgro.base.machine import require_memory
from cgro.base.norms import Norm
from cgro.base.validate import integer
from cgro.data.catalog import SHAPES, TRAINING_IMAGES, TrainingImages
from cgro.models.widths import WIDTHS, ModelName
from cgro.training import limits
from cgro.training.choices import CURE_WORDS, WEIGHTED, AugmentationName, CureName, ObjectiveName
from cgro.training.cures import require_cure, with_cure
from cgro.training.optimization import STACKABLE, Optimization

if TYPE_CHECKING:  # imported where it is used, so that reading a configuration does not import torch
    import numpy as np

    from cgro.attacks.ball import Budget
    from cgro.attacks.images import Attack
    from cgro.training.recipe import Recipe


@dataclass(frozen=True)
class Task:
    """What is learned by which network."""

    data: TrainingImages = "digits"
    """Data set: digits (8x8, bundled with scikit-learn), mnist, cifar10 or cifar100; own: arrays passed to cgro.train
    in Python."""

    samples: int | None = 500
    """Number of training images, a stratified random subset, at least 10; None: all that are not held out."""

    held_out: int = 300
    """Images held out from the end of the official training set to select the best checkpoint, 0 or more."""

    classes: tuple[int, ...] = ()
    """Train on these classes only, renumbered 0, 1, ...; by default all."""

    label_noise: float = 0.0
    """Fraction of training labels that are redrawn at random, 0 to 1; 1 gives random labels."""

    model: ModelName = "small-cnn"
    """Network architecture."""

    width: float | None = None
    """Width of the network, above 0: channels of a small CNN, a multiplier of the others; None: small-cnn 24, lenet 16,
    resnet 1, wrn 10."""


@dataclass(frozen=True)
class TrainingConfig(Optimization, Task):
    """Adversarial training of one network on images, with learning curves and the best and last checkpoints.

    >>> import cgro
    >>> config = cgro.TrainingConfig(data="digits", samples=200, radius=0.1, epochs=10, objective="trades")
    >>> config.method, config.budget
    ('TRADES training', Budget(norm='inf', radius=0.1))
    """

    objective: ObjectiveName = "adversarial"
    """Training objective; adversarial is PGD-AT, and fast adversarial training with --attack-steps 1."""

    beta: float | None = None
    """Weight of the second term of trades, trades-adversarial and mart, above 0; weight of the adversarial term of
    mixture, at most 1, which leaves 1 - beta for the clean one. None: 6, 6, 5 and 0.5."""

    replays: int = 8
    """Number of times that objective free replays each batch, 2 or more; an epoch has that many times the updates."""

    norm: Norm = "inf"
    """Norm of the perturbations."""

    radius: float = 0.15
    """Perturbation radius for pixels in [0, 1], e.g. 0.0314 = 8/255 in l_inf, 0.5 in l_2, 12 in l_1."""

    attack_steps: int = 5
    """PGD steps on each training batch, 1 or more."""

    step_size: float | None = None
    """PGD step size in units of the radius, above 0; None: 2.5 / attack_steps, enough to cross the ball, or 1.25 for a
    single step."""

    augmentation: AugmentationName = "none"
    """Random crops, horizontal flips and cutout, redrawn in every epoch."""

    cure: CureName = "none"
    """Cure of robust overfitting. Early stopping needs none: it is the best checkpoint on held-out images."""

    cure_strength: float | None = None
    """Strength of the cure, 0 or more; None: temporal-ensembling 300, label-smoothing 0.1, awp 0.005, weight-decay
    0.005, bat, random-weights and reweighting 1, smoothing 0.2, dropping 0.1."""

    cure_start: int | None = None
    """Epoch after which temporal-ensembling, self-adaptive, swa, or the weights of bat, random-weights or gairat start,
    0 or more; None: 0.45 of all epochs, 0.75 for swa, 0.1 for bat and random-weights, 0.5 for gairat."""

    cure_end: int | None = None
    """Epoch after which temporal-ensembling has its full weight, above cure_start; None: 0.75 of all epochs."""

    cure_momentum: float = 0.9
    """Momentum of the averaged predictions of temporal-ensembling and self-adaptive, at least 0 and below 1."""

    cure_discrimination: float | None = None
    """Weight of the discrimination loss of bat and random-weights, 0 or more; None: 0.2."""

    cure_scores: str | None = None
    """CSV file of the scores for reweighting, smoothing and dropping: columns index (of the training image in its data
    set, from 0) and memorization (-1 to 1), as `cgro memorized` writes them."""

    deterministic: bool = False
    """Use only deterministic GPU algorithms: slower, but bit-identical on the same GPU. CPU runs always are."""

    evaluate_every: int = 1
    """Epochs between evaluations, 1 or more; the first and last epochs are always evaluated."""

    evaluation_images: int = 1000
    """Maximum number of images to evaluate in each part (training, held-out, test), 10 or more."""

    evaluation_steps: int = 10
    """PGD steps of the evaluation, 1 or more and never fewer than attack_steps. Two starts; the step size begins at the
    radius and shrinks."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device: auto (a GPU if there is one), cpu or cuda; results are bit-identical on CPUs only."""

    seed: int = 0
    """Seed of all random draws, 0 or more."""

    @classmethod
    def digits(cls) -> TrainingConfig:
        """500 images of 8x8 pixels and a small network: half a minute on one CPU core."""
        return cls()

    @classmethod
    def noisy_digits(cls) -> TrainingConfig:
        """200 digits with 40 % of their labels redrawn, which a network fits robustly at the cost of unseen images:
        robust overfitting within seconds, already before the learning rate drops."""
        return cls(
            samples=200, label_noise=0.4, width=16, radius=0.1, radius_warmup=0.2, epochs=40, schedule="piecewise",
            evaluate_every=8, evaluation_images=200,
        )  # fmt: skip

    @classmethod
    def mnist(cls) -> TrainingConfig:
        """LeNet at the radius of the MNIST challenge: minutes on a GPU; use fewer samples on a CPU.

        The recipe is ours: SGD with a cyclic learning rate, a rising radius, 10 steps of a quarter of the radius, and
        the best checkpoint on 10,000 held-out images.
        """
        return cls(
            data="mnist", samples=None, held_out=10_000, model="lenet", radius=0.3, attack_steps=10, epochs=20,
            batch_size=128, learning_rate=0.1, evaluation_images=10_000, evaluation_steps=20,
        )  # fmt: skip

    @classmethod
    def cifar10(cls) -> TrainingConfig:
        """PreActResNet-18 at radius 8/255 with the learning rates of Rice et al. (ICML 2020); needs a GPU.

        Differences: 40 epochs instead of 200; 10,000 training images held out to select the best checkpoint; batch norm
        in evaluation mode during the attack (theirs is --attack-mode training); bfloat16; pixels normalized by 1/2; He
        initialization.
        """
        return cls(
            data="cifar10", samples=None, held_out=10_000, model="preact-resnet18", radius=8 / 255,
            attack_steps=10, radius_warmup=0.0, epochs=40, batch_size=128, schedule="piecewise", learning_rate=0.1,
            weight_decay=5e-4, augmentation="crop-flip", precision="bfloat16", evaluation_images=2000,
        )  # fmt: skip

    @property
    def own_width(self) -> float:
        """The width; the default width of the network if none is given."""
        return WIDTHS[self.model] if self.width is None else self.width

    @property
    def method(self) -> str:
        """The training method in words."""
        fast = "Fast" if self.attack_steps == 1 else "PGD"
        names = {
            "standard": "Standard",
            "mixture": "Mixed",
            "trades": "TRADES",
            "trades-adversarial": "TRADES (adversarial cross-entropy)",
            "mart": "MART",
            "free": "Free adversarial",
        }
        name = names.get(self.objective, f"{fast} adversarial")
        with_awp = " with AWP" if self.weight_perturbation > 0 else ""
        return f"{name} training{with_awp}{'' if self.cure == 'none' else f' with {CURE_WORDS[self.cure]}'}"

    @property
    def side(self) -> int:
        """Pixels of the side of an image; 0 for own arrays, whose size is known when the training begins."""
        return 0 if self.data == "own" else SHAPES[self.data][1]

    @property
    def work(self) -> float:
        """Epochs."""
        return float(self.epochs)

    @property
    def first_drop(self) -> int:
        """Epochs before schedule piecewise first divides the learning rate; for the other schedules half of all."""
        return self.drops[0] if self.drops else self.epochs // 2

    def is_due(self, epoch: int) -> bool:
        """Whether the network is evaluated after this epoch, counted from 1."""
        return epoch % self.evaluate_every == 0 or epoch in (1, self.epochs)

    @property
    def budget(self) -> Budget:
        """The perturbation budget of training and evaluation."""
        from cgro.attacks.ball import Budget

        return Budget(self.norm, self.radius)

    @property
    def recipe(self) -> Recipe:
        """The recipe of the training loop."""
        return self.recipe_of()

    def recipe_of(self, index: np.ndarray | None = None) -> Recipe:
        """The recipe for the training images with these indices in their data set, by which scores are looked up."""
        from cgro.attacks.images import Attack
        from cgro.data.batches import AUGMENTATIONS
        from cgro.training.objectives import OBJECTIVES
        from cgro.training.recipe import Recipe

        step = self.step_size
        if step is None:
            step = 1.25 if self.attack_steps == 1 else 2.5 / self.attack_steps
        kind = OBJECTIVES[self.objective]
        objective = kind() if self.beta is None or self.objective not in WEIGHTED else kind(self.beta)
        attack = None if self.objective == "standard" else Attack(self.budget, self.attack_steps, relative_step=step)
        recipe = Recipe(
            attack=attack,
            objective=objective,
            augmentation=AUGMENTATIONS[self.augmentation],
            replays=self.replays if self.objective == "free" else 1,
            **{each.name: getattr(self, each.name) for each in fields(Optimization)},
        )
        return with_cure(recipe, self, index)

    @property
    def stronger(self) -> Attack:
        """The evaluation attack: at least as many steps as in training, from two starts."""
        from cgro.attacks.images import evaluation_attack

        trained = 0 if self.objective == "standard" else self.attack_steps
        return evaluation_attack(self.budget, max(self.evaluation_steps, trained))

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, limits.checked(self, each.name))
        if self.data != "own":  # sizes of own arrays are known, and checked, only when training begins
            limits.require_images(self, TRAINING_IMAGES[self.data], SHAPES[self.data][2])
            limits.require_radius(self.radius, self.norm, limits.pixels_of(self))
        limits.require_sizes(self)
        if self.weight_decay * self.learning_rate >= 1:
            raise UserError(
                f"weight_decay must be below {1 / self.learning_rate:.4g} with learning_rate {self.learning_rate:g}, "
                f"got {self.weight_decay:g}: an update would shrink the weights to 0 or beyond"
            )
        limits.require_drops(self)
        require_cure(self)
        if self.cure_scores is not None:  # by its content: results of other scores must not pass for those of these
            from cgro.data.scores import recorded

            object.__setattr__(self, "cure_scores", recorded(self.cure_scores))
        if self.objective == "mixture" and self.beta is not None and self.beta > 1:
            raise UserError(f"beta must be at most 1 with objective mixture, got {self.beta:g}: 1 - beta is a weight")
        if self.objective == "free" and self.weight_perturbation > 0:
            raise UserError(
                f"weight_perturbation must be 0 with objective free, got {self.weight_perturbation:g}: it takes "
                "both of its steps from one backward pass"
            )


@dataclass(frozen=True)
class JudgedRun:
    """A training run, and how many test images judge it; a cell for `cgro.training.judging.judge`."""

    training: TrainingConfig
    images: int

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work


@dataclass(frozen=True)
class Stack:
    """Training runs of small networks at once; a cell for `cgro.training.stacked_runs.train_stack`.

    They may differ in data, labels, seed, radius and beta. Each run's result is the same in every stack, up to
    rounding.
    """

    runs: tuple[TrainingConfig, ...]

    @property
    def work(self) -> float:
        """Epochs."""
        return sum(run.work for run in self.runs)


def require_stackable(config: TrainingConfig) -> None:
    """Refuse what only networks trained one by one can have. Raises: UserError."""
    if config.model not in ("small-cnn", "lenet"):
        raise UserError(f"model must have no batch norm to be trained many at once, got {config.model}")
    for name, value in {**STACKABLE, "augmentation": "none", "cure": "none"}.items():
        if getattr(config, name) != value:
            raise UserError(f"{name} must be {str(value).lower()} to train many at once, got {getattr(config, name)}")


def is_stackable(config: TrainingConfig) -> bool:
    """Whether networks of this configuration can be trained many at once."""
    try:
        require_stackable(config)
    except UserError:
        return False
    return config.objective != "free"


@dataclass(frozen=True)
class Repeated:
    """Training runs that differ only in their seed."""

    training: Annotated[TrainingConfig, tyro.conf.arg(name="")] = field(default_factory=TrainingConfig)
    """Data, network, objective and optimizer; its seed is the seed of the first run."""

    seeds: int = 2
    """Independent runs (training subset, weights, order, attacks), 1 or more."""

    @property
    def runs(self) -> list[TrainingConfig]:
        """One training run for each seed."""
        return [replace(self.training, seed=self.training.seed + k) for k in range(self.seeds)]

    def __post_init__(self) -> None:
        integer("seeds", self.seeds, low=1)
        require_memory(limits.ROW * self.seeds, f"seeds = {self.seeds:,}")


@dataclass(frozen=True)
class Judged(Repeated):
    """Such runs, whose best and last checkpoints are judged; the best one needs held-out images."""

    judged_images: int = 500
    """Test images under the strong ensemble, at least 10."""

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("judged_images", self.judged_images, low=10)
        if self.training.held_out < 10:
            raise UserError(
                f"held_out must be at least 10, to choose the best checkpoint by, got {self.training.held_out}"
            )
