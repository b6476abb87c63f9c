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
| bat | misclassified images that resemble another class count less (Xu et al., 2021) | a, 1 |
| gairat | images that PGD breaks early count more (Zhang et al., ICLR 2021) | - |
| random-weights | the control of bat: its weights on random images of the batch | a, 1 |
| reweighting | weights exp(-a max(score, 0)) | a, 1 |
| smoothing | label smoothing by s max(score, 0) | s, 0.2 |
| dropping | weight 0 for this fraction of the images, those with the highest scores | fraction, 0.1 |

The last three read the scores of the training images from a file, `cure_scores`.

Early stopping needs no name: the best checkpoint on held-out images is always kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cgro.base.errors import UserError
from cgro.training.choices import CURES_OF_OBJECTIVES, OF_PGD_AT, PAIRED, SCORED, STARTED, STRENGTHS, CureName

if TYPE_CHECKING:  # a configuration is checked without torch
    import numpy as np

    from cgro.training.config import TrainingConfig
    from cgro.training.objectives import Adversarial, Objective, Trades
    from cgro.training.recipe import Recipe


def ramp(config: TrainingConfig) -> tuple[float, float]:
    """Epochs at which a cure starts and reaches full weight; by default in proportion to the epochs of its paper."""
    start = STARTED.get(config.cure, 0.0) * config.epochs if config.cure_start is None else config.cure_start
    return start, 0.75 * config.epochs if config.cure_end is None else config.cure_end


def strength(config: TrainingConfig) -> float:
    """The strength of the cure; 0 if it has none."""
    return STRENGTHS.get(config.cure, 0.0) if config.cure_strength is None else config.cure_strength


def of_cure(given: TrainingConfig, cure: CureName, *, own_start: bool = False) -> TrainingConfig:
    """The configuration with another cure. Its strength, if any is given, belongs to its own cure alone.

    Cures that start at some epoch start at the same one, or with `own_start` at the one of their own.
    """
    return replace(
        given,
        cure=cure,
        cure_strength=given.cure_strength if cure == given.cure else None,
        cure_start=given.cure_start if cure in STARTED and not own_start else None,
        cure_end=given.cure_end if cure == "temporal-ensembling" and not own_start else None,
        cure_discrimination=given.cure_discrimination if cure in PAIRED else None,
        cure_scores=given.cure_scores if cure in SCORED else None,
    )


def require_cure(config: TrainingConfig) -> None:
    """Refuse options that a cure does not have, and cures that conflict with other options. Raises: UserError."""
    cure = config.cure
    for name, value, having in (
        ("cure_strength", config.cure_strength, tuple(STRENGTHS)),
        ("cure_start", config.cure_start, tuple(STARTED)),
        ("cure_end", config.cure_end, ("temporal-ensembling",)),
        ("cure_discrimination", config.cure_discrimination, PAIRED),
        ("cure_scores", config.cure_scores, SCORED),
    ):
        if value is not None and cure not in having:
            shown = value if isinstance(value, str) else f"{value:g}"
            raise UserError(f"{name} must be left out with cure {cure}, got {shown}: it belongs to {', '.join(having)}")
    if cure in SCORED and config.cure_scores is None:
        raise UserError(
            f"cure_scores must be given with cure {cure}: a .csv file with the columns index and memorization"
        )
    if cure == "cutout" and config.data == "own":
        raise UserError("cure must not be cutout with own arrays: the size of its square is that of a known data set")
    if cure in OF_PGD_AT and config.objective != "adversarial":
        raise UserError(f"objective must be adversarial with cure {cure}, got {config.objective}")
    if cure in CURES_OF_OBJECTIVES and config.objective not in ("adversarial", "trades"):
        raise UserError(f"objective must be adversarial or trades with cure {cure}, got {config.objective}")
    _require_whole_batches(config)
    if cure == "label-smoothing" and config.objective == "mart":
        raise UserError("objective must not be mart with cure label-smoothing: MART needs labels")
    if cure in ("label-smoothing", "smoothing", "dropping") and strength(config) >= 1:
        raise UserError(f"cure_strength must be below 1 with cure {cure}, got {strength(config):g}")
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


def discrimination(config: TrainingConfig) -> float:
    """The weight b of the discrimination loss of BAT."""
    return 0.2 if config.cure_discrimination is None else config.cure_discrimination


def _require_whole_batches(config: TrainingConfig) -> None:
    """Refuse options that cut or fill up batches where images of a batch interact. Raises: UserError."""
    control = config.cure == "random-weights"
    if not control and not (config.cure == "bat" and discrimination(config) > 0):
        return
    why = "weights change places within" if control else "its discrimination loss needs"
    advice = "" if control else ", or set cure_discrimination to 0"
    if config.micro_batch is not None and config.micro_batch < config.batch_size:
        raise UserError(
            f"micro_batch must be left out with cure {config.cure}, got {config.micro_batch}: {why} whole batches; "
            f"choose a smaller batch_size{advice}"
        )
    if config.compile:
        raise UserError(f"compile must be false with cure {config.cure}: {why} whole batches; leave it out{advice}")


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


def with_cure(recipe: Recipe, config: TrainingConfig, index: np.ndarray | None = None) -> Recipe:
    """The recipe with the cure of the configuration.

    index: where the training images are in their data set, by which their scores are looked up; None: as many images
    as there are scores, in the same order.
    """
    from cgro.training.benign import Benign
    from cgro.training.geometry_aware import GeometryAware
    from cgro.training.objectives import Adversarial, Trades
    from cgro.training.sample_weights import RandomWeights
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
        case "bat" | "random-weights":
            benign = Benign(much, discrimination(config), start=start)
            return replace(recipe, objective=benign if config.cure == "bat" else RandomWeights(benign, config.seed))
        case "gairat":
            return replace(recipe, objective=GeometryAware(start=start))
        case "reweighting" | "smoothing" | "dropping":
            assert isinstance(base, Adversarial | Trades)
            return replace(recipe, objective=_by_scores(config, base, index))
        case "label-smoothing":
            return replace(recipe, label_smoothing=much)
        case "cutout":
            square = max(1, round(config.side / 4))
            return replace(recipe, augmentation=replace(recipe.augmentation, cutout=square))
    return replace(recipe, **_fields(config))


def _by_scores(config: TrainingConfig, base: Adversarial | Trades, index: np.ndarray | None) -> Objective:
    """The objective of a cure that treats images by their scores. Raises: UserError for a file that is not one."""
    from cgro.data.scores import read_scores
    from cgro.training.scored import Dropping, Reweighting, Smoothing, highest

    assert config.cure_scores is not None
    scores, much = read_scores(config.cure_scores, index), strength(config)
    match config.cure:
        case "reweighting":
            return Reweighting(scores, much, base)
        case "smoothing":
            return Smoothing(scores, much, base=base)
    return Dropping(highest(scores, much), base)
