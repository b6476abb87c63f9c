"""The tracker's scores are those of a plain re-implementation from what an observer sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from tools import images
from torch import Tensor

from cgro.attacks.ball import Budget
from cgro.attacks.images import Attack
from cgro.base.errors import UserError
from cgro.base.randomness import spawn_streams
from cgro.memorization.tracker import HARDER, SCORES, Tracker
from cgro.models.convolutional import SmallCNN
from cgro.training.loop import Trainer
from cgro.training.objectives import Adversarial, Objective, Standard, Trades
from cgro.training.observers import Observer, Seen
from cgro.training.recipe import Recipe

EPOCHS = 6


class Diary(Observer):
    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        self.seen.append(seen)
        return {}


def run(objective: Objective, **changes: Any) -> tuple[dict[str, np.ndarray], list[Seen], list[float], Tensor]:
    """The scores of a run over some epochs, what was seen in each update, and the norms of the weights before it.

    Between updates the weights are scaled, so that their norm first rises and then falls.
    """
    diary, tracker = Diary(), Tracker(early=2)
    attack = Attack(Budget("inf", 0.1), 2, 1.0) if objective.attacks else None
    recipe = Recipe(attack=attack, objective=objective, epochs=EPOCHS, batch_size=8, learning_rate=0.1,
                    observers=(diary, tracker))  # fmt: skip
    model = SmallCNN(1, 8, 3, 4, generator=torch.Generator().manual_seed(3))
    trainer = Trainer(model, images(size=8), replace(recipe, **changes), spawn_streams(0))
    norms = []
    while trainer.step < trainer.steps:
        norms.append(float(torch.cat([p.detach().flatten() for p in model.parameters()]).norm()))
        trainer.advance(trainer.step + 1)
        with torch.no_grad():
            for p in model.parameters():
                p *= 1.1 if trainer.step < trainer.steps / 2 else 0.9
    return tracker.scores(trainer.kept.of(tracker), trainer.epoch), diary.seen, norms, trainer.data.labels


@pytest.mark.parametrize(
    ("objective", "views"), [(Standard(), {0}), (Adversarial(), {1}), (Trades(), {0, 1})], ids=lambda v: str(v)[:8]
)
@pytest.mark.parametrize("changes", [{}, {"label_smoothing": 0.5}, {"micro_batch": 3}], ids=lambda c: str([*c]))
def test_scores_are_those_of_a_plain_loop(objective: Objective, views: set[int], changes: dict[str, Any]) -> None:
    found, updates, norms, labels = run(objective, **changes)
    assert set(found) == set(SCORES) == set(HARDER)
    assert 0 < int(np.argmax(norms)) < len(norms) - 1
    assert max(seen.step for seen in updates) == len(norms) - 1
    for i, y in enumerate(labels.tolist()):
        visits = [(seen, int(k)) for seen in updates for k in (seen.batch.indices == i).nonzero()[:, 0]]
        own = [norms[seen.step] for seen, _ in visits]
        assert len(visits) == EPOCHS
        for view in (0, 1):
            logits = [(seen.clean, seen.attacked)[view] for seen, _ in visits]
            if view not in views:
                assert all(np.isnan(found[name][view, i]) for name in SCORES)
                continue
            rows = [each[k].double() for each, (_, k) in zip(logits, visits, strict=True) if each is not None]
            p = [row.softmax(0) for row in rows]
            losses = np.array([-float(row.log_softmax(0)[y]) for row in rows])
            others = [row[[c for c in range(3) if c != y]].max() for row in rows]
            right = [bool(row.argmax() == y) for row in rows]
            lost = sum(a and not b for a, b in pairwise(right))
            distances = [float((q - torch.eye(3)[y]).norm()) for q in p]
            expected = {
                "csl": losses.sum(),
                "sgal": losses[: int(np.argmax(own)) + 1].sum(),
                "forgetting": lost if any(right) else EPOCHS,
                "aum": np.mean([float(row[y] - other) for row, other in zip(rows, others, strict=True)]),
                "el2n": np.mean(distances[:2]),
                "q": float(max(q for c, q in enumerate(p[-1]) if c != y)),
            }
            for name, value in expected.items():
                assert found[name][view, i] == pytest.approx(value, rel=1e-4, abs=1e-5), name
        gradients = [seen.gradient[k] for seen, k in visits if seen.gradient is not None]
        if objective.attacks:
            assert found["csg"][1, i] == pytest.approx(sum(float(g.square().sum()) for g in gradients), rel=1e-4)
        assert np.isnan(found["csg"][0, i])


def test_something_is_forgotten_and_something_never_learned() -> None:
    """Otherwise the comparison above would say nothing of these two."""
    forgetting = run(Trades())[0]["forgetting"]
    assert set(forgetting.ravel().tolist()) >= {0.0, 1.0, float(EPOCHS)}


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="early must be an integer of at least 1, got 0"):
        Tracker(early=0)
    with pytest.raises(UserError, match="epochs must be an integer of at least 1, got 0"):
        Tracker().scores({}, 0)
