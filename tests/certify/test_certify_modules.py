"""Torch modules of many kinds: each is certified rightly, or refused by name; none is misread."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from cgro.base.errors import UserError
from cgro.certify.ball import uniform
from cgro.certify.certify import certify
from cgro.data.separation import LabelledPoints
from cgro.memorizers.constructions import memorize
from cgro.models.convolutional import SmallCNN
from cgro.networks.relu import ReluNetwork
from cgro.networks.relu_module import ReluModule, from_torch
from cgro.networks.unroll import unroll

X = np.zeros((1, 2))
RADIUS = 0.1
CERTIFIED = "certified"


def linear(weight: list[list[float]], bias: list[float], **kind: Any) -> nn.Linear:
    """A Linear with these weights."""
    made = nn.Linear(len(weight[0]), len(weight), **kind)
    with torch.no_grad():
        made.weight.copy_(torch.tensor(weight))
        made.bias.copy_(torch.tensor(bias))
    return made


def first(**kind: Any) -> nn.Linear:
    return linear([[1, 0], [0, 1]], [1, 1], **kind)


def last(bias: float = -0.2, **kind: Any) -> nn.Linear:
    return linear([[0.5, 0.5]], [bias], **kind)


def plain(**kind: Any) -> nn.Sequential:
    """The sign is + on the ball: f = relu(x_1 + 1) / 2 + relu(x_2 + 1) / 2 - 0.2 = 0.8 at the centre."""
    return nn.Sequential(first(**kind), nn.ReLU(), last(**kind))


def spoil(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    """What turns 0.8 into -0.5."""
    return output - 1.3


class OwnForward(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - 1.3


class Skip(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1.3 * (x.sum(-1, keepdim=True) - 1)


class OwnCall(nn.Sequential):
    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return super().__call__(*inputs, **options) - 1.3


class Changing(nn.Sequential):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) - 1.3 * (self.calls > 3)


class Shifted(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - 1.3


class Renamed(nn.Linear):
    """The same function, but who knows."""


class Negated(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


class Turned(nn.Identity):
    def forward(self, x: Tensor) -> Tensor:
        return -x


class Reversed(nn.Flatten):
    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x) - 2


class Spoiled(ReluModule):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - 1.3


class Odd(Tensor):
    """A tensor that computes otherwise."""

    @classmethod
    def __torch_function__(cls, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_function__(function, kinds, args, kwargs or {})
        return out - 1.3 if function is functional.linear else out


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = plain()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.layers(x) - 1) - 0.5


class Quantity(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return -weight


def changed(change: Callable[[Any], Any], model: nn.Module | None = None) -> nn.Module:
    model = model or plain()
    change(model)
    return model


def patch(model: nn.Module, name: str = "forward") -> None:
    old = getattr(model, name)
    setattr(model, name, lambda *a, **k: old(*a, **k) - 1.3)


def set_last(value: Any) -> Callable[[nn.Sequential], None]:
    return lambda model: setattr(model[2], "weight", value)


def weight_norm(model: nn.Sequential) -> None:
    """Its stored weight is stale until the next call."""
    torch.nn.utils.weight_norm(model[2])
    model[2].weight_g.data.neg_()


def spectral_norm(model: nn.Sequential) -> None:
    torch.nn.utils.spectral_norm(model[2])
    model[2].weight_orig.data.neg_()


def pruned(model: nn.Sequential) -> None:
    """The mask changes after the weight was computed."""
    prune.identity(model[2], "weight")
    model[2].weight_mask.zero_()


def computed(model: nn.Sequential) -> None:
    """A weight that is no parameter any more."""
    weight = model[2].weight.detach()
    del model[2]._parameters["weight"]
    model[2].weight = -weight


def normed(*, before: bool = False, **options: Any) -> nn.Sequential:
    """Batch norms that shift by 0.5 and double, before or after the first Linear, and after its ReLU."""
    norm, again = nn.BatchNorm1d(2, **options), nn.BatchNorm1d(2, eps=0.25)
    again.running_mean, again.running_var = torch.tensor([0.25, 0.5]), torch.tensor([0.75, 3.75])
    if norm.running_mean is not None:
        norm.running_mean, norm.running_var = torch.tensor([-0.5, 0.5]), torch.tensor([0.25, 0.25])
    start = [norm, first()] if before else [first(), norm]
    return nn.Sequential(*start, nn.ReLU(), again, last(0.5))


def frozen(model: nn.Module) -> nn.Module:
    return model.eval()


def shared_pair() -> nn.Sequential:
    """The pair acts three times; twice too few would be + at the centre: 1 -> 0.5 -> -0.25 -> -1.375."""
    pair = nn.Sequential(linear([[1.5]], [-1.0]), nn.ReLU())
    start = linear([[0.5, 0.5]], [1.0])
    return nn.Sequential(start, nn.ReLU(), pair, pair, pair, linear([[1.0]], [-0.1]))


def contained() -> nn.Sequential:
    model = plain()
    model.append(model)
    return model


def scripted() -> nn.Module:
    return torch.jit.script(Functional())


def traced() -> nn.Module:
    return torch.jit.trace(OwnForward(*plain()), torch.zeros(1, 2))


def quantized() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear})


def namesake() -> nn.Module:
    kind = type("Linear", (Shifted,), {})
    return nn.Sequential(first(), nn.ReLU(), kind(2, 1))


@contextmanager
def global_hook(**options: Any) -> Iterator[None]:
    handle = torch.nn.modules.module.register_module_forward_hook(spoil, **options)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def global_pre_hook() -> Iterator[None]:
    handle = torch.nn.modules.module.register_module_forward_pre_hook(lambda _m, inputs: (inputs[0] - 1.3,))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    old = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, old)


class ShiftEverything(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        return out - 1.3 if function is functional.linear else out


@dataclass(frozen=True)
class Case:
    """A module, what must be said about it, and around which circumstances."""

    name: str
    make: Callable[[], Any]
    expected: str
    """CERTIFIED, or words of the refusal."""
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


REAL_LINEAR, REAL_RELU = functional.linear, nn.ReLU.forward
CASES = [
    Case("plain", plain, CERTIFIED),
    Case("plain float64", lambda: plain(dtype=torch.float64), CERTIFIED),
    Case("evaluation mode", lambda: frozen(plain()), CERTIFIED),
    Case("nested Sequential", lambda: nn.Sequential(nn.Sequential(*plain()[:2]), nn.Sequential(last())), CERTIFIED),
    Case("Identity and Flatten", lambda: nn.Sequential(nn.Flatten(), nn.Identity(), *plain()), CERTIFIED),
    Case(
        "no bias", lambda: nn.Sequential(first(), nn.ReLU(), nn.Linear(2, 1, bias=False)), r"certified|counterexample"
    ),
    Case("in-place ReLU", lambda: nn.Sequential(first(), nn.ReLU(inplace=True), last()), CERTIFIED),
    Case("shared ReLU", lambda: (lambda r: nn.Sequential(first(), r, first(), r, last(-0.5)))(nn.ReLU()), CERTIFIED),
    Case("ReluModule", lambda: from_torch(plain()).module(), CERTIFIED),
    Case("evaluated dropout", lambda: frozen(nn.Sequential(first(), nn.ReLU(), nn.Dropout(0.9), last())), CERTIFIED),
    Case("evaluated batch norms", lambda: frozen(normed()), CERTIFIED),
    Case("evaluated batch norm of the input", lambda: frozen(normed(before=True)), CERTIFIED),
    Case("batch norm without weights", lambda: frozen(normed(affine=False)), CERTIFIED),
    Case("state hooks", lambda: changed(lambda m: m.register_state_dict_pre_hook(lambda *_: None)), CERTIFIED),
    Case("shared pair", shared_pair, "counterexample"),
    Case("Sequential with a forward", lambda: OwnForward(*plain()), "module model must be one of .*got OwnForward"),
    Case("skip connection", lambda: Skip(*plain()), r"module model must be one of .*got Skip"),
    Case("own __call__", lambda: OwnCall(*plain()), r"module model must be one of .*got OwnCall"),
    Case("changes between calls", lambda: Changing(*plain()), r"module model must be one of .*got Changing"),
    Case(
        "inner subclass",
        lambda: nn.Sequential(OwnForward(*plain()[:2]), last()),
        r"module model.0 must be one of .*got OwnForward",
    ),
    Case(
        "Linear subclass",
        lambda: nn.Sequential(first(), nn.ReLU(), Shifted(2, 1)),
        r"module model.2 must be one of .*got Shifted",
    ),
    Case(
        "plain Linear subclass",
        lambda: nn.Sequential(first(), nn.ReLU(), Renamed(2, 1)),
        r"model.2 must be one of .*got Renamed",
    ),
    Case(
        "ReLU subclass",
        lambda: nn.Sequential(first(), Negated(), last()),
        r"module model.1 must be one of .*got Negated",
    ),
    Case(
        "Identity subclass",
        lambda: nn.Sequential(first(), nn.ReLU(), Turned(), last()),
        r"model.2 must be one of .*got Turned",
    ),
    Case(
        "Flatten subclass", lambda: nn.Sequential(Reversed(), *plain()), r"module model.0 must be one of .*got Reversed"
    ),
    Case("ReluModule subclass", lambda: Spoiled(from_torch(plain())), r"module model must be one of .*got Spoiled"),
    Case("functional", Functional, r"module model must be one of .*got Functional"),
    Case("lambda", lambda: lambda x: x, "network must be a ReluNetwork or a torch module, got function"),
    Case(
        "LeakyReLU",
        lambda: nn.Sequential(first(), nn.LeakyReLU(), last()),
        r"module model.1 must be one of .*got LeakyReLU",
    ),
    Case("ReLU6", lambda: nn.Sequential(first(), nn.ReLU6(), last()), r"module model.1 must be one of .*got ReLU6"),
    Case(
        "LayerNorm",
        lambda: nn.Sequential(first(), nn.LayerNorm(2), nn.ReLU(), last()),
        r"model.1 must be one of .*got LayerNorm",
    ),
    Case("forward hook", lambda: changed(lambda m: m.register_forward_hook(spoil)), "module model has hooks"),
    Case("inner hook", lambda: changed(lambda m: m[2].register_forward_hook(spoil)), "module model.2 has hooks"),
    Case(
        "hook that is always called",
        lambda: changed(lambda m: m[1].register_forward_hook(spoil, always_call=True)),
        "module model.1 has hooks",
    ),
    Case(
        "hook with keywords",
        lambda: changed(lambda m: m.register_forward_hook(lambda *a: a[-1] - 1.3, with_kwargs=True)),
        "module model has hooks",
    ),
    Case(
        "pre-hook",
        lambda: changed(lambda m: m.register_forward_pre_hook(lambda _m, inputs: (inputs[0] - 1.3,))),
        "module model has hooks",
    ),
    Case(
        "hook on Identity",
        lambda: nn.Sequential(*plain(), changed(lambda m: m.register_forward_hook(spoil), nn.Identity())),
        "module model.3 has hooks",
    ),
    Case(
        "hook on ReluModule",
        lambda: changed(lambda m: m.register_forward_hook(spoil), from_torch(plain()).module()),
        "module model has hooks",
    ),
    Case("backward hook", lambda: changed(lambda m: m.register_full_backward_hook(lambda *_: None)), "model has hooks"),
    Case("global hook", plain, "a global module hook is registered", global_hook),
    Case("global hook, always called", plain, "a global module hook", functools.partial(global_hook, always_call=True)),
    Case("global pre-hook", plain, "a global module hook", global_pre_hook),
    Case("patched forward", lambda: changed(patch), "module model has a patched forward"),
    Case("patched inner forward", lambda: changed(lambda m: patch(m[2])), "module model.2 has a patched forward"),
    Case(
        "patched method",
        lambda: changed(lambda m: setattr(m[1], "forward", types.MethodType(lambda _s, x: -x, m[1]))),
        "module model.1 has a patched forward",
    ),
    Case("patched _call_impl", lambda: changed(lambda m: patch(m, "_call_impl")), "model has a patched _call_impl"),
    Case("compiled in place", lambda: changed(lambda m: m.compile(backend="eager")), "module model is compiled"),
    Case(
        "compiled",
        lambda: torch.compile(plain(), backend="eager"),
        r"module model must be one of .*got OptimizedModule",
    ),
    Case("DataParallel", lambda: nn.DataParallel(plain()), r"module model must be one of .*got DataParallel"),
    Case("scripted", scripted, r"module model must be one of .*got RecursiveScriptModule"),
    Case("traced", traced, r"module model must be one of .*got TopLevelTracedModule"),
    Case("fx", lambda: torch.fx.symbolic_trace(OwnForward(*plain())), r"module model must be one of .*got OwnForward"),
    Case("weight norm", lambda: changed(weight_norm), r"model.2 computes its weights from weight_g, weight_v"),
    Case("spectral norm", lambda: changed(spectral_norm), r"model.2 computes its weights from weight_orig"),
    Case("pruned", lambda: changed(pruned), r"model.2 computes its weights from weight_mask, weight_orig"),
    Case("computed weight", lambda: changed(computed), "model.2 computes its weights from no parameter"),
    Case(
        "parametrized",
        lambda: changed(lambda m: torch.nn.utils.parametrize.register_parametrization(m[2], "weight", Quantity())),
        "module model.2 computes its weights by parametrizations",
    ),
    Case("new weight norm", lambda: changed(lambda m: parametrizations.weight_norm(m[2])), "by parametrizations"),
    Case("new spectral norm", lambda: changed(lambda m: parametrizations.spectral_norm(m[2])), "by parametrizations"),
    Case("tensor subclass", lambda: changed(set_last(nn.Parameter(torch.ones(1, 2).as_subclass(Odd)))), "type Odd"),
    Case("float16", lambda: plain().half(), "module model.0 has a weight of type Parameter, float16"),
    Case("bfloat16", lambda: plain().bfloat16(), "module model.0 has a weight of type Parameter, bfloat16"),
    Case("complex", lambda: plain(dtype=torch.complex64), "module model.0 has a weight of type Parameter, complex64"),
    Case(
        "two types",
        lambda: nn.Sequential(first(), nn.ReLU(), last(dtype=torch.float64)),
        "module model.2 holds float64 on cpu, module model.0 float32 on cpu",
    ),
    Case("no device", lambda: changed(lambda m: m[2].to_empty(device="meta")), "model.2 has a .* float32 on meta"),
    Case(
        "lazy",
        lambda: nn.Sequential(first(), nn.ReLU(), nn.LazyLinear(1)),
        r"module model.2 must be one of .*got LazyLinear",
    ),
    Case("quantized", quantized, r"module model.0 must be one of .*got torch\.ao\.nn\.quantized\.dynamic\S+"),
    Case("namesake", namesake, r"module model.2 must be one of .*got test_certify_modules\.Linear"),
    Case("dropout in training", lambda: nn.Sequential(*plain(), nn.Dropout(0.9)), "a Dropout in training mode"),
    Case("batch norm in training", normed, r"module model.1 is a BatchNorm1d in training mode: call .eval\(\)"),
    Case("batch statistics", lambda: frozen(normed(track_running_stats=False)), "model.1 has no running_mean"),
    Case("flattened batch", lambda: nn.Sequential(nn.Flatten(0), *plain()), "flattens dimensions 0 to -1"),
    Case(
        "sizes that do not fit",
        lambda: nn.Sequential(first(), nn.ReLU(), nn.Linear(3, 1)),
        "must have 2 inputs",
    ),
    Case("norm of another size", lambda: frozen(nn.Sequential(first(), nn.BatchNorm1d(1))), "meets 2 and 1 features"),
    Case("a module in itself", contained, "module model.3 contains itself"),
    Case("NaN weight", lambda: changed(lambda m: m[2].weight.data.fill_(torch.nan)), "layer 2 must have finite"),
    Case(
        "patched class",
        plain,
        "module model.1 has a patched forward",
        lambda: replaced(nn.ReLU, "forward", lambda self, x: -REAL_RELU(self, x)),
    ),
    Case(
        "patched function",
        plain,
        "the torch network gives .* where its layers as read give",
        lambda: replaced(functional, "linear", lambda *a, **k: REAL_LINEAR(*a, **k) - 1.3),
    ),
    Case("function mode", plain, "the torch network gives .* where its layers as read give", ShiftEverything),
    Case("autocast", plain, "certify it outside of autocast", lambda: torch.autocast("cpu", torch.bfloat16)),
]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_module_is_certified_rightly_or_refused_by_name(case: Case) -> None:
    torch.manual_seed(0)
    model = case.make()
    with case.around():
        try:
            found = certify(model, X, np.array([1]), "inf", RADIUS)
        except UserError as error:
            said = str(error)
        else:
            said = str(found.status[0])
            z = X + RADIUS * uniform(np.random.default_rng(0), (500, 2), "inf")
            like = next(model.buffers() if isinstance(model, ReluModule) else model.parameters())
            outputs = model(torch.tensor(z).to(like)).detach().numpy()
            assert said != CERTIFIED or outputs.min() > 0, "a false proof"
            assert said != "counterexample" or outputs.min() < 0
    assert re.search(case.expected, said), said
    assert "\n" not in said


def test_other_subclasses_of_networks_are_refused() -> None:
    class Renamed(ReluNetwork):
        """Its layers may be anything."""

    with pytest.raises(UserError, match="network must be a ReluNetwork or a torch module, got Renamed"):
        certify(Renamed.of(from_torch(plain()).layers), X, np.array([1]), "inf", RADIUS)


def test_a_module_whose_rounding_changes_the_label_is_not_certified() -> None:
    """2^24 (relu(x + 2^-24) - relu(x)) - 0.5 is 0.5 at 1, where float32 adds 2^-24 in vain and gives -0.5."""
    step = 2.0**-24
    model = nn.Sequential(linear([[1], [1]], [step, 0]), nn.ReLU(), linear([[1 / step, -1 / step]], [-0.5])).double()
    x, y = np.ones((1, 1)), np.array([1])
    assert certify(model, x, y, "inf", 0.0).certified.all()
    assert model(torch.ones(1, 1).double()).item() == 0.5
    assert model.float()(torch.ones(1, 1)).item() == -0.5
    with pytest.raises(UserError, match="rounding changes the label near point 0"):
        certify(model, x, y, "inf", 0.0)


def test_batch_norms_are_folded_up_to_rounding() -> None:
    torch.manual_seed(1)
    norms = [nn.BatchNorm1d(5), nn.BatchNorm1d(5), nn.BatchNorm1d(7)]
    model = nn.Sequential(
        norms[0], norms[1], nn.Linear(5, 7), nn.Dropout(), norms[2], nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3)
    )
    model.append(nn.BatchNorm1d(3, affine=False)).double()
    model(3 + 2 * torch.randn(200, 5).double())
    model.eval()
    x = torch.randn(9, 5).double()
    np.testing.assert_allclose(from_torch(model)(x.numpy()), model(x).detach().numpy(), rtol=1e-12, atol=1e-13)


def test_the_clean_part_of_a_cgro_classifier_is_read_as_strictly() -> None:
    data = LabelledPoints(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([1, -1]))
    with pytest.raises(UserError, match=r"module model must be one of .*got OwnForward"):
        memorize(data, None, "inf", 0.1, construction="cgro_classifier", clean=OwnForward(*plain()))


def images(*layers: nn.Module, **options: Any) -> nn.Sequential:
    """A network of images of one channel and 4 x 4 pixels."""
    start = nn.Conv2d(1, 2, 3, padding=1, **options)
    return nn.Sequential(start, *layers, nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))


class OwnCNN(SmallCNN):
    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


def twice() -> nn.Sequential:
    pair = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU())
    return nn.Sequential(pair, pair, nn.Flatten(), nn.Linear(16, 2))


@pytest.mark.parametrize(
    "make",
    [
        images,
        twice,
        lambda: frozen(images(nn.BatchNorm2d(2))),
        lambda: frozen(images(nn.Dropout(0.5))),
        lambda: nn.Sequential(SmallCNN(1, 5, 3, 2), nn.ReLU(), nn.Linear(3, 2)),
    ],
    ids=["plain", "used twice", "batch norm", "dropout", "container of cgro"],
)
def test_convolutional_networks_are_unrolled_as_they_compute(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model, size = make().double(), 4 if isinstance(make(), nn.Sequential) and len(make()) > 3 else 5
    x = torch.rand(5, 1, size, size).double()
    network = unroll(model, (1, size, size))
    np.testing.assert_allclose(network(x.flatten(1).numpy()), model(x).detach().numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "words", "around"),
    [
        (lambda: OwnCNN(1, 5, 2, 2), "module model must be .*got OwnCNN on an input of shape", nullcontext),
        (
            lambda: images(OwnForward(nn.Identity())),
            "module 1 must be .*got OwnForward on an input of shape",
            nullcontext,
        ),
        (lambda: images(padding_mode="circular"), "a Conv2d must have .* padding_mode 'zeros'", nullcontext),
        (lambda: images(nn.BatchNorm2d(2)), "module 1 is a BatchNorm2d in training mode", nullcontext),
        (lambda: images(nn.Flatten(2)), "module 1 flattens dimensions 2 to -1", nullcontext),
        (lambda: changed(lambda m: m[1].register_forward_hook(spoil), images()), "module 1 has hooks", nullcontext),
        (images, "gives .* where its layers as read give", ShiftEverything),
    ],
    ids=["subclass", "own container", "circular", "training", "flattened channels", "hook", "patched function"],
)
def test_convolutional_networks_that_compute_otherwise_are_refused(
    make: Callable[[], nn.Module], words: str, around: Callable[[], AbstractContextManager[Any]]
) -> None:
    model = make()
    size = 5 if isinstance(model, SmallCNN) else 4
    with around(), pytest.raises(UserError, match=words):
        unroll(model, (1, size, size))
