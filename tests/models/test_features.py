"""Penultimate features: what the last linear layer takes, from one forward pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cgro.base.errors import UserError
from cgro.models.features import features
from cgro.models.zoo import image_model
from cgro.training.observers import Remembering


@pytest.mark.parametrize(("name", "width"), [("small-cnn", 2), ("lenet", 1), ("preact-resnet18", 1 / 64)])
def test_the_last_layer_turns_features_into_logits(name: str, width: float) -> None:
    model = image_model(name, 1, 16, 3, width, torch.Generator().manual_seed(0)).eval()
    x, passes = torch.rand(4, 1, 16, 16), []
    model.register_forward_hook(lambda *_: passes.append(1))
    logits, found = features(model, x)
    assert len(passes) == 1
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    assert found.shape == (4, last.in_features)
    torch.testing.assert_close(last(found), logits, rtol=0, atol=0)
    torch.testing.assert_close(logits, model(x), rtol=0, atol=0)
    assert found.requires_grad
    assert not last._forward_pre_hooks


def test_logits_of_an_objective_are_remembered_and_features_come_first() -> None:
    model = Remembering(image_model("small-cnn", 1, 8, 3, 2, torch.Generator().manual_seed(0)))
    x = torch.rand(2, 1, 8, 8)
    model.begin(x)
    logits, _ = features(model, x)
    assert model(x) is logits
    with pytest.raises(UserError, match="ask for features before the logits"):
        features(model, x)
    with pytest.raises(UserError, match="model must have a linear layer to have penultimate features, got Flatten"):
        features(nn.Flatten(), x)
