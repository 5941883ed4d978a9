"""Which workers fit on which machines. Oracle: handing them out one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bulk.crew import Crew, Machine, choose_crew
from engine.bulk.errors import WorkerError

MACHINES = st.lists(st.builds(Machine, st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=4)


def placed(machines: list[Machine], crew: Crew) -> int:
    """How many workers find a place, as Ray would give them one."""
    found = 0
    for cpus, gpus in machines:
        free = [1.0] * gpus
        while cpus >= crew.threads and found < crew.workers:
            if crew.gpu_share:
                device = next((number for number, rest in enumerate(free) if rest >= crew.gpu_share - 1e-9), None)
                if device is None:
                    break
                free[device] -= crew.gpu_share
            cpus, found = cpus - crew.threads, found + 1
    return found


@pytest.mark.parametrize(
    ("machines", "workers", "wanted"),
    [
        ([Machine(1, 0), Machine(1, 0)], None, (1, 1, 0)),  # not the two cores of two machines for one worker
        ([Machine(1, 0), Machine(1, 0)], 2, (2, 1, 0)),
        ([Machine(4, 0), Machine(8, 0)], None, (1, 8, 0)),
        ([Machine(4, 0), Machine(8, 0)], 3, (3, 4, 0)),
        ([Machine(8, 0), Machine(0, 0)], 2, (2, 4, 0)),
        ([Machine(16, 2), Machine(64, 0)], None, (2, 8, 1)),  # whoever has no GPU stands aside
        ([Machine(16, 2)], 3, (3, 5, 0.5)),  # two thirds of a GPU would leave one of two workers out
        ([Machine(16, 2)], 5, (5, 3, 0.3333)),
        ([Machine(4, 8)], None, (8, 1, 1)),
        ([Machine(2, 0)], 8, (8, 1, 0)),  # some wait for the others
    ],
)
def test_workers_share_machines(machines: list[Machine], workers: int | None, wanted: tuple[int, int, float]) -> None:
    crew = choose_crew(machines, workers)
    assert (crew.workers, crew.threads, crew.gpu_share) == wanted


@given(MACHINES, st.integers(1, 12))
def test_all_find_a_place_if_there_is_one(machines: list[Machine], workers: int) -> None:
    try:
        crew = choose_crew(machines, workers)
    except WorkerError:
        raise AssertionError("every machine has a core") from None
    others = [Crew(workers, threads, crew.gpu_share) for threads in (1, crew.threads + 1)]
    alone, more = (placed(machines, other) for other in others)
    found = placed(machines, crew)
    assert found > 0 and more < workers
    assert (found == workers) == (alone == workers)


@pytest.mark.parametrize(
    ("machines", "threads", "words"),
    [
        ([Machine(4, 0), Machine(4, 0)], 5, "no machine has 5 CPUs, which a worker needs"),
        ([Machine(4, 1), Machine(8, 0)], 5, "no machine has 5 CPUs and a GPU, which"),
        ([Machine(0, 0)], None, "no machine has 1 CPUs"),
    ],
)
def test_a_worker_that_fits_nowhere_is_an_error(machines: list[Machine], threads: int | None, words: str) -> None:
    with pytest.raises(WorkerError, match=words):
        choose_crew(machines, threads=threads)
