"""What a user may ask for: every value out of range is refused by name, every value in range is taken."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cgro.base import machine
from cgro.base.errors import UserError
from cgro.data.patches import draw_gram, draw_patches, require_sizes
from cgro.dynamics.axes import LABELS, Axis, is_integer, require_axis, vary
from cgro.dynamics.direct import DirectEngine
from cgro.dynamics.gram import GramEngine
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.trajectory import make_engine, record_steps, train
from cgro.runs.registry import find_all
from cgro.simulations import attack, phase_diagram

EXPERIMENTS = find_all("experiment")
SIZES = ("samples", "patches", "dim", "filters", "steps")
TEACHERS = ("teacher_learnable", "teacher_unlearnable")
POSITIVE = ("signal", "noise_norm", "init_scale", "learning_rate")
TINY = PatchSetting(samples=3, patches=2, filters=2, dim=8, steps=4)
not_finite = st.sampled_from([math.nan, math.inf, -math.inf])
negative = st.floats(max_value=0, exclude_max=True, allow_infinity=False)
any_float = st.floats()
# All that UTF-8 encodes, without asking it about each character.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def refusal(make: Callable[[], object]) -> str:
    """The one line with which something is refused."""
    with pytest.raises(UserError) as caught:
        make()
    text = str(caught.value)
    assert "\n" not in text
    return text


def outside(low: float, high: float = math.inf, *, open_low: bool = False) -> st.SearchStrategy[float]:
    """Floats that are no number from low to high."""
    return any_float.filter(lambda x: not (low < x <= high or (x == low and not open_low)) or math.isinf(x))


BAD: dict[str, st.SearchStrategy[Any]] = {
    **{name: st.integers(max_value=0) for name in SIZES},
    **{name: outside(0, open_low=True) for name in POSITIVE},
    "exponent": outside(2),
    "radius_ratio": outside(0),
    **{name: outside(0, 1) for name in ("adversarial_weight", "unlearnable", "visibility")},
    **{name: st.sampled_from([math.inf, -math.inf, math.nan]) for name in TEACHERS},
    "stop_loss": outside(0),
    **{name: TEXT.filter(lambda s: s != "") for name in ("activation", "attack", "sampling")},
}


@pytest.mark.parametrize("name", BAD)
@given(data=st.data())
def test_a_value_out_of_range_is_named(name: str, data: st.DataObject) -> None:
    choices = ("odd", "relu", "transfer", "worst", "pgd-l2", "pgd-linf", "auto", "vectors", "gram")
    value = data.draw(BAD[name].filter(lambda v: v not in choices))
    with pytest.raises(UserError) as caught:
        PatchSetting(**{name: value})
    text = str(caught.value)
    shown = repr(value) if isinstance(value, str) else str(value)
    assert text.startswith(f"{name} must be ")
    assert text.replace(",", "").endswith(f" got {shown}".replace(",", "")) or "did you mean" in text


def test_every_field_has_a_test_of_its_range() -> None:
    assert set(BAD) == {field.name for field in dataclasses.fields(PatchSetting)}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [2.5, "3", None, math.nan])
def test_a_size_is_an_integer(name: str, value: Any) -> None:
    text = refusal(lambda: PatchSetting(**{name: value}))
    assert text == f"{name} must be an integer of at least 1, got {value!r}"


@pytest.mark.parametrize(
    "name",
    [*POSITIVE, *TEACHERS, "exponent", "radius_ratio", "adversarial_weight", "stop_loss", "unlearnable", "visibility"],
)
@pytest.mark.parametrize("value", ["2", True, [1.0], 1j, 10**400])
def test_a_scale_is_a_number(name: str, value: Any) -> None:
    assert refusal(lambda: PatchSetting(**{name: value})).startswith(name)


@given(
    sizes=st.fixed_dictionaries({name: st.integers(2, 10**6) for name in SIZES}),
    scales=st.fixed_dictionaries({name: st.floats(1e-6, 1e6) for name in POSITIVE}),
    exponent=st.floats(2, 20),
    ratio=st.none() | st.floats(0, 10),
    weight=st.floats(0, 1),
    activation=st.sampled_from(["odd", "relu"]),
    attack=st.sampled_from(["transfer", "worst", "pgd-l2", "pgd-linf"]),
)
def test_every_value_in_range_is_taken(
    sizes: Any, scales: Any, exponent: float, ratio: float | None, weight: float, activation: Any, attack: Any
) -> None:
    setting = PatchSetting(
        **sizes,
        **scales,
        exponent=exponent,
        radius_ratio=ratio,
        adversarial_weight=weight,
        activation=activation,
        attack=attack,
    )
    assert setting.noise_patches == setting.samples * (setting.patches - 1)
    assert setting.noise * math.sqrt(setting.dim) == pytest.approx(setting.noise_norm)
    assert setting.radius == setting.ratio * setting.signal
    assert setting.draws_gram == (setting.dim >= setting.noise_patches)


@pytest.mark.parametrize(
    "change",
    [{"exponent": 2}, {"adversarial_weight": 0}, {"adversarial_weight": 1}, {"radius_ratio": 0}, {"stop_loss": 0}],
)
def test_the_ends_of_a_range_belong_to_it(change: dict[str, float]) -> None:
    replace(PatchSetting(), **change)


def test_one_patch_and_one_dimension_are_too_few() -> None:
    assert refusal(lambda: PatchSetting(patches=1)) == (
        "patches must be at least 2, got 1: one carries the signal, the others noise"
    )
    assert refusal(lambda: PatchSetting(dim=1)) == (
        "dim must be at least 2, got 1: noise is orthogonal to the signal direction"
    )


@given(samples=st.integers(1, 50), patches=st.integers(2, 6), dim=st.integers(2, 300))
def test_a_gram_draw_needs_as_many_dimensions_as_noise_patches(samples: int, patches: int, dim: int) -> None:
    count = samples * (patches - 1)
    if dim >= count:
        assert PatchSetting(samples=samples, patches=patches, dim=dim, sampling="gram").draws_gram
        return
    text = refusal(lambda: PatchSetting(samples=samples, patches=patches, dim=dim, sampling="gram"))
    assert text == (
        f"dim must be at least {count}, the number of noise patches, for sampling 'gram', got {dim}: raise dim or "
        "use sampling 'vectors' or 'auto'"
    )
    assert text == refusal(lambda: draw_gram(0, samples=samples, patches=patches, dim=dim, filters=1))


@pytest.mark.parametrize("draw", [draw_gram, draw_patches])
@pytest.mark.parametrize(
    ("name", "value"), [("samples", 0), ("patches", 1), ("patches", -3), ("dim", 1), ("dim", 0), ("filters", 0)]
)
def test_the_draws_refuse_the_same_sizes(draw: Callable[..., object], name: str, value: int) -> None:
    text = refusal(lambda: draw(0, **{"samples": 2, "patches": 2, "dim": 9, "filters": 2, name: value}))
    assert text.startswith(f"{name} must be ")
    assert f"at least {1 if name in ('samples', 'filters') or value < 1 else 2}, got {value}" in text


def test_numpy_integers_are_sizes() -> None:
    require_sizes(samples=np.int64(3))


def test_what_a_batch_must_share() -> None:
    with pytest.raises(ValueError, match="1 settings and 2 seeds: give one seed for each run"):
        Runs((TINY,), (0, 1))
    with pytest.raises(ValueError, match="0 settings and 0 seeds"):
        Runs((), ())
    with pytest.raises(ValueError, match="must agree in all but scales and dimension"):
        Runs((TINY, replace(TINY, samples=4)), (0, 0))
    assert len(Runs((TINY, replace(TINY, signal=1.0, dim=9)), (0, 0))) == 2


def test_the_shape_is_all_but_scales_and_dimension() -> None:
    for field in dataclasses.fields(PatchSetting):
        scale = field.name in {*POSITIVE, "radius_ratio", "adversarial_weight", "stop_loss", "dim", "sampling"}
        scale = scale or field.name in {"visibility", *TEACHERS}
        other = {"activation": "relu", "attack": "transfer", "sampling": "vectors", "radius_ratio": 0.5}
        other |= dict.fromkeys(("unlearnable", "visibility", *TEACHERS), 0.5)  # type: ignore[misc]
        value = other.get(field.name) or getattr(TINY, field.name) / 2 + 3
        value = round(value) if field.name in SIZES else value
        value = 0.25 if field.name == "adversarial_weight" else value
        changed = replace(TINY, **{field.name: value})
        assert (changed != TINY, changed.shape == TINY.shape) == (True, scale), field.name


# Engines and records


def test_an_unknown_engine() -> None:
    runs = Runs((TINY,), (0,))
    assert refusal(lambda: make_engine("grim", runs, "cpu")) == "engine must be gram or direct, got 'grim'"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["pgd-l2", "pgd-linf"])
def test_the_gram_engine_stays_inside_the_set(name: Any) -> None:
    text = refusal(lambda: GramEngine(Runs((replace(TINY, attack=name),), (0,))))
    assert text.startswith(f"attack must be transfer or worst with engine gram, got '{name}'")
    assert "use --engine direct" in text


def test_the_direct_engine_needs_vectors_of_one_dimension() -> None:
    text = refusal(lambda: DirectEngine(Runs((replace(TINY, sampling="gram"),), (0,))))
    assert text == "sampling must be vectors or auto with engine direct, which needs the patches, got 'gram'"
    with pytest.raises(ValueError, match="runs of one dimension"):
        DirectEngine(Runs((TINY, replace(TINY, dim=9)), (0, 0)))


@pytest.mark.parametrize("count", [1, 0, -5])
def test_the_first_and_the_last_step_are_records(count: int) -> None:
    text = refusal(lambda: record_steps(10, count))
    assert text == f"records must be an integer of at least 2, got {count}"


@given(steps=st.integers(1, 10**7), count=st.integers(2, 300))
def test_recorded_steps(steps: int, count: int) -> None:
    recorded = record_steps(steps, count)
    assert recorded[0] == 0
    assert recorded[-1] == steps
    assert len(recorded) <= count
    assert (np.diff(recorded) > 0).all()


def test_test_samples_must_be_positive() -> None:
    text = refusal(lambda: train(Runs((TINY,), (0,)), test_samples=0))
    assert text == "test_samples must be an integer of at least 1, got 0"


# Axes


@pytest.mark.parametrize("name", LABELS)
def test_an_axis_may_be_any_labelled_field(name: str) -> None:
    axis = Axis(name, 2, 4, 3) if name != "adversarial_weight" else Axis(name, 0, 1, 3)
    assert axis.is_integer == (name in SIZES)
    assert [getattr(vary(PatchSetting(), name, v), name) for v in axis.values] == axis.values


@given(low=st.floats(1e-3, 10), factor=st.floats(1.001, 1e3), count=st.integers(2, 50), log=st.booleans())
def test_the_values_of_an_axis(low: float, factor: float, count: int, log: bool) -> None:
    axis = Axis("signal", low, low * factor, count, log=log)
    values = axis.values
    assert len(values) == count
    assert (values[0], values[-1]) == (pytest.approx(low), pytest.approx(low * factor))
    assert sorted(values) == values


def test_a_size_takes_distinct_integers() -> None:
    assert Axis("samples", 1, 4, 20).values == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("radius_ration", 0, 1, 3),
            r"axis must be one of samples, .*got 'radius_ration'; did you mean radius_ratio",
        ),
        (("steps", 1, 2, 3), "axis must be one of samples, .*got 'steps'"),
        (("zzz", 1, 2, 3), "axis must be one of samples, .*got 'zzz'$"),
        (("signal", 1, 2, 1), "count of axis signal must be at least 2, got 1"),
        (("signal", 2, 2, 3), "low of axis signal must be below high, got 2 and 2"),
        (("signal", math.nan, 2, 3), "low of axis signal must be below high, got nan and 2"),
        (("signal", 1, math.nan, 3), "low of axis signal must be below high, got 1 and nan"),
        (("signal", 0, 2, 3, True), "low of axis signal must be greater than 0, got 0, unless the axis is linear"),
        (("signal", 0, 2, 3), "signal must be greater than 0, got 0"),
        (("signal", 1, math.inf, 3), "low and high of axis signal must be finite, got inf"),
        (("samples", 1, math.inf, 3), "low and high of axis samples must be finite, got inf"),
        (("radius_ratio", -math.inf, 1, 3), "low and high of axis radius_ratio must be finite, got -inf"),
        (("samples", 0, 5, 3), "samples must be an integer of at least 1, got 0"),
        (("adversarial_weight", 0, 2, 3), r"adversarial_weight must be in \[0, 1\], got 2"),
    ],
)
def test_an_axis_out_of_range(arguments: tuple[Any, ...], message: str) -> None:
    assert re.match(message, refusal(lambda: Axis(*arguments)))


def test_an_unknown_axis_without_values() -> None:
    require_axis("dim")
    assert "did you mean dim?" in refusal(lambda: require_axis("dims"))
    assert not is_integer("signal")


# Experiments


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_presets_differ(name: str) -> None:
    config = EXPERIMENTS[name].Config
    assert config.quick() != config.paper()


@pytest.mark.parametrize(
    ("name", "field", "value", "low"),
    [
        ("coverage", "samples", (3, 10), 4),
        ("coverage", "fixed_samples", 3, 4),
        ("coverage", "dims", (1,), 2),
        ("cgro-construction", "samples", 3, 4),
        ("cgro-construction", "dims", (8, 1), 2),
        ("memorizer-certificates", "samples", (1,), 2),
        ("memorization-capacity", "samples", (1,), 2),
        ("memorization-capacity", "depth", 1, 2),
        ("memorization-capacity", "descents", -1, 0),
        ("robust-lower-bound", "cells_per_side", (1,), 2),
        ("robust-lower-bound", "largest_dim", 1, 2),
        ("robust-lower-bound", "largest_grid", 1, 2),
        ("cgro-construction", "verified", -1, 0),
    ],
)
def test_experiments_name_the_size_that_was_given_and_the_smallest_one(
    name: str, field: str, value: Any, low: int
) -> None:
    text = refusal(lambda: replace(EXPERIMENTS[name].Config.quick(), **{field: value}))
    called, given = field.removeprefix("fixed_"), min(value) if isinstance(value, tuple) else value
    least = f"an integer of at least {low}" if low else "a non-negative integer"
    assert text == f"{called} must be {least}, got {given}"


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("coverage", "norms"),
        ("cgro-construction", "norms"),
        ("memorizer-certificates", "ratios"),
        ("memorization-capacity", "labels"),
    ],
)
def test_experiments_with_nothing_to_compute_are_refused(name: str, field: str) -> None:
    text = refusal(lambda: replace(EXPERIMENTS[name].Config.quick(), **{field: ()}))
    assert text == f"{field} must be one or more, got none: there is nothing to compute"


def test_an_axis_may_be_left_out_but_not_all() -> None:
    quick = EXPERIMENTS["coverage"].Config.quick()
    assert {axis for axis, *_ in replace(quick, samples=(), dims=()).places} == {"radius"}
    text = refusal(lambda: replace(quick, samples=(), dims=(), radii=()))
    assert text.startswith("samples, dims and radii must be one or more, got none")


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ((), "ratios must be one or more, positive and increasing, got []"),
        ((math.nan,), "ratios must be one or more, positive and increasing, got [nan]"),
        ((1.0, 7.0), "ratios must be at most 6.667 at radius 0.15, "),
    ],
)
def test_radii_at_which_flatness_cannot_be_measured_are_refused_before_training(
    ratios: tuple[float, ...], message: str
) -> None:
    quick = EXPERIMENTS["flatness"].Config.quick()
    assert refusal(lambda: replace(quick, ratios=ratios)).startswith(message)


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("field", ["seeds", "test_samples", "test_images"])
@pytest.mark.parametrize("value", [0, -1])
def test_experiments_refuse_counts_that_are_not_positive(name: str, field: str, value: int) -> None:
    config = EXPERIMENTS[name].Config.quick()
    if hasattr(config, field):
        text = refusal(lambda: replace(config, **{field: value}))
        assert text.startswith(f"{field} must be ")
        assert str(value) in text


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("records", 0, "records must be an integer of at least 2, got 0"),
        ("device", "gpu 0", "device must be one of auto, cpu, cuda, got 'gpu 0'"),
    ],
)
def test_no_cell_is_needed_to_refuse_records_and_devices(name: str, field: str, value: Any, message: str) -> None:
    config = EXPERIMENTS[name].Config.quick()
    if hasattr(config, field):
        assert refusal(lambda: replace(config, **{field: value})) == message


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("activation", {"odd": (1.5,)}, "exponent must be at least 2, got 1.5"),
        ("activation", {"odd": (), "relu": ()}, "activations must be "),
        ("dimension", {"dims": ()}, "dims must be "),
        ("dimension", {"dims": (100, 1)}, "dim must be at least 2, got 1"),
        ("training-objective", {"weights": ()}, "weights must be "),
        ("training-objective", {"weights": (0.5, 1.5)}, "adversarial_weight must be in [0, 1], got 1.5"),
        ("attack", {"trainings": ()}, "trainings must be "),
        ("attack", {"trainings": (attack.Training("worst", -0.1),)}, "radius_ratio must be at least 0, got -0.1"),
        ("attack", {"setting": PatchSetting(sampling="gram", dim=120)}, "sampling must be vectors, got 'gram'"),
        (
            "phase-diagram",
            {"y": phase_diagram.Axis("radius_ratio", 0, 1, 2)},
            "axes x and y must differ, got ",
        ),
    ],
)
def test_experiments_refuse_values_of_their_own(name: str, change: dict[str, Any], message: str) -> None:
    assert refusal(lambda: replace(EXPERIMENTS[name].Config.quick(), **change)).startswith(message)


# The machine


def test_threads_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGRO_THREADS", "3")
    assert machine.available_cores() == 3
    monkeypatch.delenv("CGRO_THREADS")
    assert machine.available_cores() >= 1


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²"])
def test_threads_must_be_a_positive_integer(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGRO_THREADS", value)
    text = refusal(machine.available_cores)
    assert text == f"CGRO_THREADS must be a positive integer, got {value!r}: change or unset it"


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.resolve_device("cpu") == torch.device("cpu")
    assert refusal(lambda: machine.resolve_device("gpu 0")) == "device must be one of auto, cpu, cuda, got 'gpu 0'"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.resolve_device("auto") == torch.device("cpu")
    assert refusal(lambda: machine.resolve_device("cuda")) == (
        "device must be cpu or auto, got 'cuda': torch sees no CUDA device"
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert machine.resolve_device("auto") == machine.resolve_device("cuda") == torch.device("cuda")
