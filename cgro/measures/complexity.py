"""Complexity of a classifier: what is measured on it and its training images to predict how well it generalizes.

    squared weights      sum_l |W_l|_F^2 over weights of two or more dimensions
    spectral product     prod_l |A_l|_2, A_l the linear operator of layer l (a convolution: padding and stride included)
    margins              mean f_y - max_{k != y} f_k, at images and at the points of an attack
    boundary proximity   mean number of PGD steps to the first error
    input gradient       mean |grad_x L|_1
    linearity error      mean max_d |L(x + d) - L(x) - <d, grad_x L(x)>| in the ball
    sharpness            max L_adv(w + v) - L_adv(w) over |v_l| <= g |W_l| for each layer, L_adv re-crafted at w + v

L is the cross-entropy in nats. Norms of weights and margins are not normalized by each other or by the number of
layers. The maxima are searched by gradient ascent, so they are lower bounds. Sources: Dong et al., ICLR 2022,
arXiv:2106.01606, asks whether such measures rank robust generalization gaps; which they are follows Jiang et al., ICLR
2020, arXiv:1912.02178, Stutz, Hein & Schiele, ICCV 2021, arXiv:2104.04448, and Kim et al., NeurIPS 2023 [R]. The exact
forms are ours.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy
from torch.nn.grad import conv2d_input

from cgro.attacks.arguments import require_images
from cgro.attacks.ball import Budget, random_start
from cgro.attacks.images import Attack, evaluation_attack, steps_to_error
from cgro.attacks.modes import judging
from cgro.attacks.pgd import gradient_of
from cgro.base.errors import UserError
from cgro.base.norms import cube_diameter
from cgro.base.validate import increasing, integer
from cgro.data.batches import Images
from cgro.measures.components import margins_and_losses

PROXIMITY_STEPS = 20
"""PGD steps of boundary proximity, each of a fifth of the radius: five up to the radius, all up to four times that."""


def squared_weights(model: nn.Module) -> float:
    """sum_l |W_l|_F^2 over parameters of two or more dimensions; biases do not count. [R]"""
    return sum(float(p.detach().double().square().sum()) for p in model.parameters() if p.ndim > 1)


def spectral_product(model: nn.Module, x: Tensor) -> float:
    """prod_l |A_l|_2 over convolutions and linear layers, for images of the shape of x (B, C, H, W). [R]

    Raises: UserError for a network with other weights of two or more dimensions, with batch norm, or with convolutions
        that do not pad with zeros.
    """
    shapes: dict[nn.Module, torch.Size] = {}
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    known = {id(p) for layer in layers for p in layer.parameters()}
    if any(id(p) not in known for p in model.parameters()):
        others = {type(m).__name__ for m in model.modules() if any(id(p) not in known for p in m.parameters(False))}
        raise UserError(f"layers must be Linear or Conv2d for spectral norms, got {', '.join(sorted(others))}")
    hooks = [
        layer.register_forward_pre_hook(lambda m, inputs: shapes.__setitem__(m, inputs[0].shape[1:]))
        for layer in layers
    ]
    try:
        with torch.no_grad(), judging(model):
            model(x[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return math.prod(spectral_norm(layer, shapes[layer]) for layer in layers)


def spectral_norm(layer: nn.Linear | nn.Conv2d, shape: Sequence[int], *, tolerance: float = 1e-8) -> float:
    """|A|_2 of the linear operator of a layer, without its bias, on inputs of a shape (without batch).

    A linear layer: the largest singular value of its matrix. A convolution: power iteration on A^T A from a fixed
    start, in float64, until the value changes by a part of `tolerance` or less; it grows towards |A|_2.

    Raises: UserError for a convolution that does not pad with zeros.
    """
    weight = layer.weight.detach().double()
    if isinstance(layer, nn.Linear):
        return float(torch.linalg.matrix_norm(weight, 2))
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise UserError(f"padding of a Conv2d must be zeros, by numbers, got {layer.padding_mode}, {layer.padding}")
    options = (layer.stride, layer.padding, layer.dilation, layer.groups)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(1, *shape, generator=generator, dtype=torch.float64).to(weight.device)
    before, value = -1.0, 0.0
    while value > before * (1 + tolerance):
        image = conv2d(v / v.norm().clamp_min(1e-300), weight, None, *options)
        before, value = value, float(image.norm())
        v = conv2d_input(v.shape, weight, image, *options)
    return value


def boundary_proximity(model: nn.Module, x: Tensor, y: Tensor, budget: Budget) -> float:
    """Mean number of PGD steps to the first error, in steps of a fifth of the radius up to four times it. [R]

    Searches start at the images; an error there counts 0, and an image without an error `PROXIMITY_STEPS` + 1.
    """
    radius = min(4 * budget.radius, cube_diameter(budget.norm, x[0].numel()))
    attack = Attack(Budget(budget.norm, radius), PROXIMITY_STEPS, budget.radius / 5 / radius, start=False)
    return float(steps_to_error(model, x, y, attack).double().mean())


def input_gradient(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Mean over images of |grad_x L|_1, nats per pixel value; l_1 is dual to l_inf. [R]"""
    with judging(model):
        return float(gradient_of(_losses(model, y), x).abs().flatten(1).sum(1).double().mean())


