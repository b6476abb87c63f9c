"""Threads of a process, in a module that imports little, as a worker imports what it runs."""

from __future__ import annotations


def in_use() -> dict[str, int]:
    """The threads of every library that computes on several."""
    import numpy
    import scipy.linalg
    import threadpoolctl
    import torch

    numpy.linalg.svd(numpy.ones((2, 2)))
    scipy.linalg.svd(numpy.ones((2, 2)))
    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    return pools | {"torch": torch.get_num_threads()}
