"""Run checks in parallel, within a time limit, and store the verdicts. A check that crashes or times out is
undecided."""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr
from threadpoolctl import threadpool_limits

from cgro.base.errors import UserError
from cgro.base.validate import finite, integer
from cgro.base.work import Tick
from cgro.claims.claim import Claim, Verdict, undecided
from cgro.runs.context import StoredContext
from cgro.runs.registry import find


@dataclass(frozen=True)
class CheckCell:
    """One check with its parameters."""

    name: str
    parameters: Mapping[str, Any]
    time_limit: float
    """Seconds; infinite for no limit."""

    @property
    def work(self) -> float:
        """Every check counts as one."""
        return 1.0


class _OutOfTime(BaseException):
    """Not an Exception: libraries catch those and continue."""


def run_checks(
    wanted: Mapping[str, Mapping[str, Any]],
    folder: Path,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    time_limit: float = math.inf,
    quiet: bool = False,
) -> list[tuple[Verdict, xr.Dataset]]:
    """Verdicts of checks by name with their parameters, computed now and stored below `folder`.

    jobs: number of worker processes; executor: used instead of them.

    Raises: UserError for parameters that are not finite or violate a hypothesis, before any check runs, and for those
    that a check rejects; StorageError if the folder cannot be written.
    """
    for name, parameters in wanted.items():
        _require(name, parameters)
    cells = [CheckCell(name, dict(parameters), time_limit) for name, parameters in wanted.items()]
    return examine_all(cells, folder, jobs=jobs, executor=executor, quiet=quiet)


def examine_all(
    cells: Sequence[CheckCell], folder: Path, *, jobs: int = 1, executor: Executor | None = None, quiet: bool = False
) -> list[tuple[Verdict, xr.Dataset]]:
    """Verdicts of cells, in order."""
    # A verdict is never taken from the store: the claim's code may have changed.
    context = StoredContext(folder, jobs=min(jobs, len(cells)), executor=executor, fresh=True, quiet=quiet)
    return [(stored_verdict(result), result) for result in context.map(examine, cells)]


def examine(cell: CheckCell, tick: Tick) -> xr.Dataset:
    """Run one check: the cell function. The Dataset holds the verdict and the numbers for the check's figure."""
    claim: Claim = find("check", cell.name)
    start = time.perf_counter()
    try:
        # Matrix products are small and other cores run other checks: synchronizing threads took ten times as long as
        # the work.
        with _at_most(cell.time_limit), threadpool_limits(1, user_api="blas"):
            found = claim.check(**_plain(cell.parameters))
    except _OutOfTime:
        found = undecided(f"time limit of {cell.time_limit:g} s reached; raise --time-limit")
    except UserError as error:
        if dict(cell.parameters) not in (claim.preset("quick"), claim.preset("deep")):
            raise UserError(f"check {cell.name}: {error}") from error
        found = undecided(str(error))  # the check's own fault, not the user's
    except Exception as error:
        found = undecided(f"{type(error).__name__}: {' '.join(str(error).split())}")
    seconds = time.perf_counter() - start
    verdict = Verdict.of(cell.name, claim, cell.parameters, found, seconds)
    data = found.data if found.data is not None else xr.Dataset()
    tick(cell.work)
    return data.assign_attrs(verdict=json.dumps(asdict(verdict)))


def stored_verdict(result: xr.Dataset) -> Verdict:
    """The verdict that a Dataset of `examine` holds."""
    return Verdict(**json.loads(result.attrs["verdict"]))


def repeat(
    verdicts: Sequence[Verdict],
    seeds: int,
    folder: Path,
    *,
    jobs: int,
    time_limit: float = math.inf,
    quiet: bool = False,
) -> dict[str, list[Verdict]]:
    """Verdicts of every check that uses random draws, with `seeds` other seeds; empty for the other checks."""
    cells = [
        CheckCell(v.name, dict(v.parameters) | {"seed": v.parameters["seed"] + k}, time_limit)
        for v in verdicts
        if "seed" in v.parameters
        for k in range(1, seeds + 1)
    ]
    again: dict[str, list[Verdict]] = {}
    for verdict, _ in examine_all(cells, folder, jobs=jobs, quiet=quiet) if cells else []:
        again.setdefault(verdict.name, []).append(verdict)
    return again


def shown(verdict: Verdict, again: Sequence[Verdict]) -> Verdict:
    """The verdict with a note on its repetitions."""
    if not again:
        return verdict
    same = sum(v.outcome == verdict.outcome for v in again)
    return replace(verdict, tested=f"{verdict.tested}; {same} of {len(again)} other seeds agree")


def _require(name: str, parameters: Mapping[str, Any]) -> None:
    """Raises: UserError naming a parameter that is not finite or not a valid seed, or a violated hypothesis."""
    try:
        for key, value in parameters.items():
            for number in value if isinstance(value, tuple | list) else (value,):
                if isinstance(number, float):
                    finite(key, number)
        if "seed" in parameters:
            integer("seed", parameters["seed"], low=0)
        find("check", name).require(parameters)
    except UserError as error:
        raise UserError(f"check {name}: {error}") from None


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Lists, which JSON makes of tuples, become tuples again."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in parameters.items()}


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises _OutOfTime once the block has run for that many seconds; code outside Python is interrupted only when it
    returns.

    Raises: UserError where alarms are not available: outside the main thread, and on Windows.
    """
    if math.isinf(seconds):
        yield
        return
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        raise UserError("--time-limit must be left out on Windows and in a thread, where it has no effect")
    over = False

    def stop(*_: object) -> None:
        if not over:
            raise _OutOfTime

    before, report = signal.signal(signal.SIGALRM, stop), sys.unraisablehook
    # Repeated every second and without a message: Python discards exceptions raised while an object is being freed.
    sys.unraisablehook = lambda dropped: None if dropped.exc_type is _OutOfTime else report(dropped)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        sys.unraisablehook = report