def linearity_error(
    model: nn.Module, x: Tensor, y: Tensor, budget: Budget, *, steps: int, generator: torch.Generator | None
) -> float:
    """Mean over images of max_d |L(x + d) - L(x) - <d, grad_x L(x)>| over the ball, in nats. [R]

    PGD ascends it from a random start: at d = 0 its gradient vanishes. After Qin et al., NeurIPS 2019,
    arXiv:1907.02610.
    """
    with judging(model):
        losses = _losses(model, y)
        with torch.no_grad():
            at_x = losses(x)
        gradient = gradient_of(losses, x)

        def error(z: Tensor) -> Tensor:
            return (losses(z) - at_x - ((z - x) * gradient).flatten(1).sum(1)).abs()

        z = evaluation_attack(budget, steps).ascend(error, x, generator)
        with torch.no_grad():
            return float(error(z).double().mean())


def sharpness(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    gammas: Sequence[float],
    *,
    ascents: int = 10,
    start: Tensor | None = None,
) -> list[float]:
    """max L_adv(w + v) - L_adv(w) over |v_l| <= g |W_l| (Frobenius) for all weights l, for each g, in nats. [R]

    Weights of two or more dimensions move, as in adversarial weight perturbation (Wu, Xia & Wang, NeurIPS 2020):

        v_l <- P(v_l + (2.5 g / ascents) |W_l| G_l / |G_l|),   G = grad L_adv(w + v),   P = projection on the ball

    L_adv is the mean cross-entropy at points that the attack finds anew at w + v, always from the same start. The best
    v counts, v = 0 included, so no value is negative; a larger ball counts what was found in a smaller one.

    Args:
        x, y: images (B, C, H, W) in [0, 1] and labels (B,).
        gammas: g > 0, increasing.
        ascents: steps of each search, at least 1.
        start: perturbations like x at which the attack starts; None: 0.

    Raises: UserError for gammas or ascents that are out of range.
    """
    integer("ascents", ascents, low=1)
    increasing("gammas", gammas, 0, 1)
    moving = copy.deepcopy(model).eval().requires_grad_(True)
    weights = [p for p in moving.parameters() if p.ndim > 1]
    origin = [p.detach().clone() for p in weights]

    def attacked_loss() -> tuple[float, list[Tensor]]:
        with judging(moving):
            z = attack.ascend(_losses(moving, y), x, start, check=False)
        with torch.enable_grad():
            loss = cross_entropy(moving(z), y)
            return float(loss.detach()), list(torch.autograd.grad(loss, weights))

    before, first = attacked_loss()
    best, found = 0.0, []
    for gamma in gammas:
        gradients = first
        for _ in range(ascents):
            with torch.no_grad():
                for p, w, g in zip(weights, origin, gradients, strict=True):
                    size = gamma * w.norm()
                    v = p - w + 2.5 / ascents * size * g / (g.norm() + 1e-12)
                    p.copy_(w + v * (size / v.norm().clamp_min(1e-12)).clamp_max(1))
            loss, gradients = attacked_loss()
            best = max(best, loss - before)
        found.append(best)
        with torch.no_grad():
            for p, w in zip(weights, origin, strict=True):
                p.copy_(w)
    return found


def complexity(
    model: nn.Module,
    images: Images,
    budget: Budget,
    *,
    gammas: Sequence[float] = (5e-3, 1e-2),
    steps: int = 10,
    ascents: int = 10,
    generator: torch.Generator | None = None,
) -> dict[str, float]:
    """All measures of a network on its training images, by name; `sharpness G` for each g of gammas.

    steps: PGD steps of the attack, which begin at the radius and shrink. generator: draws its random starts, on the
    device of the images; None: searches start at the images, where the linearity error would be 0.

    Raises: UserError for a network, images, labels, a radius or gammas that do not go together.
    """
    images = require_images(images, model, budget, max(1, len(images)))
    increasing("gammas", gammas, 0, 1)
    attack = evaluation_attack(budget, steps)
    x, y = images.scaled(images.pixels), images.labels
    start = None if generator is None else random_start(x, budget, generator)
    found = margins_and_losses(model, images, attack, generator)
    flat = sharpness(model, x, y, attack, gammas, ascents=ascents, start=start)
    return {
        "squared weights": squared_weights(model),
        "spectral product": spectral_product(model, x),
        "clean margin": found["clean_margin"],
        "attacked margin": found["attacked_margin"],
        "boundary proximity": boundary_proximity(model, x, y, budget),
        "input gradient": input_gradient(model, x, y),
        "linearity error": linearity_error(model, x, y, budget, steps=steps, generator=generator),
        **{f"sharpness {gamma:g}": value for gamma, value in zip(gammas, flat, strict=True)},
    }


def expected_sign(measure: str) -> int:
    """+1 if a larger value is expected to go with a larger gap, -1 for the opposite: margins and boundary proximity."""
    return -1 if measure in ("clean margin", "attacked margin", "boundary proximity") else 1


def _losses(model: nn.Module, y: Tensor) -> Callable[[Tensor], Tensor]:
    """Cross-entropy (B,) of points, in nats."""
    return lambda z: cross_entropy(model(z), y, reduction="none")
