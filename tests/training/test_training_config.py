"""Configurations of training: every field refuses hostile values at once, in one line and by its name."""

from __future__ import annotations

import math
import time
from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from cgro.base.errors import UserError
from cgro.models.convolutional import parameter_count
from cgro.models.widths import WIDTHS
from cgro.models.zoo import image_model, parameters
from cgro.training.config import Repeated, TrainingConfig

NUMBERS = [each.name for each in fields(TrainingConfig) if each.type.split(" | ")[0] in ("int", "float")]
OPTIONAL = [each.name for each in fields(TrainingConfig) if each.type.endswith("None")]
WORDS = [each.name for each in fields(TrainingConfig) if each.name not in NUMBERS]
HOSTILE: list[Any] = [math.nan, math.inf, -math.inf, -1, -0.5, 1e308, 10**9, 10**12, 10**30, 10**400, "3", None, True]
REFUSED_EVERYWHERE: list[Any] = [math.nan, math.inf, -math.inf, -1, -0.5, 10**400, "3", None, True, [], 1j]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda v: str(v)[:12])
@pytest.mark.parametrize("field", NUMBERS)
def test_a_hostile_number_is_refused_at_once_or_valid(field: str, value: Any) -> None:
    start = time.process_time()
    try:
        config = replace(TrainingConfig(), **{field: value})
        assert config.recipe.learning_rate > 0
        refused = ""
    except UserError as error:
        refused = str(error)
    assert time.process_time() - start < 1
    if value is None and field in OPTIONAL:
        assert refused == ""
    elif value in REFUSED_EVERYWHERE or value is math.nan:
        assert refused.startswith(field), refused
    assert "\n" not in refused
    if refused:
        assert field in refused


@pytest.mark.parametrize("value", [3.5, None, "other", ["none"], {}, -1], ids=str)
@pytest.mark.parametrize("field", WORDS)
def test_invalid_values_are_refused_by_name(field: str, value: Any) -> None:
    if field in ("classes", "drops") and value == {}:
        value = {3.5: 1}
    if value is None and field in OPTIONAL:
        assert getattr(replace(TrainingConfig(), **{field: value}), field) is None
        return
    with pytest.raises(UserError, match=f"^{field}") as error:
        replace(TrainingConfig(schedule="piecewise"), **{field: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_decay": math.inf}, "weight_decay must be finite, got inf"),
        ({"weight_decay": 21.0}, r"weight_decay must be below 20 with learning_rate 0.05, got 21"),
        ({"width": 10**9}, r"width = 1,000,000,000 would need .* of memory, this machine has .*; choose smaller sizes"),
        ({"width": 1e308}, r"width = 1e\+308 would need .* of memory, this machine has"),
        ({"model": "wrn-34", "width": 1e6}, r"width = 1,000,000 would need .* of memory, this machine has"),
        ({"batch_size": 10**9}, r"batch_size = 1,000,000,000 would need .* of memory, this machine has"),
        ({"epochs": 10**12}, r"epochs = 1,000,000,000,000 would need .* of memory, this machine has"),
        ({"samples": 10_000_000}, "samples must be .*got 10000000"),
        ({"attack_steps": 10**9}, "attack_steps must be an integer from 1 to 100,000, got 1,000,000,000"),
        ({"norm": "2", "radius": 8.1}, r"radius must be above 0 and at most 8 in l_2, got 8.1"),
        ({"norm": "1", "radius": 65}, r"radius must be above 0 and at most 64 in l_1, got 65"),
        ({"width": 2.5}, "width must be a whole number above 0 with small-cnn, got 2.5"),
        ({"classes": (3, 3)}, r"classes must be two or more different ones of 0 to 9 .*got \[3, 3\]"),
        ({"classes": (3, 10)}, r"classes must be two or more different ones of 0 to 9 .*got \[3, 10\]"),
        ({"classes": (3, 8.0)}, r"classes must be an integer from 0 to .*, got 8\.0"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda, got 'tpu'"),
    ],
)
def test_impossible_settings_are_refused_with_the_possible_ones(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        replace(TrainingConfig(), **change)
    assert "\n" not in str(error.value)


def test_seeds_beyond_memory_are_refused() -> None:
    with pytest.raises(UserError, match=r"seeds = 1,000,000,000,000 would need .* of memory"):
        Repeated(seeds=10**12)
    for value in (0, -1, 2.5, True, None):
        with pytest.raises(UserError, match=r"^seeds must be an integer of at least 1, got"):
            Repeated(seeds=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WIDTHS)
def test_parameters_are_counted_without_the_network(name: str) -> None:
    """The count by the formula is that of the network, exact where no channel is rounded."""
    state = torch.get_rng_state()
    for width in (2.0, 5.0) if name in ("small-cnn", "lenet") else (1 / 16, 0.5):
        for channels, size, classes in ((1, 28, 10), (3, 32, 7)):
            made = image_model(name, channels, size, classes, width, torch.Generator())
            assert parameters(name, channels, size, classes, width) == parameter_count(made)
    assert parameters(name, 3, 32, 10, 1e300) > 1e300
    assert torch.equal(torch.get_rng_state(), state)


def test_usual_values_remain_allowed() -> None:
    config = TrainingConfig()
    assert replace(config, batch_size=1000, micro_batch=10**9, evaluation_images=10**9).batch_size == 1000
    assert replace(config, weight_decay=0.1, momentum=0, radius_warmup=1, label_noise=1).momentum == 0
    assert replace(config, samples=901, held_out=300, classes=[3, 8]).classes == (3, 8)
    assert replace(config, norm="1", radius=12).radius == 12
