"""Workers on Ray: one machine without a cluster, or a cluster that is there."""

import contextlib
import logging
import os
import secrets
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import msgspec

from engine.bulk.errors import WorkerError
from engine.bulk.rows import Task
from engine.bulk.worker import Outcome, Worker
from engine.errors import RuntimeMissingError

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


@dataclass(frozen=True)
class Crew:
    """The workers there are.

    Attributes:
        workers: how many.
        threads: of the CPU for each.
        resources: that Ray keeps for each.
    """

    workers: int
    threads: int
    resources: Mapping[str, float]


def check_ray() -> None:
    """Find out early whether Ray is there; it takes seconds to load.

    Raises:
        RuntimeMissingError: it is not.
    """
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise RuntimeMissingError("ray is not installed but hiper-bulk needs it; run: pip install 'hiper[serve,ray]'")


@contextlib.contextmanager
def connected(fleet: Fleet) -> Iterator[Crew]:
    """Connect to Ray, or start it.

    Raises:
        WorkerError: there is no cluster at that address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not fleet.address:
        # Whoever can reach its ports could run what they like.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        # Ray puts workers 15 below everything else, and their networks with them; whoever wants that says nice.
        os.environ.setdefault("RAY_worker_niceness", "0")
    ray: Any = import_module("ray")  # its annotations are incomplete

    at_sigterm = signal.getsignal(signal.SIGTERM)
    with _redirected(1, 2):  # stdout is for results, whatever Ray has to say
        try:
            with open(os.devnull, "w") as nowhere, _redirected(2, nowhere.fileno()):
                ray.init(**_options(fleet), log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise WorkerError(f"Ray cannot be reached at {fleet.address or 'this machine'}: {error}") from error
        signal.signal(signal.SIGTERM, at_sigterm)  # Ray has put its own there
        try:
            yield _crew(fleet, ray.cluster_resources())
        finally:
            ray.shutdown()


def outcomes(
    worker: type[Worker], arguments: Mapping[str, Any], tasks: Sequence[Task], crew: Crew, in_flight: int
) -> Iterator[Outcome]:
    """Let workers do rows; yields what became of each as soon as it is known.

    Args:
        worker: their class.
        arguments: each is made with.
        tasks: rows to do.
        crew: how many workers.
        in_flight: rows that each has under way at once.
    """
    data: Any = import_module("ray.data")
    context = data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    size = min(crew.workers, len(tasks))
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
        **crew.resources,
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


def _options(fleet: Fleet) -> dict[str, Any]:
    if fleet.address:
        return {"address": fleet.address}
    # It starts a process for each CPU it believes to have.
    return {"address": "local", "num_cpus": 1, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}


def _crew(fleet: Fleet, found: Mapping[str, float]) -> Crew:
    gpus = int(found.get("GPU", 0))
    workers = fleet.workers or gpus or 1
    here = len(os.sched_getaffinity(0))
    cpus = int(found.get("CPU", 1)) if fleet.address else here
    threads = fleet.threads or max(1, cpus // workers)
    resources = {"num_cpus": threads if fleet.address else 0, "num_gpus": min(1.0, gpus / workers)}
    return Crew(workers, threads, resources)
