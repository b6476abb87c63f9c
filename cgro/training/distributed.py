"""Data-parallel training of one model by several processes, started by `torchrun`; a single process is a team of one.

Each process takes its share of every batch, and gradients are summed once before the update. We sum them here instead
of using torch's DistributedDataParallel because an update of adversarial training calls the model many times between
two sums, and only a twelfth of the work, the last backward pass, could overlap with communication.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cgro.base.errors import UserError


@dataclass(frozen=True)
class Team:
    """This process is number `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @classmethod
    def joined(cls, device: torch.device) -> Team:
        """The team started by torchrun, or a team of one. GPU processes communicate through NCCL, others through Gloo.

        Raises: UserError if there are more processes than GPUs.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if device.type == "cuda":
            own, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
            if own >= there:
                raise UserError(f"process {own + 1} has no GPU: there are {there} here; start as many processes")
            torch.cuda.set_device(own)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    def sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by its sum over all processes; of bools: whether any is true."""
        if self.size == 1:
            return
        for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):  # in one order in all processes
            alike = [tensor for tensor in tensors if tensor.dtype == dtype]
            together = torch.cat([tensor.flatten() for tensor in alike])
            together = together.to(torch.uint8) if dtype == torch.bool else together
            dist.all_reduce(together)
            for tensor, part in zip(alike, together.split([tensor.numel() for tensor in alike]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def share(self, items: Tensor) -> Tensor:
        """The items that belong to this process."""
        return items[self.rank :: self.size]

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


def synchronized(model: nn.Module, team: Team, device: torch.device) -> nn.Module:
    """Let batch norm use the statistics of the whole batch. Raises: UserError on CPUs, where torch cannot."""
    if team.size == 1:
        return model
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        raise UserError(
            "batch norms of several processes can be kept in step on GPUs only: train with one process here"
        )
    return model
