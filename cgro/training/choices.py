"""The values that training options can take."""

from __future__ import annotations

from typing import Literal

ObjectiveName = Literal["standard", "adversarial", "trades", "mart", "free"]
AugmentationName = Literal["none", "crop", "crop-flip", "crop-flip-cutout"]
Averaging = Literal["none", "ema", "swa"]
Precision = Literal["float32", "bfloat16"]
AttackMode = Literal["evaluation", "training"]
AttackStart = Literal["uniform", "normal"]
