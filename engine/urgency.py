"""Who gets rows: users have equal shares of the work, within that the earliest deadline wins, and what fits goes in."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar


class Job(Protocol):
    """What waits for its turn.

    Attributes:
        user: whose it is.
        deadline: when it must be there, on any clock.
        start: when it is due on the shares' own clock, see `Shares`.
    """

    user: str
    deadline: float
    start: float


AnyJob = TypeVar("AnyJob", bound=Job)


class Shares:
    """Start-time fair queueing (Goyal et al. 1996): a user's next job is due when the last one has had its share.

    The clock is that of the work done for each user; a user who comes back after a pause has saved nothing up.
    """

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    def start(self, user: str, cost: float, jobs: Sequence[Job]) -> float:
        """When a new job is due.

        Args:
            user: whose it is.
            cost: of the job, in any unit of work.
            jobs: all others that are not finished.
        """
        now = min((job.start for job in jobs), default=0.0)
        self._next = {name: due for name, due in self._next.items() if jobs and due > now}
        start = max(now, self._next.get(user, now))
        self._next[user] = start + cost
        return start


def by_urgency(jobs: Iterable[AnyJob]) -> list[AnyJob]:
    """Sort jobs; a user's own exchange their starts so that the one with the earliest deadline is due first."""
    own: defaultdict[str, list[AnyJob]] = defaultdict(list)
    for job in sorted(jobs, key=lambda job: job.deadline):
        own[job.user].append(job)
    for mine in own.values():
        for job, start in zip(mine, sorted(job.start for job in mine), strict=True):
            job.start = start
    return sorted((job for mine in own.values() for job in mine), key=lambda job: (job.start, job.deadline))


class TakesRows(Protocol):
    """What competes for the rows of a call."""

    @property
    def rows(self) -> int:
        """How many rows it takes."""


Taker = TypeVar("Taker", bound=TakesRows)


def fit(takers: Iterable[Taker], max_rows: int) -> list[Taker]:
    """Pick in the given order whatever still finds room."""
    fitting: list[Taker] = []
    for taker in takers:
        if taker.rows <= max_rows:
            fitting.append(taker)
            max_rows -= taker.rows
    return fitting
