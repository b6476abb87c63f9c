"""Clean and robust accuracy of a network, attack by attack, with warnings about unreliable numbers.

Each attack is run on the images that withstood the earlier ones, so accuracies never increase and the last one holds
under all attacks. Points are projected exactly onto the ball and classified again.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # its parts are imported when first used
import torch
import xarray as xr
from torch import Tensor, nn

from cgro.attacks.arguments import require_images, require_model
from cgro.attacks.ball import Budget
from cgro.attacks.calls import AttackCall, survivors
from cgro.attacks.ensemble import AttackEnsemble
from cgro.attacks.gradient_masking import Look, look
from cgro.attacks.images import correct, evaluation_attack
from cgro.attacks.modes import judging
from cgro.base.errors import AccuracyWarning, UserError
from cgro.base.machine import in_batches_that_fit
from cgro.base.norms import cube_diameter
from cgro.base.randomness import Stream
from cgro.base.validate import between, integer
from cgro.data.batches import Images

Tick = Callable[[float], object]
ANYWHERE = 100
"""Number of images attacked with an unlimited radius."""
FEW = 0.05
"""Share of them that may resist."""
MASKED = 10.0
"""Difference in accuracy between PGD and the ensemble above which masked gradients are suspected."""


@dataclass(frozen=True)
class Evaluation:
    """Which images are correct, bool (N,), by name of the attack, and signs of unreliable numbers."""

    masks: dict[str, Tensor]
    clean: Look
    resisting: int
    """Of `tried` correct images, those that no perturbation was found for that may be as large as the box."""
    tried: int

    def record(self) -> dict[str, Any]:
        """For JSON: signs of masked gradients."""
        about = {"attacked_without_limit": self.tried, "correct_without_limit": self.resisting}
        return self.clean.record() | about | {"warnings": self.complaints()}

    def complaints(self) -> list[str]:
        """Reasons to doubt the robust accuracy, one sentence each."""
        found = self.clean.complaints()
        if self.resisting > FEW * self.tried and not self.clean.constant:
            found.append(
                f"{self.resisting} of {self.tried} images stay correct where every pixel may become anything: "
                "gradients are masked, or the network answers nearly everything with one class"
            )
        missed = 100 * self._missed_by_pgd()
        if missed > MASKED:
            found.append(
                f"PGD misses {missed:.0f} points of what the ensemble finds: gradients may be masked; judge this "
                "network by the ensemble, and by attacks made for it"
            )
        return found

    def _missed_by_pgd(self) -> float:
        """Fraction of images that withstand PGD but not the ensemble."""
        pgd = [name for name in self.masks if name.startswith("PGD-")]
        last = list(self.masks.values())[-1]
        return float((self.masks[pgd[0]].double() - last.double()).mean()) if pgd and len(last) else 0.0


def evaluate(
    model: nn.Module,
    images: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    budget: Budget,
    *,
    steps: int = 20,
    strong: bool = True,
    attacks: Mapping[str, AttackCall] | None = None,
    batch_size: int = 256,
    confidence: float = 0.95,
    seed: int = 0,
) -> xr.Dataset:
    """Clean and robust accuracy of any torch classifier, with Wilson intervals.

        >>> import torch, cgro
        >>> data = cgro.load_images("digits")
        >>> images, labels = data.test_images[:20] / data.white, data.test_labels[:20]
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> result = cgro.evaluate(model, images, labels, cgro.Budget("inf", 0.1), strong=False)
        >>> result.attack.values.tolist(), result.attrs["images"]
        (['clean', 'PGD-20'], 20)

    Args:
        model: returns logits (N, K). It is evaluated as it is, on its device and in evaluation mode, and put back into
            its mode; normalization belongs inside, since radii are in units of pixels in [0, 1].
        images: floats in [0, 1] of shape (N, C, H, W), a tensor or an array; labels: integers (N,).
        steps: of PGD, at least 1, twice from random starts.
        strong: also run the ensemble (PGD, APGD on the cross-entropy, targeted APGD): about as strong as the first two
            attacks of AutoAttack.
        attacks: your own, by name, each a function (model, x, y, budget) -> points. They come first.
        batch_size: images at a time; halved if memory runs out.

    Returns: Dataset with dimensions attack ("clean" first) and image. accuracy, low and high (attack) are fractions,
        the accuracy under this attack and all before it; correct (attack, image) says which images; attributes hold
        images, norm, radius, confidence, seed, signs of masked gradients, and `warnings`, a list of sentences.

    Raises: UserError for a model, images, labels or a radius that do not go together.
    Warns: AccuracyWarning with each of `warnings`: vanishing gradients, probabilities in place of logits, logits that
        are not finite, images that resist every perturbation, PGD far weaker than the ensemble.
    """
    integer("steps", steps, low=1)
    between("confidence", confidence, 0, 1, open_low=True, open_high=True)
    data = as_images(model, images, labels)
    stream = np.random.SeedSequence(integer("seed", seed, low=0))
    found = evaluated(
        model, data, budget, steps=steps, stream=stream, strong=strong, attacks=attacks, batch_size=batch_size
    )
    for complaint in found.complaints():
        warnings.warn(complaint, AccuracyWarning, stacklevel=2)
    about = {"images": len(data), "norm": budget.norm, "radius": budget.radius, "confidence": confidence, "seed": seed}
    return as_dataset(found, confidence).assign_attrs(about)


def as_images(model: nn.Module, images: Tensor | np.ndarray, labels: Tensor | np.ndarray) -> Images:
    """Arrays or tensors as images on the device of the model, in float32, or in float64 for a model in float64.

    Raises: UserError unless there are float images, at least one, with a label each.
    """
    pixels, y = (as_tensor(name, each) for name, each in (("images", images), ("labels", labels)))
    if not pixels.is_floating_point():
        raise UserError(f"images must be floats in [0, 1], got {pixels.dtype}: divide 8-bit values by 255")
    if not len(pixels):
        raise UserError("images must be at least one, got none")
    weight = next((p for p in model.parameters()), None) if isinstance(model, nn.Module) else None
    device = pixels.device if weight is None else weight.device
    wide = weight is not None and weight.dtype == torch.float64
    data = Images(pixels.to(device, torch.float64 if wide else torch.float32), y.to(device), 1)
    require_model(model, data.pixels)
    return data


def as_tensor(name: str, values: Tensor | np.ndarray) -> Tensor:
    """A tensor, or an array as one. Raises: UserError for what is neither."""
    if isinstance(values, Tensor):
        return values.detach()
    try:
        return torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} must be a tensor or an array of numbers, got {type(values).__name__}") from error


def as_dataset(evaluation: Evaluation, confidence: float) -> xr.Dataset:
    """Accuracies with Wilson intervals, and which images are correct, by attack."""
    masks = np.stack([mask.cpu().numpy() for mask in evaluation.masks.values()])
    ends = np.array([wilson(int(mask.sum()), len(mask), confidence) for mask in masks])
    unit = {"units": "fraction"}
    return xr.Dataset(
        {
            "accuracy": ("attack", masks.mean(1), {"long_name": "accuracy under this attack and all before it"} | unit),
            "low": ("attack", ends[:, 0], {"long_name": "lower end of the Wilson interval"} | unit),
            "high": ("attack", ends[:, 1], {"long_name": "upper end of the Wilson interval"} | unit),
            "correct": (("attack", "image"), masks, {"long_name": "is the image still classified correctly"}),
        },
        coords={"attack": list(evaluation.masks)},
        attrs=evaluation.record(),
    )


def wilson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """The Wilson interval of a probability, two-sided."""
    interval = scipy.stats.binomtest(successes, trials).proportion_ci(confidence, "wilson")
    return float(interval.low), float(interval.high)


def evaluated(
    model: nn.Module,
    images: Images,
    budget: Budget,
    *,
    steps: int,
    stream: Stream,
    strong: bool = True,
    attacks: Mapping[str, AttackCall] | None = None,
    before: Tensor | None = None,
    ensemble_steps: int = 100,
    batch_size: int = 256,
    tick: Tick = lambda _done: None,
) -> Evaluation:
    """Clean, under the attacks given, under PGD of `steps`, and if `strong` after each attack of the ensemble.

    before: bool (N,), the images that earlier attacks have left; None: all. ensemble_steps: of APGD; fewer than 100
    are weaker. `tick` is told how many images are done: each once under PGD, and with `strong` once more under the
    ensemble.
    """
    images = require_images(images, model, budget, batch_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # reported once, by `complaints`

        def fitting(work: Callable[[int], Any]) -> Any:
            return in_batches_that_fit(work, batch_size)

        def seen(size: int) -> Look:
            with judging(model):
                return look(model, images, size)

        clean = fitting(seen)
        masks, left = {"clean": clean.right}, clean.right if before is None else clean.right & before

        for name, own in (attacks or {}).items():

            def mine(data: Images, own: AttackCall = own, name: str = name) -> dict[str, Tensor]:
                return {name: fitting(lambda size: survivors(own, model, data, budget, batch_size=size))}

            left = masks[_unused(name, masks)] = _after(left, images, mine)[name]
        attack = evaluation_attack(budget, steps)

        def pgd(data: Images) -> dict[str, Tensor]:
            return {"pgd": fitting(lambda size: correct(model, data, attack, stream, batch_size=size, tick=tick))}

        def ensemble(data: Images) -> dict[str, Tensor]:
            strongest = AttackEnsemble(budget, ensemble_steps)
            return fitting(lambda size: strongest.correct(model, data, stream, batch_size=size, tick=tick))

        left = masks[_unused(f"PGD-{attack.steps}", masks)] = _after(left, images, pgd, tick)["pgd"]
        if strong:
            attacked = _after(left, images, ensemble, tick)
            masks |= {f"strong: {name}": mask for name, mask in attacked.items() if name != "clean"}
        resisting, tried = _anywhere(model, images, clean.right, budget, stream, batch_size)
    return Evaluation(masks, clean, resisting, tried)


def _unused(name: str, masks: Mapping[str, Tensor]) -> str:
    if name in masks:
        raise UserError(f"attack names must differ, got {name!r} twice")
    return name


def _after(
    left: Tensor, images: Images, attack: Callable[[Images], dict[str, Tensor]], tick: Tick = lambda _done: None
) -> dict[str, Tensor]:
    """Masks (N,) of an attack on the images that are left; the others are errors."""
    tick(int((~left).sum()))
    indices = left.nonzero()[:, 0]
    found = {}
    for name, mask in attack(images.take(indices)).items():
        found[name] = torch.zeros_like(left)
        found[name][indices] = mask
    return found


def _anywhere(
    model: nn.Module, images: Images, right: Tensor, budget: Budget, stream: Stream, batch_size: int
) -> tuple[int, int]:
    """How many of some correct images stay so under any change, and how many were tried.

    The radius covers the whole box and so every other image; if many stay correct, the attack does not work.
    """
    data = images.take(right.nonzero()[:ANYWHERE, 0])
    whole = Budget(budget.norm, cube_diameter(budget.norm, math.prod(images.pixels.shape[1:])))
    attack = evaluation_attack(whole)
    mask = in_batches_that_fit(lambda size: correct(model, data, attack, stream, batch_size=size), batch_size)
    return int(mask.sum()), len(data)
