"""What this process may use of the machine: cores and device."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from cgro.base.errors import UserError

if TYPE_CHECKING:
    import torch

# torch takes a second to import, and the command line asks for cores without it: functions import it.

T = TypeVar("T")


def available_cores() -> int:
    """Cores that this process may use, or the number in the environment variable CGRO_THREADS."""
    limit = os.environ.get("CGRO_THREADS", "")
    if limit:
        if not (limit.isascii() and limit.isdecimal()) or len(limit) > 6 or int(limit) < 1:
            raise UserError(f"CGRO_THREADS = {limit!r}: must be a positive integer; set it so or unset it")
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_device(name: str) -> torch.device:
    """'auto' is the GPU where there is one, else the CPU. Raises: UserError for a device that is not there."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UserError(f"device = {name!r}: must be auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device = 'cuda': no CUDA device is visible to torch; use --device cpu or auto")
    return torch.device(name)


def require_memory(needed: float, what: str) -> None:
    """Refuse, before it begins, work that needs more bytes than the machine has.

    what: the sizes that make it so large, as the user gave them, `samples = 10,000,000` say.

    Raises: UserError.
    """
    there = psutil.virtual_memory().total
    if needed > there:
        raise UserError(
            f"{what} would need {in_words(needed)} of memory, this machine has {in_words(there)}; choose smaller sizes"
        )


def in_words(size: float) -> str:
    """A number of bytes for people."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = min(int(math.log(max(size, 1), 1024)), len(units) - 1)
    return f"{size / 1024**power:,.3g} {units[power]}" if size < 1e3 * 1024**5 else f"{size / 1024**5:.1e} PiB"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice, on a GPU or a CPU."""
    import torch

    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)


def in_batches_that_fit(work: Callable[[int], T], size: int) -> T:
    """`work` of batches of `size`, or of the first of its halves, quarters, ... for which memory suffices."""
    import torch

    while True:
        try:
            return work(size)
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        # Only here, outside of `except`, is the memory of the failed work free again.
        size = max(1, size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def computes_on_gpu(config: Any) -> bool:
    """Whether work of this configuration uses a GPU: there is one, and a field `device` of it or its parts lets it."""
    parts = [config, *vars(config).values()] if hasattr(config, "__dict__") else []
    if not any(getattr(part, "device", "cpu") in ("auto", "cuda") for part in parts):
        return False
    import torch

    return torch.cuda.is_available()


@contextmanager
def single_thread() -> Iterator[None]:
    """Computes on one CPU core inside, so that bits do not depend on how many there are.

    Small networks lose nothing by it, and gain much where other work is running; cells run side by side instead.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
