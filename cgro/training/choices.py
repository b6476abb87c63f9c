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
    "none", "temporal-ensembling", "self-adaptive", "label-smoothing", "awp", "ema", "swa", "weight-decay", "cutout"
]
STRENGTHS = {"temporal-ensembling": 300.0, "label-smoothing": 0.1, "awp": 0.005, "weight-decay": 0.005}
"""Cures of robust overfitting that have a strength, and what it is by default."""
CURES_OF_OBJECTIVES = ("temporal-ensembling", "self-adaptive")
"""Cures that change PGD-AT and TRADES from some epoch on."""
STARTED = (*CURES_OF_OBJECTIVES, "swa")
"""Cures that start at some epoch."""
CURE_WORDS = {
    "temporal-ensembling": "temporal ensembling",
    "self-adaptive": "self-adaptive targets",
    "label-smoothing": "label smoothing",
    "awp": "AWP",
    "ema": "EMA",
    "swa": "SWA",
    "weight-decay": "more weight decay",
    "cutout": "cutout",
}
"""What cures are called in figures and captions."""
