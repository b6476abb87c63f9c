"""A batch of runs of one shape, and the interface of the engines that train it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from jaxtyping import Bool, Float64, Int64

from cgro.data.patches import GramDraw, PatchDraw, draw_gram, draw_patches
from cgro.dynamics.memory import require_runs
from cgro.dynamics.setting import PatchSetting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

EngineName = Literal["gram", "direct"]


@dataclass(frozen=True)
class Runs:
    """B runs with one setting and one seed each. The settings differ only in scales and dimension."""

    settings: tuple[PatchSetting, ...]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.settings or len(self.settings) != len(self.seeds):
            raise ValueError(f"{len(self.settings)} settings and {len(self.seeds)} seeds: give one seed for each run")
        if len({s.shape for s in self.settings}) > 1:
            raise ValueError("the settings of a batch must agree in all but scales and dimension; run them apart")

    @classmethod
    def product(cls, settings: Sequence[PatchSetting], seeds: Sequence[int]) -> Runs:
        """Every setting with every seed, seeds varying fastest. Raises: UserError for more runs than memory holds."""
        require_runs(len(settings), seeds)
        return cls(tuple(s for s in settings for _ in seeds), tuple(seed for _ in settings for seed in seeds))

    def __len__(self) -> int:
        return len(self.settings)

    @property
    def common(self) -> PatchSetting:
        """A setting whose shape is that of every run."""
        return self.settings[0]

    def values(self, name: str, device: torch.device) -> Float64[Tensor, " B"]:
        """One scale for every run, by the name of its field or property."""
        import torch

        return torch.tensor([float(getattr(s, name)) for s in self.settings], dtype=torch.float64, device=device)

    def select(self, keep: Int64[np.ndarray, " kept"]) -> Runs:
        return Runs(tuple(self.settings[k] for k in keep), tuple(self.seeds[k] for k in keep))


def vector_draw(setting: PatchSetting, seed: int) -> PatchDraw:
    """The d-dimensional draw of one run, in standard units."""
    return draw_patches(seed, **_sizes(setting))


def gram_draw(setting: PatchSetting, seed: int) -> GramDraw:
    """The Gram form of one run's draw: computed from its vectors, or drawn directly if the setting asks for it."""
    if not setting.draws_gram:
        return GramDraw.of(vector_draw(setting, seed))
    return draw_gram(seed, **_sizes(setting))


def _sizes(setting: PatchSetting) -> dict[str, int]:
    return {name: getattr(setting, name) for name in ("samples", "patches", "dim", "filters", "features")}


@dataclass(frozen=True)
class State:
    """The quantities of the theory, for every run of a batch."""

    u: Float64[Tensor, "B features F"]
    """Signal components <w_r, w*>, and <w_r, v> in a second row."""
    v: Float64[Tensor, "B F n"]
    """Noise components <w_r, X_i[j]>."""
    K: Float64[Tensor, "B F F"]
    """Inner products of the filters' components orthogonal to the features."""
    labels: Int64[Tensor, "B N"]
    unlearnable: Bool[Tensor, "B N"]
    """Which samples carry v."""

    def select(self, runs: slice) -> State:
        """The state of some of the runs."""
        return State(*(getattr(self, field.name)[runs] for field in fields(self)))


class Engine(Protocol):
    """Full-batch gradient descent on a batch of runs."""

    def advance(self, steps: int) -> None:
        """Take gradient steps in every run."""

    def state(self) -> State:
        """The current state."""

    def times(self) -> Float64[np.ndarray, "B 4"]:
        """T_0, T_n, T_1 and T_u of every run (see `crossings`); NaN if not reached yet."""

    def keep(self, indices: Int64[np.ndarray, " kept"]) -> None:
        """Continue with these runs only."""
