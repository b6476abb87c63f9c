"""Clean generalization and robust overfitting: the theory, runnable and checkable.

The names below are imported on first use, so `import cgro` takes almost no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cgro.attacks.ball import Budget
    from cgro.attacks.calls import APGD, PGD
    from cgro.attacks.evaluation import evaluate
    from cgro.certify.certify import certify as verify
    from cgro.data.images import load_images
    from cgro.dynamics.phases import critical_ratio, predicted_times
    from cgro.dynamics.setting import PatchSetting
    from cgro.dynamics.sweep import train_patches
    from cgro.memorization.scores import influence as influence_scores
    from cgro.memorization.scores import memorization as memorization_scores
    from cgro.memorizers.constructions import memorize
    from cgro.training.config import TrainingConfig
    from cgro.training.train import train

_PLACES = {
    "APGD": "cgro.attacks.calls",
    "Budget": "cgro.attacks.ball",
    "PGD": "cgro.attacks.calls",
    "PatchSetting": "cgro.dynamics.setting",
    "TrainingConfig": "cgro.training.config",
    "critical_ratio": "cgro.dynamics.phases",
    "evaluate": "cgro.attacks.evaluation",
    "influence_scores": "cgro.memorization.scores:influence",
    "load_images": "cgro.data.images",
    "memorization_scores": "cgro.memorization.scores:memorization",
    "memorize": "cgro.memorizers.constructions",
    "predicted_times": "cgro.dynamics.phases",
    "train": "cgro.training.train",
    "train_patches": "cgro.dynamics.sweep",
    # The function `certify` would hide the package of that name.
    "verify": "cgro.certify.certify:certify",
}
"""The module of each name, and its name there if it differs."""

__all__ = [
    "APGD",
    "PGD",
    "Budget",
    "PatchSetting",
    "TrainingConfig",
    "critical_ratio",
    "evaluate",
    "influence_scores",
    "load_images",
    "memorization_scores",
    "memorize",
    "predicted_times",
    "train",
    "train_patches",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'cgro' has no attribute {name!r}")
    module, _, called = _PLACES[name].partition(":")
    value = globals()[name] = getattr(import_module(module), called or name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
