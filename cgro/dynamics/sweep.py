"""Sweeps of the patch model: any list of settings, with seeds, in blocks that an executor can distribute."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from cgro.base.machine import resolve_device
from cgro.base.work import Context, PlainContext, Tick
from cgro.dynamics.memory import require_runs
from cgro.dynamics.runs import EngineName, Runs
from cgro.dynamics.setting import PatchSetting

BLOCK = 64
"""The most runs in a block, all of which are lost when a sweep is killed."""
_BLOCKS = 32
"""A sweep that processes share has about so many blocks, so that none of them waits long for the last one..."""
_LEAST_WORK = 10_000
"""...unless blocks would be smaller than so many run-steps, and storing them take longer than training."""


@dataclass(frozen=True)
class Block:
    """Runs of the same shape: every setting with every seed."""

    settings: tuple[PatchSetting, ...]
    seeds: tuple[int, ...]
    engine: EngineName
    records: int
    test_samples: int
    detail: bool
    device: str

    @property
    def work(self) -> float:
        """Run-steps."""
        return float(self.settings[0].steps * len(self.settings) * len(self.seeds))


def train_block(block: Block, tick: Tick) -> xr.Dataset:
    """Trajectories of a block."""
    from cgro.dynamics.trajectory import train

    return train(
        Runs.product(block.settings, block.seeds),
        engine=block.engine,
        records=block.records,
        test_samples=block.test_samples,
        detail=block.detail,
        device=block.device,
        tick=tick,
    )


def train_settings(
    context: Context | None,
    settings: Sequence[PatchSetting],
    seeds: Sequence[int],
    *,
    engine: EngineName = "gram",
    records: int = 100,
    test_samples: int = 2048,
    detail: bool = False,
    device: str = "auto",
) -> xr.Dataset:
    """Train every setting with every seed; Dataset with dimensions (setting, seed, step, ...) in the given order.

    Settings that share a shape are trained together: without a context in blocks of BLOCK runs, each on all cores; with
    one in smaller blocks, which its processes share. The numbers of the gram engine do not depend on the blocks.

    Raises: ValueError if the settings differ in their number of steps (their records would not share an axis).
    """
    require_runs(len(settings), seeds)
    settings, seeds = list(settings), tuple(seeds)
    if len({s.steps for s in settings}) > 1:
        raise ValueError("the settings of a sweep must take the same number of steps")
    groups: dict[tuple[object, ...], list[int]] = {}
    for k, setting in enumerate(settings):
        # The direct engine trains one dimension at a time.
        groups.setdefault((setting.shape, setting.dim if engine == "direct" else None), []).append(k)
    runs = BLOCK
    if context is not None and engine == "gram" and resolve_device(device).type == "cpu":
        runs = _shared(len(settings) * len(seeds), settings[0].steps)
    width = max(1, runs // len(seeds))
    chunks = [ks[i : i + width] for ks in groups.values() for i in range(0, len(ks), width)]
    together = [seeds[i : i + runs] for i in range(0, len(seeds), runs)]
    pairs = [(chunk, some) for chunk in chunks for some in together]
    blocks = [
        Block(tuple(settings[k] for k in chunk), some, engine, records, test_samples, detail, device)
        for chunk, some in pairs
    ]
    trained = iter((context or PlainContext()).map(train_block, blocks))
    parts = [
        xr.concat([_by_setting(next(trained), chunk, some) for some in together], dim="seed", join="exact")
        for chunk in chunks
    ]
    return xr.concat(parts, dim="setting", join="exact").sortby("setting").drop_vars("setting")


def train_pairs(
    context: Context | None,
    pairs: Sequence[tuple[PatchSetting, int]],
    *,
    records: int = 2,
    test_samples: int = 2048,
    device: str = "auto",
) -> xr.Dataset:
    """Train single runs, each with a seed of its own, by the gram engine; Dataset with dimensions (run, step).

    Raises: ValueError if the settings differ in their number of steps.
    """
    require_runs(len(pairs), [0])
    if len({setting.steps for setting, _ in pairs}) > 1:
        raise ValueError("the settings of a sweep must take the same number of steps")
    groups: dict[tuple[object, ...], list[int]] = {}
    for k, (setting, seed) in enumerate(pairs):
        groups.setdefault((setting.shape, seed), []).append(k)
    width = BLOCK
    if context is not None and resolve_device(device).type == "cpu":
        width = _shared(len(pairs), pairs[0][0].steps)
    chunks = [ks[i : i + width] for ks in groups.values() for i in range(0, len(ks), width)]
    blocks = [
        Block(tuple(pairs[k][0] for k in ks), (pairs[ks[0]][1],), "gram", records, test_samples, False, device)
        for ks in chunks
    ]
    trained = (context or PlainContext()).map(train_block, blocks)
    parts = [part.assign_coords(run=ks) for part, ks in zip(trained, chunks, strict=True)]
    return xr.concat(parts, dim="run", join="exact").sortby("run")


def _shared(runs: int, steps: int) -> int:
    """Runs of a block, if processes share a sweep of so many runs."""
    return min(BLOCK, max(math.ceil(runs / _BLOCKS), math.ceil(_LEAST_WORK / steps)))


def train_patches(
    settings: PatchSetting | Sequence[PatchSetting],
    seeds: Sequence[int] = range(10),
    *,
    engine: EngineName = "gram",
    records: int = 100,
    test_samples: int = 2048,
    detail: bool = False,
    device: str = "auto",
) -> xr.Dataset:
    """Train the patch model: every setting with every seed.

        >>> import cgro
        >>> settings = [cgro.PatchSetting(samples=6, dim=1000, steps=50, radius_ratio=rho) for rho in (0.5, 0.9)]
        >>> result = cgro.train_patches(settings, seeds=range(3), records=5)
        >>> result.robust_test_error.dims, result.sizes["setting"], result.sizes["seed"]
        (('setting', 'seed', 'step'), 2, 3)

    Args:
        settings: one setting, or several with the same number of steps.
        seeds: integers >= 0; the seed determines the data and the initial network.
        engine: "gram" (reduced variables, at a cost independent of the dimension) or "direct" (the network itself,
            for attacks on the whole input and for your own activations).
        records: number of recorded steps, log-spaced.
        test_samples: Monte Carlo draws of a fresh sample for each test error.
        detail: also record each filter and each sample.

    Returns: Dataset with dimensions setting (absent for a single setting), seed and step: margins, memorized noise,
        losses, and clean and robust errors at the recorded steps; status, last_step, and the ends of the phases T_0,
        T_n and T_1 of each run.

    Raises: UserError for settings that the engine does not support or that do not fit into memory.
    Reference: Li & Li, ICML 2025, arXiv:2306.01271, section 5.
    """
    single = isinstance(settings, PatchSetting)
    trained = train_settings(
        None,
        [settings] if isinstance(settings, PatchSetting) else settings,
        seeds,
        engine=engine,
        records=records,
        test_samples=test_samples,
        detail=detail,
        device=device,
    )
    return trained.isel(setting=0) if single else trained


def _by_setting(part: xr.Dataset, indices: list[int], seeds: tuple[int, ...]) -> xr.Dataset:
    """Split the dimension `run` of a block into setting and seed."""
    shape = (len(indices), len(seeds))
    data = {
        name: (("setting", "seed", *v.dims[1:]), v.values.reshape(*shape, *v.shape[1:]), v.attrs)
        for name, v in part.data_vars.items()
    }
    coords = {"setting": indices, "seed": list(seeds), "step": part["step"]}
    return xr.Dataset(data, coords=coords)
