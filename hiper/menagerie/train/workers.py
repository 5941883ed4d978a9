"""Data-parallel training over processes: on a shared CPU two processes of one thread beat one of two threads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn


@dataclass(frozen=True)
class Worker:
    """One of `count` equal processes that see different samples and take the same steps."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this one saves and reports."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by the mean over all workers."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.div_(self.count).split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def run_workers(train: Callable[[Worker], None], count: int) -> None:
    """Call `train` in `count` processes of one thread each, or right here when one is enough."""
    if count == 1:
        train(Worker())
        return
    with tempfile.TemporaryDirectory() as folder:
        spawn(_start, args=(train, count, os.path.join(folder, "rendezvous")), nprocs=count)


def _start(rank: int, train: Callable[[Worker], None], count: int, rendezvous: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=count)
    try:
        train(Worker(rank, count))
    finally:
        dist.destroy_process_group()
