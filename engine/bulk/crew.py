"""Which workers the machines there are can hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from engine.bulk.errors import WorkerError


class Machine(NamedTuple):
    """What a machine has."""

    cpus: int
    gpus: int


@dataclass(frozen=True)
class Crew:
    """The workers there are to be.

    Attributes:
        workers: how many.
        threads: of the CPU for each.
        gpu_share: of a GPU, for each; 0 without GPUs.
    """

    workers: int
    threads: int
    gpu_share: float

    @property
    def reserved(self) -> Mapping[str, float]:
        """What Ray is to keep for each."""
        return {"num_cpus": self.threads, "num_gpus": self.gpu_share}


def choose_crew(machines: Sequence[Machine], workers: int | None = None, threads: int | None = None) -> Crew:
    """A crew in which every worker is on one machine, one with a GPU if there are any.

    Args:
        machines: all there are.
        workers: None for one a GPU, or one.
        threads: None for as many as leave room for all workers.

    Raises:
        WorkerError: no machine can hold a worker.
    """
    gpus = sum(machine.gpus for machine in machines)
    workers = workers or gpus or 1
    on_a_gpu = -(-workers // gpus) if gpus else 0

    def room(threads: int) -> int:
        """For how many workers."""
        return sum(min(machine.cpus // threads, machine.gpus * on_a_gpu if gpus else workers) for machine in machines)

    most = max(machine.cpus for machine in machines)
    threads = threads or max((some for some in range(1, most + 1) if room(some) >= workers), default=1)
    if not room(threads):
        wanted = f"{threads} CPUs" + " and a GPU" * (gpus > 0)
        raise WorkerError(f"no machine has {wanted}, which a worker needs; add one, or lower --threads")
    # Ray counts in ten-thousandths.
    return Crew(workers, threads, 10_000 // on_a_gpu / 10_000 if gpus else 0.0)
