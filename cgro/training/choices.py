"""The values that training options can take."""

from __future__ import annotations

from typing import Literal

ObjectiveName = Literal["standard", "adversarial", "mixture", "trades", "trades-adversarial", "mart", "free"]
WEIGHTED = ("mixture", "trades", "trades-adversarial", "mart")
"""Objectives of two terms, with a weight."""
AugmentationName = Literal["none", "crop", "crop-flip", "crop-flip-cutout"]
Averaging = Literal["none", "ema", "swa"]
Precision = Literal["float32", "bfloat16"]
AttackMode = Literal["evaluation", "training"]
AttackStart = Literal["uniform", "normal"]
CureName = Literal[
    "none", "temporal-ensembling", "self-adaptive", "label-smoothing", "awp", "ema", "swa", "weight-decay", "cutout",
    "bat", "gairat", "random-weights", "reweighting", "smoothing", "dropping",
]  # fmt: skip
STRENGTHS = {
    "temporal-ensembling": 300.0,
    "label-smoothing": 0.1,
    "awp": 0.005,
    "weight-decay": 0.005,
    "bat": 1.0,
    "random-weights": 1.0,
    "reweighting": 1.0,
    "smoothing": 0.2,
    "dropping": 0.1,
}
"""Cures of robust overfitting that have a strength, and what it is by default."""
STARTED = {
    "temporal-ensembling": 0.45,
    "self-adaptive": 0.45,
    "swa": 0.75,
    "bat": 0.1,
    "random-weights": 0.1,
    "gairat": 0.5,
}
"""Cures that start at some epoch, and after which share of the epochs by default."""
SCORED = ("reweighting", "smoothing", "dropping")
"""Cures that treat images by their scores."""
OF_PGD_AT = ("bat", "gairat", "random-weights")
"""Cures that change PGD-AT alone."""
PAIRED = ("bat", "random-weights")
"""Cures with the discrimination loss of BAT."""
CURES_OF_OBJECTIVES = ("temporal-ensembling", "self-adaptive", *OF_PGD_AT, *SCORED)
"""Cures that take the place of the objective."""
CURE_WORDS = {
    "temporal-ensembling": "temporal ensembling",
    "self-adaptive": "self-adaptive targets",
    "label-smoothing": "label smoothing",
    "awp": "AWP",
    "ema": "EMA",
    "swa": "SWA",
    "weight-decay": "more weight decay",
    "cutout": "cutout",
    "bat": "BAT",
    "gairat": "GAIRAT",
    "random-weights": "random weights of BAT",
    "reweighting": "weights by scores",
    "smoothing": "smoothing by scores",
    "dropping": "dropping by scores",
}
"""What cures are called in figures and captions."""
