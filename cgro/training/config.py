"""A training run on images as one frozen configuration: what `cgro train` and the experiments on images are made of."""

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
from cgro.training.choices import AttackMode, AttackStart, AugmentationName, Averaging, ObjectiveName, Precision
from cgro.training.schedules import ScheduleName

if TYPE_CHECKING:  # what it leads to is imported there: a configuration is read without torch
    from cgro.attacks.ball import Budget
    from cgro.attacks.images import Attack
    from cgro.training.loop import Recipe
    from cgro.training.objectives import Objective


@dataclass(frozen=True)
class TrainingConfig:
    """Adversarial training of one network on images, with learning curves and the best and last checkpoint.

    >>> import cgro
    >>> config = cgro.TrainingConfig(data="digits", samples=200, radius=0.1, epochs=10, objective="trades")
    >>> config.method, config.budget
    ('TRADES training', Budget(norm='inf', radius=0.1))
    """

    data: TrainingImages = "digits"
    """Images: digits (8x8, part of scikit-learn), mnist, cifar10 or cifar100, from folder CGRO_DATA; own: arrays that
    are given to cgro.train in Python."""

    samples: int | None = 500
    """Training images, a random subset of equal class shares, at least 10; None: all that are not held out."""

    held_out: int = 300
    """Images at the end of the official training set that are held out to choose the best checkpoint by, 0 or more."""

    classes: tuple[int, ...] = ()
    """Train on these classes alone, renumbered 0, 1, ...; none: all."""

    label_noise: float = 0.0
    """Share of training labels drawn anew, 0 to 1; 1 gives random labels."""

    model: ModelName = "small-cnn"
    """Network."""

    width: float | None = None
    """Its width, above 0: channels of a small CNN, a multiplier of the others; None: small-cnn 24, lenet 16, resnet 1,
    wrn 10."""

    objective: ObjectiveName = "adversarial"
    """What is minimized; adversarial is PGD-AT, with --attack-steps 1 it is fast training."""

    beta: float | None = None
    """Weight of the second term of trades and mart, above 0; None: that of their papers, 6 and 5."""

    replays: int = 8
    """How often objective free trains on a batch, 2 or more; an epoch takes that many times its updates."""

    weight_perturbation: float = 0.0
    """gamma of adversarial weight perturbation (AWP), 0 or more; 0.005 in the paper, 0 is without."""

    norm: Norm = "inf"
    """Norm of perturbations."""

    radius: float = 0.15
    """Radius of perturbations in units of pixels in [0, 1], e.g. 0.0314 = 8/255 in l_inf, 0.5 in l_2, 12 in l_1."""

    attack_steps: int = 5
    """PGD steps for each training batch, 1 or more."""

    step_size: float | None = None
    """Length of a PGD step in radii, above 0; None: 2.5 / attack_steps, which crosses the ball, and 1.25 for a single
    step."""

    attack_mode: AttackMode = "evaluation"
    """Batch norms during the attack: evaluation (running statistics) or training (those of the batch)."""

    attack_start: AttackStart = "uniform"
    """Start of the attack: uniform in the ball, or normal: the image plus 0.001 N(0, 1), as in TRADES and MART."""

    radius_warmup: float = 0.4
    """Share of the training over which the radius rises to its full size, 0 to 1."""

    epochs: int = 40
    """Passes over the training images, 1 or more."""

    batch_size: int = 32
    """Images in a batch, 1 or more."""

    micro_batch: int | None = None
    """Images worked on at once, in training and evaluation, their gradients added up, at least 1; None: all of a batch.

    With batch norms that is not quite the gradient of the batch: each piece has its own statistics.
    """

    schedule: ScheduleName = "cyclic"
    """Learning rate: cyclic (up for a fifth, then down), piecewise (a tenth at each drop), cosine or constant."""

    drops: tuple[int, ...] = ()
    """Epochs after which schedule piecewise takes a tenth of the rate, increasing; none: at 1/2 and 3/4 of all."""

    learning_rate: float = 0.05
    """Largest learning rate of SGD, above 0."""

    momentum: float = 0.9
    """Momentum of SGD, at least 0 and below 1."""

    weight_decay: float = 0.0
    """Weight decay, 0 or more; 0.0005 is usual for CIFAR-10."""

    augmentation: AugmentationName = "none"
    """Random crops, mirror images and grey squares, anew in every epoch."""

    averaging: Averaging = "none"
    """Evaluate an average of the weights: ema (0.999 an update, at first less) or swa (ends of the last epochs)."""

    precision: Precision = "float32"
    """Precision of forward and backward passes; weights are float32."""

    compile: bool = False
    """Compile the network with torch.compile, for a GPU: minutes at the start; on a CPU it was slower."""

    deterministic: bool = False
    """Use deterministic GPU algorithms alone: the same bits on the same GPU, slower; on a CPU bits repeat anyway."""

    evaluate_every: int = 1
    """Epochs between evaluations, 1 or more; the first and the last epoch are always evaluated."""

    evaluation_images: int = 1000
    """Images of each part (training, held out, test) to evaluate at most, 10 or more."""

    evaluation_steps: int = 10
    """PGD steps of the evaluation, 1 or more, and never fewer than attack_steps: they begin at the radius and shrink,
    from 2 starts."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute: auto (a GPU if there is one), cpu or cuda; bits repeat on a CPU only."""

    seed: int = 0
    """Seed of everything that is drawn, 0 or more."""

    @classmethod
    def digits(cls) -> TrainingConfig:
        """500 images of 8x8 pixels and a small network: half a minute of one CPU core."""
        return cls()

    @classmethod
    def mnist(cls) -> TrainingConfig:
        """LeNet at the radius of the MNIST challenge: minutes on a GPU; on a CPU, ask for fewer samples.

        The recipe is ours: SGD with a cyclic rate, a radius that rises, 10 steps of a quarter of the radius, and the
        best checkpoint on 10,000 images held out.
        """
        return cls(
            data="mnist", samples=None, held_out=10_000, model="lenet", radius=0.3, attack_steps=10, epochs=20,
            batch_size=128, learning_rate=0.1, evaluation_images=10_000, evaluation_steps=20,
        )  # fmt: skip

    @classmethod
    def cifar10(cls) -> TrainingConfig:
        """PreActResNet-18 at radius 8/255 with the learning rates of Rice et al. (ICML 2020); made for a GPU.

        Not as there: 40 epochs in place of 200; 10,000 training images held out to choose the best checkpoint by;
        batch norms in evaluation mode during the attack (--attack-mode training is theirs); bfloat16; pixels
        normalized by 1/2; He initialization.
        """
        return cls(
            data="cifar10", samples=None, held_out=10_000, model="preact-resnet18", radius=8 / 255,
            attack_steps=10, radius_warmup=0.0, epochs=40, batch_size=128, schedule="piecewise", learning_rate=0.1,
            weight_decay=5e-4, augmentation="crop-flip", precision="bfloat16", evaluation_images=2000,
        )  # fmt: skip

    @property
    def own_width(self) -> float:
        """The width, or that of the network where it is left to it."""
        return WIDTHS[self.model] if self.width is None else self.width

    @property
    def method(self) -> str:
        """How it trains, in words."""
        fast = "Fast" if self.attack_steps == 1 else "PGD"
        names = {"standard": "Standard", "trades": "TRADES", "mart": "MART", "free": "Free adversarial"}
        name = names.get(self.objective, f"{fast} adversarial")
        return f"{name} training{' with AWP' if self.weight_perturbation > 0 else ''}"

    @property
    def work(self) -> float:
        """Epochs."""
        return float(self.epochs)

    @property
    def budget(self) -> Budget:
        """The perturbations that are trained and evaluated against."""
        from cgro.attacks.ball import Budget

        return Budget(self.norm, self.radius)

    @property
    def recipe(self) -> Recipe:
        """How to train."""
        from cgro.attacks.images import Attack
        from cgro.data.batches import AUGMENTATIONS
        from cgro.training.loop import Recipe
        from cgro.training.objectives import Adversarial, Mart, Standard, Trades

        step = self.step_size
        if step is None:
            step = 1.25 if self.attack_steps == 1 else 2.5 / self.attack_steps
        objectives: dict[str, Objective] = {
            "standard": Standard(),
            "adversarial": Adversarial(),
            "trades": Trades() if self.beta is None else Trades(self.beta),
            "mart": Mart() if self.beta is None else Mart(self.beta),
            "free": Adversarial(),
        }
        attack = None if self.objective == "standard" else Attack(self.budget, self.attack_steps, relative_step=step)
        return Recipe(
            attack,
            self.epochs,
            self.batch_size,
            self.learning_rate,
            objectives[self.objective],
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            radius_warmup=self.radius_warmup,
            augmentation=AUGMENTATIONS[self.augmentation],
            micro_batch=self.micro_batch,
            weight_perturbation=self.weight_perturbation,
            replays=self.replays if self.objective == "free" else 1,
            averaging=self.averaging,
            precision=self.precision,
            compile=self.compile,
            drops=self.drops,
            attack_mode=self.attack_mode,
            attack_start=self.attack_start,
        )

    @property
    def stronger(self) -> Attack:
        """The attack of the evaluation: its steps are at least those of the training, and it has two starts."""
        from cgro.attacks.images import evaluation_attack

        trained = 0 if self.objective == "standard" else self.attack_steps
        return evaluation_attack(self.budget, max(self.evaluation_steps, trained))

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, limits.checked(self, each.name))
        if self.data != "own":  # whose sizes are known, and checked, when the training begins
            limits.require_images(self, TRAINING_IMAGES[self.data], SHAPES[self.data][2])
            limits.require_radius(self.radius, self.norm, limits.pixels_of(self))
        limits.require_sizes(self)
        if self.weight_decay * self.learning_rate >= 1:
            raise UserError(
                f"weight_decay is {self.weight_decay:g} with learning_rate {self.learning_rate:g}: an update would "
                f"take more than all of the weights; give one below {1 / self.learning_rate:.4g}"
            )
        limits.require_drops(self)
        if self.objective == "free" and self.weight_perturbation > 0:
            raise UserError(
                f"weight_perturbation must be 0 with objective free, got {self.weight_perturbation:g}: it takes "
                "both of its steps from one backward pass"
            )


@dataclass(frozen=True)
class Repeated:
    """Training runs that differ by their seed alone."""

    training: Annotated[TrainingConfig, tyro.conf.arg(name="")] = field(default_factory=TrainingConfig)
    """Data, network, objective and optimizer; its seed is that of the first run."""

    seeds: int = 2
    """Independent runs (training subset, weights, order, attacks), 1 or more."""

    @property
    def runs(self) -> list[TrainingConfig]:
        """One training run for each seed."""
        return [replace(self.training, seed=self.training.seed + k) for k in range(self.seeds)]

    def __post_init__(self) -> None:
        integer("seeds", self.seeds, low=1)
        require_memory(limits.ROW * self.seeds, f"seeds = {self.seeds:,}")
