"""Cures of robust overfitting by name, each a change of the recipe that the rest of a configuration gives.

| name | what it does | strength |
|---|---|---|
| temporal-ensembling | a second loss term towards averaged predictions (Dong et al., ICLR 2022) | w_max, 300 |
| self-adaptive | targets that follow the predictions (Huang et al., NeurIPS 2020) | - |
| label-smoothing | targets (1 - s) one-hot + s / K | s, 0.1 |
| awp | adversarial weight perturbation (Wu et al., NeurIPS 2020) | gamma, 0.005 |
| ema | evaluate an exponential average of the weights | - |
| swa | evaluate the average of the weights at the ends of epochs, by default of the last quarter | - |
| weight-decay | more of it (Rice et al., ICML 2020) | factor, 0.005 |
| cutout | a grey square of a quarter of the side of the image, anew in every epoch (DeVries & Taylor, 2017) | - |

Early stopping needs no name: the best checkpoint on held-out images is always kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cgro.base.errors import UserError
from cgro.training.choices import CURES_OF_OBJECTIVES, STARTED, STRENGTHS

if TYPE_CHECKING:  # a configuration is checked without torch
    from cgro.training.config import TrainingConfig
    from cgro.training.recipe import Recipe


def ramp(config: TrainingConfig) -> tuple[float, float]:
    """Epochs at which a cure starts and reaches full weight; by default in proportion to 90 and 150 of 200 epochs, and
    for SWA the last quarter."""
    start = (0.75 if config.cure == "swa" else 0.45) * config.epochs if config.cure_start is None else config.cure_start
    return start, 0.75 * config.epochs if config.cure_end is None else config.cure_end


def strength(config: TrainingConfig) -> float:
    """The strength of the cure; 0 if it has none."""
    return STRENGTHS.get(config.cure, 0.0) if config.cure_strength is None else config.cure_strength


def require_cure(config: TrainingConfig) -> None:
    """Refuse options that a cure does not have, and cures that conflict with other options. Raises: UserError."""
    cure, timed = config.cure, config.cure in CURES_OF_OBJECTIVES
    for name, value, having in (
        ("cure_strength", config.cure_strength, tuple(STRENGTHS)),
        ("cure_start", config.cure_start, STARTED),
        ("cure_end", config.cure_end, CURES_OF_OBJECTIVES[:1]),
    ):
        if value is not None and cure not in having:
            raise UserError(
                f"{name} must be left out with cure {cure}, got {value:g}: it belongs to {', '.join(having)}"
            )
    if cure == "cutout" and config.data == "own":
        raise UserError("cure must not be cutout with own arrays: the size of its square is that of a known data set")
    if timed and config.objective not in ("adversarial", "trades"):
        raise UserError(f"objective must be adversarial or trades with cure {cure}, got {config.objective}")
    if cure == "label-smoothing" and config.objective == "mart":
        raise UserError("objective must not be mart with cure label-smoothing: MART needs labels")
    if cure == "label-smoothing" and strength(config) >= 1:
        raise UserError(f"cure_strength must be below 1 with cure label-smoothing, got {strength(config):g}")
    if cure == "awp" and config.objective == "free":
        raise UserError("objective must not be free with cure awp: one backward pass serves both of its steps")
    start, end = ramp(config)
    if cure in STARTED and start >= config.epochs:
        raise UserError(f"cure_start must be below the number of epochs, {config.epochs}, got {start:g}")
    if cure == "temporal-ensembling" and end <= start:
        raise UserError(f"cure_end must be after cure_start, got {start:g} to {end:g}")
    if cure == "awp" and config.weight_perturbation > 0:
        raise UserError(
            f"weight_perturbation must be 0 with cure awp, got {config.weight_perturbation:g}: give cure_strength"
        )
    if cure in ("ema", "swa") and config.averaging != "none":
        raise UserError(f"averaging must be none with cure {cure}, got {config.averaging}: the cure sets it")
    if fields := _fields(config):  # which are checked like any others
        replace(config, cure="none", cure_strength=None, cure_start=None, **fields)


def _fields(config: TrainingConfig) -> dict[str, Any]:
    """Fields of the configuration, and of its recipe, that the cure amounts to; none for the others."""
    match config.cure:
        case "awp":
            return {"weight_perturbation": strength(config)}
        case "weight-decay":
            return {"weight_decay": strength(config)}
        case "ema" | "swa":
            return {"averaging": config.cure}
    return {}


def with_cure(recipe: Recipe, config: TrainingConfig) -> Recipe:
    """The recipe with the cure of the configuration."""
    from cgro.training.objectives import Adversarial, Trades
    from cgro.training.self_adaptive import SelfAdaptive
    from cgro.training.temporal_ensembling import TemporalEnsembling

    base, (start, end), much = recipe.objective, ramp(config), strength(config)
    match config.cure:
        case "temporal-ensembling":
            assert isinstance(base, Adversarial | Trades)
            objective = TemporalEnsembling(base, config.cure_momentum, start, end, much)
            return replace(recipe, objective=objective)
        case "self-adaptive":
            assert isinstance(base, Adversarial | Trades)
            return replace(recipe, objective=SelfAdaptive(base, config.cure_momentum, start))
        case "swa":
            return replace(recipe, averaging="swa", averaging_start=start)
        case "label-smoothing":
            return replace(recipe, label_smoothing=much)
        case "cutout":
            square = max(1, round(config.side / 4))
            return replace(recipe, augmentation=replace(recipe.augmentation, cutout=square))
    return replace(recipe, **_fields(config))
