"""Memory of runs of the patch model, estimated from their sizes alone, so that impossible runs are refused at once.

The functions estimate peak memory in bytes, within a factor of about two; the tests measure it. Letters: N samples,
P patches, d patch dimension, F filters with their mirror images, n = N (P - 1) noise patches.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from cgro.base.machine import require_memory
from cgro.base.validate import integer
from cgro.dynamics.setting import PatchSetting, require_one_feature

_NUMBER = 8
"""Bytes of a float64."""
_BALL = 200
"""Bytes of a ball of the usual precision, as an object in a list."""
_OBJECT = 1000
"""Bytes of a setting, a seed and the other Python objects of a run."""
_RECORDED = 23
"""Numbers in a record without detail, with unlearnable samples."""
_COPIES_OF_RECORDS = 4
"""In the block, by setting and seed, concatenated, and while the file is written."""
_KEPT_SEEDS = 16
"""Number of seeds whose test draws are cached."""


def filters_of(setting: PatchSetting) -> int:
    """F: filters with their mirror images."""
    return setting.filters * (2 if setting.activation == "relu" else 1)


def draw_bytes(setting: PatchSetting) -> float:
    """Drawing the Gram form for one seed and dimension: three n x n matrices at a time, and vectors, if any."""
    n, m, d = setting.noise_patches, setting.filters, setting.dim
    vectors = 0 if setting.draws_gram else (n + m) * d
    return _NUMBER * (3.0 * n * n + 2.0 * m * n + 2.0 * m * m + vectors)


def gram_bytes(setting: PatchSetting, runs: int, draws: int) -> float:
    """Gram engine: during set-up, or during training and recording, whichever takes more.

    Draws exist twice until they are in one array. After that there remain G of every draw, and v, v(0), A and K(0) of
    every run with the terms of K.
    """
    n, m, F = setting.noise_patches, setting.filters, filters_of(setting)
    made = draws * (2.0 * n * n + m * n + 2.0 * m * m) + runs * (3.0 * F * n + 2.0 * F * F)
    # Your own activation runs as tensor operations, whose values its derivative keeps.
    kept = 8.0 if callable(setting.activation) else 0.0
    used = draws * 1.0 * n * n + runs * ((5.0 + kept) * F * n + 4.0 * F * F)
    return max(draw_bytes(setting) + _NUMBER * (draws - 1) * (1.0 * n * n + m * n + m * m), _NUMBER * max(made, used))


def direct_bytes(setting: PatchSetting, runs: int) -> float:
    """Direct engine: samples, their attacked versions and candidates, activations and their gradients."""
    N, P, d, n = setting.samples, setting.patches, setting.dim, setting.noise_patches
    F = filters_of(setting)
    # PGD keeps gradients, steps and the best points beside the samples.
    copies = 12.0 if setting.attack.startswith("pgd") else 8.0
    return _NUMBER * runs * (copies * N * P * d + 3.0 * n * d + 4.0 * F * d + 8.0 * N * P * F + 1.0 * F * F)


def test_bytes(setting: PatchSetting, seeds: int, test_samples: int) -> float:
    """Test errors: the cached draws, a network's responses to them, and the square root of its K."""
    F = filters_of(setting)
    one = float(test_samples) * (setting.patches - 1) * F
    return _NUMBER * ((min(seeds, _KEPT_SEEDS) + 4.0) * one + 4.0 * F * F)


def record_bytes(setting: PatchSetting, runs: int, records: int, *, detail: bool) -> float:
    """Records of all runs. There are never more records than steps."""
    numbers = _RECORDED + (filters_of(setting) + 3.0 * setting.samples if detail else 0.0)
    return float(runs) * (_NUMBER * _COPIES_OF_RECORDS * min(records, setting.steps + 1) * numbers + _OBJECT)


def require_engine(setting: PatchSetting, *, runs: int, draws: int, direct: bool) -> None:
    """Refuse a batch that memory cannot hold: `runs` runs of the shape of `setting`, with `draws` distinct draws.

    Raises: UserError.
    """
    sizes = ", ".join(f"{name} = {getattr(setting, name):,}" for name in ("samples", "patches", "dim", "filters"))
    needed = direct_bytes(setting, runs) if direct else gram_bytes(setting, runs, draws)
    _require(needed, f"training with {sizes}" + (f", {runs:,} runs at a time," if runs > 1 else ""))


def require_balls(setting: PatchSetting, bits: int) -> None:
    """Refuse a proved trajectory that memory cannot hold: G, patches, filters, and some balls for every component.

    Raises: UserError.
    """
    n, m, d = setting.noise_patches, setting.filters, setting.dim
    balls = 2.0 * (n + m) * d + 1.0 * n * n + 8.0 * m * n
    sizes = ", ".join(f"{name} = {getattr(setting, name):,}" for name in ("samples", "patches", "dim", "filters"))
    _require((_BALL + bits / 4) * balls, f"proving a run with {sizes} and bits = {bits:,}")


def require_records(
    setting: PatchSetting, *, runs: int, seeds: int, records: int, test_samples: int, detail: bool
) -> None:
    """Refuse records or test draws that memory cannot hold. Raises: UserError."""
    _require(record_bytes(setting, runs, records, detail=detail), f"{runs:,} runs with {records:,} records each")
    filters = f"filters = {setting.filters:,}"
    _require(test_bytes(setting, seeds, test_samples), f"test_samples = {test_samples:,} with {filters}")


def require_record_count(count: int) -> None:
    """Refuse fewer than two records: the first and the last step are always recorded. Raises: UserError."""
    integer("records", count, low=2)


def require_runs(settings: int, seeds: Sequence[int]) -> None:
    """Refuse more runs than memory can list. Raises: UserError."""
    try:
        count = len(seeds)
    except OverflowError:  # a range may be longer than len() can return
        count = sys.maxsize
    _require(float(_OBJECT) * settings * count, f"{settings:,} settings with {count:,} seeds each")


def require_sweep(
    settings: Iterable[PatchSetting],
    *,
    count: int,
    seeds: int,
    records: int,
    test_samples: int,
    together: int,
    detail: bool = False,
    direct: bool = False,
    two_features: bool = False,
) -> None:
    """Refuse a sweep with too few records or one that does not fit into memory, before the settings are listed.

    settings: the largest settings. count: number of settings, each with `seeds` seeds. together: runs in a block, which
    holds at least one setting with all seeds. two_features: whether unlearnable samples and teachers are allowed.

    Raises: UserError.
    """
    require_record_count(records)
    _require(float(_OBJECT) * count * seeds, f"seeds = {seeds:,}" + (f" of {count:,} settings" if count > 1 else ""))
    for setting in settings:
        if not two_features:
            require_one_feature(setting)
        require_engine(setting, runs=1, draws=1, direct=direct)
        require_records(
            setting, runs=count * seeds, seeds=seeds, records=records, test_samples=test_samples, detail=detail
        )
        require_engine(setting, runs=max(min(count * seeds, together), seeds), draws=seeds, direct=direct)


def _require(needed: float, what: str) -> None:
    require_memory(min(needed, sys.float_info.max), what)
