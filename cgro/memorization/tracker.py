"""Cheap scores of training samples: quantities that a training run computes anyway, followed for each sample.

Each is summed over the visits of a sample, one in an epoch, on the logits f of the update, just before it:

    CSL         sum of the cross-entropy (cumulative sample loss)
    SGAL        the same up to the visit at which the norm of the weights was largest
    CSG         sum of |grad_x loss|^2, the gradient of the first step of the attack (cumulative sample gradient)
    forgetting  how often a sample that was classified correctly was not at its next visit; the number of epochs for
                one that never was
    AUM         mean of f_y - max_{c != y} f_c (area under the margin); small for samples that are hard to fit
    EL2N        mean of |softmax f - one-hot y|_2 over the first epochs
    q           max_{c != y} (softmax f)_c at the last visit, the poisoning score of BAT on perturbed images

y is the given label, whatever targets the training uses. There is no further forward pass: clean scores exist where the
objective computes clean logits (TRADES, MART, mixtures, standard training), perturbed ones where it attacks, and CSG
where the attack is PGD. Sources: CSL, CSG, SGAL: see the theory of cheap memorization proxies [S]; forgetting events:
Toneva et al., ICLR 2019, arXiv:1812.05159; AUM: Pleiss et al., NeurIPS 2020, arXiv:2001.10528; EL2N: Paul et al.,
NeurIPS 2021, arXiv:2107.07075; q: Xu et al., arXiv:2106.04794 [R].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from cgro.base.validate import integer
from cgro.training.observers import Batch, Observer, Seen

VIEWS = ("clean", "perturbed")
SCORES = ("csl", "sgal", "csg", "forgetting", "aum", "el2n", "q")
HARDER = {name: -1.0 if name == "aum" else 1.0 for name in SCORES}
"""The sign with which a score is larger for samples that are harder to fit."""
_COLUMNS = ("csl", "sgal", "peak", "csg", "events", "aum", "el2n", "q", "right", "ever", "visits")


@dataclass(frozen=True)
class Tracker(Observer):
    """Follows all cheap scores; `scores` reads them.

    early: epochs over which EL2N is averaged, 1 or more.

    Raises: UserError for fewer.
    """

    early: int = 10

    def __post_init__(self) -> None:
        integer("early", self.early, low=1)

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        nothing = torch.zeros(len(labels), len(_COLUMNS))
        nothing[:, _COLUMNS.index("csg")] = -1
        # One tensor for each view, since reading and writing a tensor costs as much as computing a score.
        return {"label": labels.clone()} | {view: nothing.clone() for view in VIEWS}

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(seen.model.parameters())))).float()
        found = {}
        for view, logits in zip(VIEWS, (seen.clean, seen.attacked), strict=True):
            if logits is not None:
                gradient = seen.gradient if view == "perturbed" else None
                found[view] = self._visited(seen.batch, view, logits.float(), norm, gradient)
        return found

    def _visited(self, batch: Batch, view: str, logits: Tensor, norm: Tensor, gradient: Tensor | None) -> Tensor:
        """The row of each sample after a visit with logits (B, K)."""
        before = dict(zip(_COLUMNS, batch.state[view].unbind(1), strict=True))
        labels = batch.state["label"][:, None]
        logp = log_softmax(logits, dim=1)
        own = logp.gather(1, labels)[:, 0]
        others = logp.scatter(1, labels, -torch.inf).amax(1)
        right = (own > others).float()
        csl = before["csl"] - own
        found = before | {
            "csl": csl,
            "sgal": torch.where(norm >= before["peak"], csl, before["sgal"]),
            "peak": torch.maximum(norm, before["peak"]),
            "events": before["events"] + before["right"] * (1 - right),
            "aum": before["aum"] + own - others,
            "q": others.exp(),
            "right": right,
            "ever": torch.maximum(before["ever"], right),
            "visits": before["visits"] + 1,
        }
        if batch.epoch < self.early:  # |p - e_y|^2 = sum_c p_c^2 - 2 p_y + 1
            squares = logp.mul(2).exp().sum(1) - 2 * own.exp() + 1
            found["el2n"] = before["el2n"] + squares.clamp_min(0).sqrt()
        if gradient is not None:
            found["csg"] = before["csg"].clamp_min(0) + gradient.float().flatten(1).square().sum(1)
        return torch.stack([found[name] for name in _COLUMNS], 1)

    def scores(self, state: Mapping[str, Tensor], epochs: int) -> dict[str, np.ndarray]:
        """Each of `SCORES` as (view, sample), views clean and perturbed; NaN where the run did not compute it.

        state: the tensors of this observer, `trainer.kept.of(tracker)`; epochs: completed ones, 1 or more.
        """
        integer("epochs", epochs, low=1)
        each = []
        for view in VIEWS:
            kept = dict(zip(_COLUMNS, state[view].double().cpu().numpy().T, strict=True))
            visits = np.where(kept["visits"] > 0, kept["visits"], np.nan)
            found = {
                "forgetting": np.where(kept["ever"] > 0, kept["events"], epochs),
                "aum": kept["aum"] / visits,
                "el2n": kept["el2n"] / np.minimum(visits, self.early),
                "csg": np.where(kept["csg"] >= 0, kept["csg"], np.nan),
            }
            each.append({name: np.where(visits > 0, (kept | found)[name], np.nan) for name in SCORES})
        return {name: np.stack([one[name] for one in each]) for name in SCORES}
