"""What attacks and measures refuse at the door, what counts as an error, and how the model is left behind."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tools import Threshold, Through, grey, network, own_labels
from torch import Tensor, nn

from cgro.attacks.ball import Budget
from cgro.attacks.ensemble import AttackEnsemble
from cgro.attacks.images import Attack, Goal, correct, evaluation_attack
from cgro.attacks.pgd import pgd
from cgro.base.errors import AccuracyWarning, UserError
from cgro.data.batches import Images
from cgro.measures.components import margins, margins_and_losses
from cgro.measures.flatness import flatness

STREAM = np.random.SeedSequence(1)
BUDGET = Budget("inf", 0.05)
PGD = evaluation_attack(BUDGET, 3)


def robust(model: nn.Module, data: Images) -> list[Tensor]:
    """The masks of every public function that counts correct images."""
    strong = AttackEnsemble(BUDGET, steps=3).correct(model, data, STREAM)
    return [correct(model, data), correct(model, data, PGD, STREAM), *strong.values()]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", [0, 3, slice(None)])
def test_an_answer_that_is_not_finite_is_an_error(value: float, column: int | slice) -> None:
    def spoiled(logits: Tensor) -> Tensor:
        logits = logits.clone()
        logits[:, column] = value
        return logits

    data = replace(own_labels(20), labels=torch.zeros(20, dtype=torch.int64))
    with pytest.warns(AccuracyWarning, match="20 of 20 images have logits that are not finite"):
        masks = robust(Through(spoiled), data)
    assert [int(mask.sum()) for mask in masks] == [0] * 6


def test_only_the_images_whose_answers_are_not_finite_are_errors() -> None:
    """A network that fails above a mean pixel of 0.55: an attack that gets there has found an error."""

    def failing(x: Tensor) -> Tensor:
        return torch.where(
            x.flatten(1).mean(1, keepdim=True) > 0.55, torch.nan, torch.tensor([[0.0, 1.0]]) + 0 * x[:, 0, 0, :1]
        )

    data = grey([20, 45, 54, 60], [1, 1, 1, 1])
    with pytest.warns(AccuracyWarning):
        found = correct(Through(failing, nn.Identity()), data, Attack(Budget("inf", 0.02), 1, 1.0), STREAM)
    assert found.tolist()[:2] == [True, True]
    assert not found[3]


def test_nan_gradients_do_not_count_as_errors() -> None:
    """sqrt(0) has an infinite slope, 0 times which is NaN; a radius of 1e-6 breaks no image."""

    def rooted(logits: Tensor) -> Tensor:
        return logits + 0 * (logits[:, :1] - logits[:, :1]).sqrt()

    data, budget = own_labels(20), Budget("inf", 1e-6)
    with pytest.warns(AccuracyWarning, match="vanishes at 20 of 20"):
        assert correct(Through(rooted), data, evaluation_attack(budget, 3), STREAM).all()
    with pytest.warns(AccuracyWarning, match="vanishes at 20 of 20"):
        assert AttackEnsemble(budget, steps=3).correct(Through(rooted), data, STREAM)["apgd-targeted"].all()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda z: z[:, :1], "logits for 20 images, got (20, 1)"),
        (lambda z: z[:, 0], "return (-f, f)"),
        (lambda z: z[:10], "logits for 20 images, got (10, 10)"),
        (lambda z: z[:, :, None], "K >= 2 logits"),
        (lambda z: z.argmax(1, keepdim=True), "must return a tensor of real logits, got torch.int64"),
        (lambda z: z[:, :4], "labels must be 0 to 3 for 4 logits, got 0 to 9"),
    ],
)
def test_outputs_that_are_not_logits_are_refused(function, words: str) -> None:
    data = replace(own_labels(20), labels=torch.arange(20) % 10)
    for call in (
        lambda m: correct(m, data),
        lambda m: correct(m, data, PGD, STREAM),
        lambda m: AttackEnsemble(BUDGET).correct(m, data, STREAM),
        lambda m: margins_and_losses(m, data, PGD, None),
        lambda m: flatness(m, data.scaled(data.pixels), data.labels, [0.1]),
        lambda m: Goal(m, data.scaled(data.pixels), data.labels)(data.scaled(data.pixels)),
    ):
        with pytest.raises(UserError) as caught:
            call(Through(function))
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("norm", "radius", "largest"), [("inf", 8.0, "1"), ("2", 8.1, "8"), ("1", 64.5, "64"), ("inf", 1.01, "1")]
)
def test_a_radius_beyond_the_box_is_refused(norm, radius: float, largest: str) -> None:
    data, budget = own_labels(4), Budget(norm, radius)
    x = data.scaled(data.pixels)
    calls = [
        lambda: correct(network(), data, evaluation_attack(budget), STREAM),
        lambda: AttackEnsemble(budget).correct(network(), data, STREAM),
        lambda: Attack(budget, 2, 1.0).ascend(Goal(network(), x, data.labels), x),
        lambda: margins_and_losses(network(), data, evaluation_attack(budget), None),
    ]
    if norm == "inf":
        calls.append(lambda: flatness(network(), x, data.labels, [0.1, radius]))
    for call in calls:
        with pytest.raises(UserError) as caught:
            call()
        assert f"must be at most {largest}" in str(caught.value)
        assert "8/255" in str(caught.value)
    assert correct(network(), data, evaluation_attack(Budget(norm, float(largest)), 1), STREAM).shape == (4,)


def _goal(x: Tensor, y: Tensor) -> Tensor:
    return Goal(network(), x, y)(x)


def _flat(x: Tensor, y: Tensor) -> object:
    return flatness(network(), x, y, [0.1])


def _ascend(x: Tensor, y: Tensor) -> Tensor:
    return PGD.ascend(lambda z: z.flatten(1).sum(1), x)


@pytest.mark.parametrize("call", [_goal, _flat, _ascend])
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.full((2, 1, 8, 8), 255.0), "images must lie in [0, 1], got values from 255 to 255"),
        (torch.full((2, 1, 8, 8), math.nan), "images must lie in [0, 1], got values from nan to nan"),
        (torch.ones((2, 1, 8, 8), dtype=torch.int64), "float32 or float64 tensor (B, ...), got torch.int64"),
        (torch.rand(2), "got torch.float32 (2,)"),
        (np.zeros((2, 1, 8, 8)), "got ndarray"),
    ],
)
def test_invalid_images_are_refused(call, x, words: str) -> None:
    with pytest.raises(UserError) as caught:
        call(x, torch.zeros(2, dtype=torch.int64))
    assert words in str(caught.value)


@pytest.mark.parametrize("call", [_goal, _flat])
@pytest.mark.parametrize(
    ("y", "words"),
    [
        (torch.tensor([0.0, 1.0]), "labels must be a tensor of integers, got torch.float32"),
        (torch.tensor([True, False]), "got torch.bool"),
        ([0, 1], "got list"),
        (torch.tensor([0, 1, 2]), "labels must have shape (2,)"),
        (torch.tensor([[0], [1]]), "got (2, 1)"),
        (torch.tensor([0, 10]), "labels must be 0 to 9 for 10 logits, got 0 to 10"),
        (torch.tensor([-1, 1]), "labels must be 0 to 9 for 10 logits, got -1 to 1"),
    ],
)
def test_invalid_labels_are_refused(call, y, words: str) -> None:
    with pytest.raises(UserError) as caught:
        call(torch.rand(2, 1, 8, 8), y)
    assert words in str(caught.value)


def test_labels_of_any_integer_type_mean_the_same() -> None:
    data = own_labels(30)
    for kind in (torch.uint8, torch.int16, torch.int32):
        narrow = replace(data, labels=data.labels.to(kind))
        assert torch.equal(correct(network(), narrow, PGD, STREAM), correct(network(), data, PGD, STREAM))
        assert margins_and_losses(network(), narrow, PGD, None) == margins_and_losses(network(), data, PGD, None)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d: correct(network(), d, batch_size=0), "batch_size must be an integer of at least 1, got 0"),
        (lambda d: AttackEnsemble(BUDGET).correct(network(), d, STREAM, batch_size=0), "batch_size must be"),
        (lambda d: margins_and_losses(network(), d, PGD, None, batch_size=0), "batch_size must be"),
        (lambda d: correct(lambda x: x, d), "model must be a torch.nn.Module"),  # type: ignore[arg-type]
        (lambda d: correct(network(), replace(d, labels=d.labels.float())), "tensor of integers"),
        (lambda d: correct(network(), replace(d, pixels=0 * d.pixels, white=0)), "white must be"),
        (lambda d: correct(network(), d.scaled(d.pixels)), "images must be cgro.data.batches.Images"),  # type: ignore
        (lambda d: correct(network().to("meta"), d), "model and images must be on one device, got meta and cpu"),
        *(
            (
                lambda d, call=call: call(network().double(), d),
                "model fails on torch.float32 images of shape (4, 1, 8, 8): ",
            )
            for call in (
                lambda m, d: correct(m, d),
                lambda m, d: AttackEnsemble(BUDGET).correct(m, d, STREAM),
                lambda m, d: margins_and_losses(m, d, PGD, None),
                lambda m, d: flatness(m, d.scaled(d.pixels), d.labels, [0.1]),
            )
        ),
        (lambda d: correct(network(), d, PGD, 3), "stream must be a numpy.random.SeedSequence, got 3"),  # type: ignore
        (
            lambda d: AttackEnsemble(BUDGET).correct(network(), d, None),
            "stream must be a numpy.random.SeedSequence, got None",
        ),  # type: ignore
        (lambda d: replace(d, labels=d.labels.tolist()), "labels must be a tensor, got list"),
        (lambda d: replace(d, pixels=d.pixels.numpy()), "pixels must be a tensor, got ndarray"),
        (lambda d: Attack(BUDGET, 2.5, 1.0), "steps must be a non-negative integer, got 2.5"),  # type: ignore
        (lambda d: Attack(BUDGET, 2, math.nan), "relative_step must be finite"),
        (lambda d: Attack(BUDGET, 2, 1.0, restarts=0), "restarts must be an integer of at least 1"),
        (lambda d: AttackEnsemble(BUDGET, steps=0), "steps must be an integer of at least 1"),
        (lambda d: AttackEnsemble(BUDGET, finalists=0), "finalists must be an integer of at least 1"),
        (lambda d: Budget("inf", "8/255"), "radius must be a real number, got '8/255'"),  # type: ignore[arg-type]
        (lambda d: Goal(network(), torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), "hinge"), "loss must be one of"),  # type: ignore
        (lambda d: margins(torch.zeros(2, 1), torch.tensor([0, 0])), "K >= 2 logits"),
        (lambda d: margins(torch.zeros(2, 3), torch.tensor([0, 3])), "labels must be 0 to 2 for 3 logits, got 0 to 3"),
        (lambda d: flatness(network(), d.scaled(d.pixels), d.labels, [0.1, math.nan]), "radii"),
        (lambda d: flatness(network(), d.scaled(d.pixels), d.labels, [0.1], steps=-1), "steps must be"),
    ],
)
def test_other_arguments_are_named(call, words: str) -> None:
    with pytest.raises(UserError) as caught:
        call(own_labels(4))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pgd_refuses_what_no_comparison_sees() -> None:
    x = torch.full((2, 3), math.nan)
    for clamp in (None, (0.0, 1.0)):
        with pytest.raises(ValueError, match=r"x must lie in|x must be finite"):
            pgd(lambda z: z.sum(1), x, BUDGET, steps=1, step_size=1.0, clamp=clamp)
    with pytest.raises(ValueError, match="start must have the shape of x"):
        pgd(lambda z: z.sum(1), torch.rand(2, 3), BUDGET, steps=1, step_size=1.0, start=torch.zeros(3))
    with pytest.raises(ValueError, match=r"x must be float32 or float64, got torch\.int64"):
        pgd(lambda z: z.sum(1), torch.ones(2, 3, dtype=torch.int64), BUDGET, steps=1, step_size=1.0)


class Batched(nn.Module):
    """A network with batch norms, one of them frozen in evaluation mode; it may stop after some passes."""

    def __init__(self, passes: int = 10**9) -> None:
        super().__init__()
        self.first, self.frozen, self.rest = nn.BatchNorm2d(1), nn.BatchNorm2d(1), network()
        self.passes = passes
        self.train()
        self.frozen.eval()
        self.frozen.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        self.passes -= 1
        if self.passes < 0:
            raise KeyboardInterrupt
        return self.rest(self.frozen(self.first(x)))


@pytest.mark.parametrize("passes", [10**9, 0, 3])
def test_every_submodule_is_left_in_its_own_mode(passes: int) -> None:
    data = own_labels(10)
    x = data.scaled(data.pixels)
    for call in (
        lambda m: correct(m, data),
        lambda m: correct(m, data, PGD, STREAM),
        lambda m: AttackEnsemble(BUDGET, steps=2).correct(m, data, STREAM),
        lambda m: margins_and_losses(m, data, PGD, None),
        lambda m: flatness(m, x, data.labels, [0.1], steps=2),
    ):
        model = Batched(passes)
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        try:
            call(model)
        except KeyboardInterrupt:
            assert passes < 10**9
        assert model.training
        assert model.first.training
        assert not model.frozen.training
        assert all(module.training for module in model.rest.modules())
        assert not model.frozen.weight.requires_grad
        assert model.first.weight.requires_grad
        assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


class Precise(nn.Module):
    """Writes down which precision its passes see."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.seen = network(), set[tuple[bool, bool]]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        return self.inner(x)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("convolutions", [True, False])
