"""What this process may use of the machine: cores and device."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from cgro.base.errors import UserError
from cgro.base.validate import one_of

if TYPE_CHECKING:
    import torch
    from threadpoolctl import ThreadpoolController

# torch takes a second to import, and the command line asks for cores without it: functions import it.

T = TypeVar("T")


def available_cores() -> int:
    """Cores that this process may use, or the number in the environment variable CGRO_THREADS."""
    limit = os.environ.get("CGRO_THREADS", "")
    if limit:
        if not (limit.isascii() and limit.isdecimal()) or len(limit) > 6 or int(limit) < 1:
            raise UserError(f"CGRO_THREADS must be a positive integer, got {limit!r}: change or unset it")
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limited_threads(count: int, kind: str | None = None) -> AbstractContextManager[object]:
    """Threads of compiled libraries inside a block: of all of them, or of one `kind`, e.g. blas.

    What `threadpoolctl.threadpool_limits` does, without its search for libraries, which takes a millisecond.
    """
    return _libraries(len(sys.modules)).limit(limits=count, user_api=kind)


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """The libraries that are loaded; more may be once another module is imported."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def require_device(name: str) -> None:
    """Refuse a name that no device has. Raises: UserError."""
    one_of("device", name, ("auto", "cpu", "cuda"))


def resolve_device(name: str) -> torch.device:
    """The torch device: 'auto' is the GPU if there is one, otherwise the CPU.

    Raises: UserError for an unknown device, and for 'cuda' on a machine without a GPU.
    """
    import torch

    require_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device must be cpu or auto, got 'cuda': torch sees no CUDA device")
    return torch.device(name)


def require_memory(needed: float, what: str) -> None:
    """Refuse work that needs more bytes than the machine has, before it starts.

    what: the sizes responsible, as the user gave them, e.g. `samples = 10,000,000`.

    Raises: UserError.
    """
    there = psutil.virtual_memory().total
    if needed > there:
        raise UserError(
            f"{what} would need {in_words(needed)} of memory, this machine has {in_words(there)}; choose smaller sizes"
        )


def in_words(size: float) -> str:
    """A number of bytes in readable units."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = min(int(math.log(max(size, 1), 1024)), len(units) - 1)
    return f"{size / 1024**power:,.3g} {units[power]}" if size < 1e3 * 1024**5 else f"{size / 1024**5:.1e} PiB"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that a GPU or the CPU ran out of memory."""
    import torch

    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)


def in_batches_that_fit(work: Callable[[int], T], size: int) -> T:
    """The result of `work(size)`; the batch size is halved as long as memory runs out."""
    import torch

    while True:
        try:
            return work(size)
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        # The memory of the failed work is free only here, outside `except`.
        size = max(1, size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def computes_on_gpu(config: Any) -> bool:
    """Whether this configuration runs on a GPU: there is one, and a `device` field of it or of a part permits it."""
    parts = [config, *vars(config).values()] if hasattr(config, "__dict__") else []
    if not any(getattr(part, "device", "cpu") in ("auto", "cuda") for part in parts):
        return False
    import torch

    return torch.cuda.is_available()


@contextmanager
def single_thread() -> Iterator[None]:
    """Run the block on one CPU core, so that results are bit-identical whatever the number of cores.

    Small networks lose no speed, and gain much on a busy machine; cells run in parallel instead.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
