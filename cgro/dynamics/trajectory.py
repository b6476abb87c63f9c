"""Train a batch of runs and record the quantities of the theory at log-spaced steps.

`train(runs)` is the entry to both engines. It returns a Dataset with dimensions (run, step) and, in full detail, filter
and sample. A run ends with a status: finished (all steps taken), stopped (its training loss fell below `stop_loss`) or
diverged (a number overflowed; later records are NaN).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import softplus

from cgro.base.errors import UserError
from cgro.base.machine import limited_threads, resolve_device
from cgro.base.validate import integer
from cgro.base.work import Tick
from cgro.dynamics.crossings import LONG_NAMES, NAMES
from cgro.dynamics.direct import DirectEngine
from cgro.dynamics.fresh_sample import estimate_error, mixed, noise_response
from cgro.dynamics.gram import GramEngine
from cgro.dynamics.memory import require_record_count, require_records
from cgro.dynamics.patch_cnn import output_signs
from cgro.dynamics.runs import Engine, EngineName, Runs, State
from cgro.dynamics.signal_attack import by_sample, margins, signal_learning, worst_margins

STATUS = ("finished", "stopped", "diverged")

UNITS: dict[str, tuple[str, str]] = {
    "signal_learning": ("U, learned signal, mean over labels", "1 / input units^q"),
    "signal_margin": ("alpha^q U, signal's part of the clean margin", "nats"),
    "largest_signal_component": ("max_r |<w_r, w*>|", "1 / input units"),
    "noise_memorization_median": ("median over training samples of V_i", "nats"),
    "noise_memorization_mean": ("mean over training samples of V_i", "nats"),
    "noise_memorization_min": ("smallest V_i over training samples", "nats"),
    "noise_memorization_max": ("largest V_i over training samples", "nats"),
    "clean_loss": ("mean logistic loss, clean training samples", "nats"),
    "adversarial_loss": ("mean logistic loss, attacked training samples", "nats"),
    "clean_train_error": ("clean training error", "fraction"),
    "robust_train_error": ("robust training error, worst case inside A", "fraction"),
    "clean_test_error": ("clean test error, fresh-sample law", "fraction"),
    "robust_test_error": ("robust test error, worst case inside A, fresh-sample law", "fraction"),
    "clean_test_error_se": ("Monte-Carlo standard error", "fraction"),
    "robust_test_error_se": ("Monte-Carlo standard error", "fraction"),
    "noise_response_std": ("std of Z, the network's response to fresh noise", "nats"),
    "learnable_clean_test_error": ("clean test error of learnable samples", "fraction"),
    "learnable_robust_test_error": ("robust test error of learnable samples, worst case inside A", "fraction"),
    "largest_unlearnable_component": ("max_r |<w_r, v>|", "1 / input units"),
    "unlearnable_samples": ("training samples with v", "samples"),
    "unlearnable_memorization_mean": ("mean over unlearnable samples of V_i", "nats"),
    "unlearnable_memorization_max": ("largest V_i over unlearnable samples", "nats"),
    "learnable_memorization_mean": ("mean over learnable samples of V_i", "nats"),
    "signal_component": ("u_r = <w_r, w*>", "1 / input units"),
    "noise_memorization": ("V_i, memorized noise of a training sample", "nats"),
    "clean_margin": ("y f(X) of a training sample", "nats"),
    "robust_margin": ("smallest y f(X') inside A of a training sample", "nats"),
}


def record_steps(steps: int, count: int) -> np.ndarray:
    """At most `count` log-spaced steps from 0 to `steps`, both included. Raises: UserError for count < 2."""
    require_record_count(count)
    if count > 2 + steps * np.log(steps + 1.0):  # more records than steps: record every step
        return np.arange(steps + 1)
    spaced = np.geomspace(steps, 1, count - 1).round().astype(int)
    return np.unique(np.concatenate([[0], spaced, [steps]]))


def observe(runs: Runs, state: State, *, test_samples: int, detail: bool) -> dict[str, np.ndarray]:
    """All recorded quantities of the current state, by name (see `UNITS`), with runs along the first axis.

    Runs are evaluated one by one: vectorized functions round the last elements of an array differently, so the last
    bits of a run would otherwise depend on its batch.
    """
    each = [
        _observe(runs.select(np.array([b])), state.select(slice(b, b + 1)), test_samples=test_samples, detail=detail)
        for b in range(len(runs))
    ]
    return {name: np.concatenate([record[name] for record in each]) for name in each[0]}


def _observe(runs: Runs, state: State, *, test_samples: int, detail: bool) -> dict[str, np.ndarray]:
    setting = runs.common
    q, kind = setting.exponent, setting.activation
    device = state.u.device
    alpha, delta, sigma = (runs.values(name, device) for name in ("signal", "radius", "noise"))
    signs = output_signs(setting.filters, kind).to(device)
    u = state.u[:, 0]
    U = signal_learning(u, signs, q, kind)

    def clean_of(u: Tensor) -> Tensor:
        return margins(alpha, u, signs, q, kind)

    def robust_of(u: Tensor) -> Tensor:
        return worst_margins(alpha, delta, u, signs, q, kind)

    clean = clean_of(u)
    y = state.labels.double()
    B, N = y.shape
    if callable(kind):
        phi = kind(state.v)
    else:
        base = abs(state.v) if kind == "odd" else state.v.clamp(min=0)
        phi = state.v * base ** (q - 1)
    V = y * torch.einsum("f,bfn->bn", signs, phi).view(B, N, -1).sum(2)
    where = (state.u, state.labels, state.unlearnable)
    clean_margin, robust_margin = V + by_sample(clean_of, *where), V + by_sample(robust_of, *where)

    finite = torch.isfinite(state.K).all(-1).all(-1)
    K = torch.where(finite[:, None, None], state.K, torch.eye(len(signs), dtype=y.dtype, device=device))
    Z = torch.stack(
        [
            noise_response(
                K[b],
                float(sigma[b]),
                signs,
                q,
                kind,
                noise_patches=setting.patches - 1,
                draws=test_samples,
                seed=runs.seeds[b],
            )
            for b in range(B)
        ]
    )
    share = torch.tensor([[1 - s.unlearnable, s.unlearnable][: s.features] for s in runs.settings], dtype=y.dtype)
    by_feature = [[estimate_error(f(each), Z) for each in state.u.unbind(1)] for f in (clean_of, robust_of)]
    clean_test, robust_test = (mixed(estimates, share.to(device)) for estimates in by_feature)
    half_label = torch.tensor([-0.5, 0.5], dtype=y.dtype, device=device)
    record: dict[str, Tensor] = {
        "signal_learning": U @ half_label,
        "signal_margin": clean.mean(1),
        "largest_signal_component": u.abs().amax(1),
        "noise_memorization_median": V.quantile(0.5, dim=1),
        "noise_memorization_mean": V.mean(1),
        "noise_memorization_min": V.amin(1),
        "noise_memorization_max": V.amax(1),
        "clean_loss": softplus(-clean_margin).mean(1),
        "adversarial_loss": softplus(-robust_margin).mean(1),
        "clean_train_error": (clean_margin <= 0).double().mean(1),
        "robust_train_error": (robust_margin <= 0).double().mean(1),
        "clean_test_error": clean_test.value,
        "robust_test_error": robust_test.value,
        "clean_test_error_se": clean_test.standard_error,
        "robust_test_error_se": robust_test.standard_error,
        "noise_response_std": Z.std(1),
    }
    if setting.features == 2:
        unlearnable = state.unlearnable
        masked = torch.where(unlearnable, V, torch.nan)
        largest = torch.where(unlearnable, V, -torch.inf).amax(1)
        record |= {
            "learnable_clean_test_error": by_feature[0][0].value,
            "learnable_robust_test_error": by_feature[1][0].value,
            "largest_unlearnable_component": state.u[:, 1].abs().amax(1),
            "unlearnable_samples": unlearnable.double().sum(1),
            "unlearnable_memorization_mean": masked.nanmean(1),
            "unlearnable_memorization_max": torch.where(unlearnable.any(1), largest, torch.nan),
            "learnable_memorization_mean": torch.where(unlearnable, torch.nan, V).nanmean(1),
        }
    if detail:
        record |= {
            "signal_component": u,
            "noise_memorization": V,
            "clean_margin": clean_margin,
            "robust_margin": robust_margin,
        }
    whole = [finite, *(torch.isfinite(x).flatten(1).all(1) for x in (V, clean, clean_margin, state.u))]
    broken = ~torch.stack(whole).all(0).cpu().numpy()
    arrays = {name: value.detach().cpu().numpy().copy() for name, value in record.items()}
    for array in arrays.values():
        array[broken] = np.nan
    return arrays | {"diverged": broken}


def make_engine(name: EngineName, runs: Runs, device: str = "auto", threads: int | None = None) -> Engine:
    """The engine of that name for these runs. Raises: UserError for an unknown engine."""
    if name == "gram":
        return GramEngine(runs, resolve_device(device), threads=threads)
    if name == "direct":
        return DirectEngine(runs, resolve_device(device))
    raise UserError(f"engine must be gram or direct, got {name!r}")


def train(
    runs: Runs,
    *,
    engine: EngineName = "gram",
    records: int = 100,
    test_samples: int = 2048,
    detail: bool = True,
    device: str = "auto",
    threads: int | None = None,
    tick: Tick = lambda _done: None,
) -> xr.Dataset:
    """Train every run and return its trajectory.

    engine: "gram" (reduced variables) or "direct" (d-dimensional weights). records: number of recorded steps,
    log-spaced. test_samples: Monte Carlo draws S of a fresh sample. detail: also record each filter and each sample.
    tick: called with the number of run-steps just taken.

    Returns: Dataset with dimensions run, step (and filter, sample), coordinates seed(run), variables of `UNITS`,
    status(run) as index into STATUS, last_step(run), and the ends of the phases T_0, T_n and T_1 (run), which do not
    depend on the recorded steps. With unlearnable samples also T_u, and the memorized noise of either kind of samples.
    """
    integer("test_samples", test_samples, low=1)
    total, distinct = len(runs), len(set(runs.seeds))
    require_records(runs.common, runs=total, seeds=distinct, records=records, test_samples=test_samples, detail=detail)
    work = make_engine(engine, runs, device, threads)
    active, batch = np.arange(total), runs
    steps = record_steps(runs.common.steps, records)
    values: dict[str, np.ndarray] = {}
    status, last_step = np.zeros(total, dtype=np.int8), np.full(total, steps[-1])
    times = np.full((total, len(NAMES)), np.nan)

    for k, step in enumerate(steps):
        if k and len(active):
            work.advance(int(step - steps[k - 1]))
        tick(float(total * (step - steps[k - 1])) if k else 0.0)
        if not len(active):
            continue
        with limited_threads(1):  # operations are too small to gain from several threads
            record = observe(batch, work.state(), test_samples=test_samples, detail=detail)
        diverged = record.pop("diverged")
        times[active] = _times_before_divergence(work.times(), diverged, int(steps[k - 1]) if k else -1)
        for name, value in record.items():
            whole = values.setdefault(name, np.full((total, len(steps), *value.shape[1:]), np.nan))
            whole[active, k] = value
        stopped = _training_loss(batch, record) < np.array([s.stop_loss for s in batch.settings])
        leaving = diverged | stopped
        if leaving.any() and step < steps[-1]:
            last_step[active[leaving]] = step
        status[active[stopped]] = 1
        status[active[diverged]] = 2
        if leaving.any():
            stay = np.flatnonzero(~leaving)
            active = active[stay]
            if len(stay):
                work.keep(stay)
                batch = batch.select(stay)
    return _dataset(runs, steps, values, status, last_step, times)


def _times_before_divergence(times: np.ndarray, diverged: np.ndarray, last: int) -> np.ndarray:
    """Times, with NaN for what diverged runs reached after `last`, their last step known to be finite."""
    return np.where(diverged[:, None] & (times > last), np.nan, times)


def _training_loss(batch: Runs, record: dict[str, np.ndarray]) -> np.ndarray:
    lam = np.array([s.adversarial_weight for s in batch.settings])
    return (1 - lam) * record["clean_loss"] + lam * record["adversarial_loss"]


def _status_variable(status: np.ndarray, dim: str) -> xr.DataArray:
    return xr.DataArray(status, dims=dim, attrs={"long_name": "how the run ended", "flag_meanings": " ".join(STATUS)})


def status_of(diverged: np.ndarray, dim: str) -> xr.DataArray:
    """The status of runs that cannot stop early: finished or diverged."""
    return _status_variable(np.where(diverged, STATUS.index("diverged"), 0).astype(np.int8), dim)


def _dataset(
    runs: Runs,
    steps: Sequence[int] | np.ndarray,
    values: dict[str, np.ndarray],
    status: np.ndarray,
    last: np.ndarray,
    times: np.ndarray,
) -> xr.Dataset:
    extra = {"signal_component": ("filter",), "noise_memorization": ("sample",)}
    extra |= {"clean_margin": ("sample",), "robust_margin": ("sample",)}
    data = {
        name: xr.DataArray(
            array,
            dims=("run", "step", *extra.get(name, ())),
            attrs={"long_name": UNITS[name][0], "units": UNITS[name][1]},
        )
        for name, array in values.items()
    }
    data["status"] = _status_variable(status, "run")
    data["last_step"] = xr.DataArray(last, dims="run", attrs={"long_name": "last step taken", "units": "steps"})
    count = len(NAMES) if runs.common.features == 2 else len(NAMES) - 1  # T_u needs unlearnable samples
    for name, long_name, values_of in zip(NAMES[:count], LONG_NAMES[:count], times.T[:count], strict=True):
        data[name] = xr.DataArray(values_of, dims="run", attrs={"long_name": long_name, "units": "steps"})
    return xr.Dataset(
        data,
        coords={
            "step": ("step", np.asarray(steps), {"long_name": "gradient step", "units": "steps"}),
            "seed": ("run", np.array(runs.seeds), {"long_name": "seed of the run"}),
        },
    )
