"""Oracle: the sentences that say what urgency means, over simulated days with one worker."""

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from engine.urgency import Shares, by_urgency, fit


@dataclass(eq=False)
class Work:
    user: str
    deadline: float
    cost: float = 1.0
    start: float = 0.0
    rows: int = 2


class Desk:
    """Does one job after the other, whole."""

    def __init__(self) -> None:
        self.shares = Shares()
        self.waiting: list[Work] = []

    def submit(self, *jobs: Work) -> None:
        for job in jobs:
            job.start = self.shares.start(job.user, job.cost, self.waiting)
            self.waiting.append(job)

    def serve(self) -> Work:
        first = by_urgency(self.waiting)[0]
        self.waiting.remove(first)
        return first

    def serve_all(self) -> list[tuple[str, float]]:
        return [(job.user, job.deadline) for job in [self.serve() for _ in range(len(self.waiting))]]


def test_the_earliest_deadline_comes_first() -> None:
    desk = Desk()
    desk.submit(Work("ann", 3), Work("bob", 1), Work("cem", 2))
    assert desk.serve_all() == [("bob", 1), ("cem", 2), ("ann", 3)]


def test_nobody_gets_a_second_turn_before_everybody_had_a_first() -> None:
    desk = Desk()
    desk.submit(*(Work("ann", deadline) for deadline in range(4)), Work("bob", 9), Work("bob", 8))
    assert desk.serve_all() == [("ann", 0), ("bob", 8), ("ann", 1), ("bob", 9), ("ann", 2), ("ann", 3)]


def test_a_newcomer_does_not_queue_behind_a_crowd() -> None:
    desk = Desk()
    desk.submit(*(Work("ann", deadline) for deadline in range(10)))
    for _ in range(4):
        desk.serve()
    desk.submit(Work("bob", 99))
    assert desk.serve_all()[:3] == [("ann", 4), ("bob", 99), ("ann", 5)]


def test_short_deadlines_one_after_the_other_starve_nobody() -> None:
    desk = Desk()
    desk.submit(Work("patient", 1000))
    served = []
    for turn in range(3):
        desk.submit(Work("pushy", turn))
        served.append(desk.serve().user)
    assert served == ["pushy", "patient", "pushy"]


def test_a_pause_saves_nothing_up() -> None:
    desk = Desk()
    for _ in range(50):
        desk.submit(Work("busy", 0))
        desk.serve()
    desk.submit(*(Work(user, 0) for user in ("busy", "rested") for _ in range(10)))
    assert Counter(user for user, _ in desk.serve_all()[:10]) == {"busy": 5, "rested": 5}


@given(
    cheap=st.integers(1, 5),
    dear=st.integers(1, 5),
    deadlines=st.lists(st.tuples(st.sampled_from(["cheap", "dear"]), st.integers(0, 100)), max_size=30),
)
def test_two_users_who_always_wait_get_equal_shares(cheap: int, dear: int, deadlines: list[tuple[str, int]]) -> None:
    """At any time their shares differ by no more than one job of each (the bound of Goyal et al. 1996)."""
    desk, cost, done = Desk(), {"cheap": cheap, "dear": dear}, Counter[str]()
    for user in cost:
        desk.submit(*(Work(user, 50, cost[user]) for _ in range(3)))
    for user, deadline in deadlines:
        desk.submit(Work(user, deadline, cost[user]))
        served = desk.serve()
        done[served.user] += cost[served.user]
        if len({job.user for job in desk.waiting}) < 2:
            break
        assert abs(done["cheap"] - done["dear"]) <= cheap + dear


def test_those_who_left_are_forgotten() -> None:
    desk = Desk()
    for number in range(100):
        desk.submit(Work(f"guest {number}", 0))
        desk.serve()
    assert len(desk.shares._next) == 1


def test_whatever_finds_room_is_picked_in_order() -> None:
    jobs = [Work("ann", 0, rows=rows) for rows in (2, 1, 2, 1, 1)]
    assert fit(jobs, 4) == [jobs[0], jobs[1], jobs[3]]
    assert fit(jobs, 0) == []