def test_evaluation_switches_tensorfloat_off_and_back(precision: str, convolutions: bool) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    data = own_labels(6)
    try:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = convolutions
        for call in (
            lambda m: correct(m, data),
            lambda m: correct(m, data, PGD, STREAM),
            lambda m: AttackEnsemble(BUDGET, steps=2).correct(m, data, STREAM),
            lambda m: margins_and_losses(m, data, PGD, None),
            lambda m: flatness(m, data.scaled(data.pixels), data.labels, [0.1], steps=2),
        ):
            model = Precise()
            call(model)
            assert model.seen == {(False, False)}
            assert torch.get_float32_matmul_precision() == precision
            assert torch.backends.cudnn.allow_tf32 == convolutions
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


class Typed(nn.Module):
    """Writes down the types that its own layers give, and those that they give in bfloat16 where it asks for that."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.seen = network(), set[tuple[torch.dtype, torch.dtype]]()

    def forward(self, x: Tensor) -> Tensor:
        logits = self.inner(x)
        with torch.autocast("cpu", torch.bfloat16):
            self.seen.add((logits.dtype, self.inner(x).dtype))
        return logits


def test_evaluation_is_in_full_precision_inside_of_an_autocast() -> None:
    data = own_labels(6)
    for call in (
        lambda m: correct(m, data),
        lambda m: correct(m, data, PGD, STREAM),
        lambda m: AttackEnsemble(BUDGET, steps=2).correct(m, data, STREAM),
        lambda m: margins_and_losses(m, data, PGD, None),
        lambda m: flatness(m, data.scaled(data.pixels), data.labels, [0.1], steps=2),
    ):
        model = Typed()
        with torch.autocast("cpu", torch.bfloat16):
            call(model)
            assert torch.is_autocast_enabled("cpu")
        assert model.seen == {(torch.float32, torch.bfloat16)}


def test_no_robust_accuracy_is_found_where_gradients_are_switched_off() -> None:
    data, model = own_labels(6), network()
    for call in (
        lambda: correct(model, data, PGD, STREAM),
        lambda: AttackEnsemble(BUDGET, steps=2).correct(model, data, STREAM),
        lambda: margins_and_losses(model, data, PGD, None),
        lambda: flatness(model, data.scaled(data.pixels), data.labels, [0.1], steps=2),
    ):
        with torch.inference_mode(), pytest.raises(UserError, match=r"images would look robust; use torch.no_grad\(\)"):
            call()
    with torch.inference_mode():
        without = correct(model, data)
    assert torch.equal(without, correct(model, data))


def test_the_threshold_network_still_counts() -> None:
    """Nothing of the door changes what passes it."""
    data = grey([10, 45, 55, 90], [0, 0, 1, 1])
    assert correct(Threshold(), data, evaluation_attack(Budget("inf", 0.1)), STREAM).tolist() == [
        True,
        False,
        False,
        True,
    ]
