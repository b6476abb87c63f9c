"""What this process may use of the machine: cores and device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cgro.experiment import UserError


def available_cores() -> int:
    """Cores that this process may use, or the number in the environment variable CGRO_THREADS."""
    limit = os.environ.get("CGRO_THREADS", "")
    if limit:
        if not limit.isdecimal() or int(limit) < 1:
            raise UserError(f"CGRO_THREADS = {limit!r}: must be a positive integer; set it so or unset it")
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_device(name: str) -> torch.device:
    """'auto' is the GPU where there is one, else the CPU. Raises: UserError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UserError(f"device = {name!r}: must be auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device = 'cuda': no CUDA device is visible to torch; use --device cpu or auto")
    return torch.device(name)


@contextmanager
def single_thread() -> Iterator[None]:
    """Computes on one CPU core inside, so that bits do not depend on how many there are.

    Small networks lose nothing by it, and gain much where other work is running; cells run side by side instead.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
