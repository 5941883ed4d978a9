"""Workers on Ray: one machine without a cluster, or a cluster that is there."""

import contextlib
import logging
import os
import secrets
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import msgspec

from engine.bulk.crew import Crew, Machine, choose_crew
from engine.bulk.rows import Task
from engine.bulk.worker import Outcome, Worker
from engine.ray_cluster import joined

# Rows are a few hundred bytes, and nothing else goes through it; Ray wants 75 MB at least.
_OBJECT_STORE_BYTES: Final = 80 * 2**20
_MAX_ROWS_PER_CALL: Final = 16
_ROUNDS: Final = 8


@dataclass(frozen=True)
class Fleet:
    """Which workers there are to be.

    Attributes:
        address: of a Ray cluster; empty starts one on this machine, for as long as it is needed.
        workers: None for one a GPU, or one.
        in_flight: rows that one worker has under way at once.
        threads: of the CPU for each; None shares out all.
    """

    address: str = ""
    workers: int | None = None
    in_flight: int = 1
    threads: int | None = None


@contextlib.contextmanager
def connected(fleet: Fleet) -> Iterator[Crew]:
    """Connect to Ray, or start it.

    Raises:
        ClusterError: there is no cluster at that address, or Ray cannot start.
        WorkerError: no machine of the cluster can hold a worker.
    """
    if not fleet.address:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    at_sigterm = signal.getsignal(signal.SIGTERM)
    # Ray starts a process for each CPU it believes to have.
    ours = joined(fleet.address, cpus=1, store_bytes=_OBJECT_STORE_BYTES, log_to_driver=False, logging_level="ERROR")
    with _redirected(1, 2), contextlib.ExitStack() as stack:  # stdout is for results, whatever Ray has to say
        with open(os.devnull, "w") as nowhere, _redirected(2, nowhere.fileno()):
            ray = stack.enter_context(ours)
        signal.signal(signal.SIGTERM, at_sigterm)  # Ray has put its own there
        yield choose_crew(_machines(fleet, ray.nodes()), fleet.workers, fleet.threads)


def outcomes(
    worker: type[Worker], arguments: Mapping[str, Any], tasks: Sequence[Task], crew: Crew, fleet: Fleet
) -> Iterator[Outcome]:
    """Let workers do rows; yields what became of each as soon as it is known.

    Args:
        worker: their class.
        arguments: each is made with.
        tasks: rows to do.
        crew: how many workers, and what Ray keeps for each on a cluster.
        fleet: how many rows each has under way at once.
    """
    data: Any = import_module("ray.data")
    context = data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    size, in_flight = min(crew.workers, len(tasks)), fleet.in_flight
    rows_per_call = min(_MAX_ROWS_PER_CALL, 1 + len(tasks) // (size * in_flight * _ROUNDS)) if in_flight > 1 else 1
    rows = [{"task": msgspec.json.encode(task)} for task in tasks]
    done = data.from_items(rows, override_num_blocks=-(-len(rows) // rows_per_call)).map(
        worker,
        fn_constructor_kwargs={**arguments},
        compute=data.ActorPoolStrategy(
            size=size,
            max_concurrent_calls_per_actor=in_flight,
            max_tasks_in_flight_per_actor=2 * in_flight,
            enable_true_multi_threading=True,
        ),
        **(crew.reserved if fleet.address else {"num_cpus": 0, "num_gpus": crew.gpu_share}),
    )
    for row in done.iter_rows():
        yield msgspec.convert(row, Outcome)


@contextlib.contextmanager
def _redirected(fd: int, to: int) -> Iterator[None]:
    """Let all that is written to one descriptor go to another; Ray's C++ part writes past all logging."""
    saved = os.dup(fd)
    os.dup2(to, fd)
    try:
        yield
    finally:
        os.dup2(saved, fd)
        os.close(saved)


def _machines(fleet: Fleet, nodes: Sequence[Mapping[str, Any]]) -> list[Machine]:
    found = [node["Resources"] for node in nodes if node["Alive"]]
    machines = [Machine(int(one.get("CPU", 0)), int(one.get("GPU", 0))) for one in found]
    # Of the machine that was started here, Ray does not know what it has.
    return machines if fleet.address else [Machine(len(os.sched_getaffinity(0)), machines[0].gpus)]
